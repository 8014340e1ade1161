"""The entry point: what it sets before a command runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

START = """
import sys
from rag_graph.cli.app import main
assert "torch" not in sys.modules, "OpenMP would have been loaded before main sets how its threads wait"
sys.argv = ["rag-graph", "--version"]
try:
    main()
except SystemExit:
    import torch
"""


@pytest.mark.parametrize(("given", "spins"), [(None, "0"), ("ACTIVE", r"[1-9]\d+")])
def test_threads_wait_passively_unless_the_user_says_otherwise(given: str | None, spins: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({} if given is None else {"OMP_WAIT_POLICY": given})
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("rag-graph ")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch does not use libgomp, which says how often a waiting thread spins")
    assert re.search(rf"GOMP_SPINCOUNT = '{spins}'", done.stderr)
