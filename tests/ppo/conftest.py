"""Shared by the tests of PPO: what a process with TRL 1.12 found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def stock_comparison(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `stock_worker.py` found; the test is skipped without TRL 1.12 in its own folder."""
    stock = root / ".stock_trl"
    if not (stock / "trl").is_dir():
        pytest.skip(".stock_trl is missing: TRL 1.12, the last release with PPO. `make .stock_trl/trl` fetches it")
    out = tmp_path_factory.mktemp("stock") / "found.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(stock), str(root)])}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("stock_worker.py")), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found
