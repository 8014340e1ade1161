"""What `import rag_graph` promises."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rag_graph


@pytest.mark.parametrize("name", rag_graph.__all__)
def test_every_public_name_is_there_and_explains_itself(name: str) -> None:
    thing = getattr(rag_graph, name)
    assert isinstance(thing, str) or (thing.__doc__ and len(thing.__doc__) > 20)


COMPLETED = """
import sys
import rag_graph
from IPython.core.completer import Completer
offered = Completer(namespace={"rag_graph": rag_graph}).attr_matches("rag_graph.Gra")
print(sorted(name.strip() for name in offered), [name for name in ("torch", "transformers", "pandas") if name in sys.modules])
"""


def test_importing_and_completing_bring_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", COMPLETED], capture_output=True, text=True)
    names = ["rag_graph.GraphPPOConfig", "rag_graph.GraphPPOTrainer", "rag_graph.GraphReward"]
    assert done.stdout.strip() == f"{names} []", done.stderr


def test_editors_see_the_names_and_types(root: Path) -> None:
    """What type checkers and editors read: the imports under TYPE_CHECKING are the names that load at their first use, and py.typed is there."""
    package = ast.parse((root / "rag_graph/__init__.py").read_text(encoding="utf-8"))
    checked = next(node for node in package.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == rag_graph._HOMES
    assert sorted([*seen, "__version__"]) == sorted(rag_graph.__all__) == sorted(dir(rag_graph))
    assert (root / "rag_graph/py.typed").is_file()


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'graf'"):
        _ = rag_graph.graf
