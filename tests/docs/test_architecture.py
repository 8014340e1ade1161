"""The page on architecture agrees with the project: the tree of files and the list of layers."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

FOLDERS = ("rag_graph", "graphs", "experiments", "benchmarks", "notebooks")
ENDINGS = {".py", ".yaml", ".ipynb", ".js", ".css", ".j2"}


@pytest.fixture(scope="module")
def blocks(root: Path) -> list[str]:
    """The text blocks of the page."""
    page = (root / "docs/architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^```text\n(.*?)^```", page, flags=re.M | re.S)


def listed(tree: str) -> dict[str, str]:
    """Path -> description, for every file of a tree that is indented by two spaces a level."""
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in tree.splitlines():
        name, _, about = line.strip().partition(" ")
        level = (len(line) - len(line.lstrip())) // 2
        assert level <= len(folders), f"{line!r} is indented too far"
        folders[level:] = [name] if name.endswith("/") else []
        path = "".join([*folders[:level], name])
        assert path not in found, f"{path} is listed twice"
        found[path] = about.strip()
    return {path: about for path, about in found.items() if not path.endswith("/")}


def there(root: Path) -> set[str]:
    """The files that the tree must list."""
    files = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in ENDINGS)
    hidden = ("__init__.py", "__pycache__", ".ipynb_checkpoints")
    return {str(path.relative_to(root)) for path in files if not set(hidden) & set(path.relative_to(root).parts)}


def suggested(path: Path) -> str:
    """A line for the tree, with the first line of the module's docstring as a start."""
    about = ""
    if path.suffix == ".py":
        about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return f"{path.name:<22}{about}"


def test_the_tree_lists_every_file_and_nothing_else(root: Path, blocks: list[str]) -> None:
    files = listed(next(block for block in blocks if block.startswith("rag_graph/\n")))
    missing = sorted(there(root) - set(files))
    gone = sorted(set(files) - there(root))
    lines = [f"missing: {path}\n    {suggested(root / path)}" for path in missing] + [
        f"not there: {path}" for path in gone
    ]
    assert not lines, "docs/architecture.md, The files:\n" + "\n".join(lines)


def test_every_file_of_the_tree_is_described(blocks: list[str]) -> None:
    files = listed(next(block for block in blocks if block.startswith("rag_graph/\n")))
    assert [path for path, about in files.items() if not about] == []


def test_the_layers_are_those_that_are_checked(root: Path, blocks: list[str]) -> None:
    shown = [
        set(re.split(r" \| ", re.split(r"\s{2,}", line)[0]))
        for line in blocks[0].splitlines()
        if not line.startswith(" ")
    ]
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert shown == [set(layer.split(" | ")) for layer in layers]


def test_a_tree_is_read_as_it_is_indented() -> None:
    tree = "a/\n  b.py   one\n  c/     the folder\n    d.py two\n  e.py\nf/\n  g.py   three\n"
    assert listed(tree) == {"a/b.py": "one", "a/c/d.py": "two", "a/e.py": "", "f/g.py": "three"}
    with pytest.raises(AssertionError, match="twice"):
        listed("a/\n  b.py one\n  b.py two\n")
