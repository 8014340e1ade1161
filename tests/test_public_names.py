"""What `import rag_graph` promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rag_graph


@pytest.mark.parametrize("name", rag_graph.__all__)
def test_every_public_name_is_there_and_explains_itself(name: str) -> None:
    thing = getattr(rag_graph, name)
    assert isinstance(thing, str) or (thing.__doc__ and len(thing.__doc__) > 20)


def test_importing_brings_no_torch() -> None:
    code = "import sys, rag_graph; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'graf'"):
        _ = rag_graph.graf
