"""Notebooks run from top to bottom with the package as installed, use public names only, and carry no output in git."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import rag_graph

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_graph",
        "02_rewards",
        "03_retrieval",
        "04_training",
        "05_comparing",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_shows_a_picture(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute(cwd=str(path.parent))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and re.search(r"plt\.|\bdraw_\w+\(|\.draw\(", cell.source):
            pictures += 1
            shown = sum("image/png" in output.get("data", {}) for output in cell.outputs)
            assert shown == 1, f"{shown} pictures from: {cell.source[:80]}"
    assert pictures
    assert not any("Warning" in output.get("text", "") for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_names_public(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert not re.search(r"from rag_graph\.|import rag_graph\.", cell.source), (
                "notebooks import from rag_graph itself"
            )
            for names in re.findall(r"from rag_graph import (.+)", cell.source):
                assert set(re.split(r",\s*", names)) <= set(rag_graph.__all__)
