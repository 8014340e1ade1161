"""Figures that a notebook shows once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rag_graph.figure import Picture

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_picture_shows_itself_and_is_written(tmp_path: Path) -> None:
    picture = Picture(figsize=(2, 1))
    picture.subplots().set_title("語")  # a letter that the font lacks is no warning
    assert picture._repr_png_().startswith(PNG)
    picture.write(None)
    picture.write(tmp_path / "p.png", dpi=50)
    picture.write(tmp_path / "p.svg")
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)
    assert "<svg" in (tmp_path / "p.svg").read_text()


NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for formatter in shell.display_formatter.formatters.values():
    formatter.enabled = True  # as in a notebook
{setup}
from rag_graph.figure import Picture
picture = Picture(figsize=(1, 1))
picture.subplots()
shown, _ = shell.display_formatter.format(picture)
import matplotlib._pylab_helpers
print(sorted(shown), len(matplotlib._pylab_helpers.Gcf.get_all_fig_managers()))
"""
PYPLOT = "import matplotlib.pyplot; from IPython.core.pylabtools import select_figure_formats; select_figure_formats(shell, {'png'})"


def test_a_notebook_shows_it_once_with_and_without_pyplot() -> None:
    """One PNG as the value of the cell, and no figure of pyplot, which would be shown a second time when the cell ends."""
    for setup in ("", PYPLOT):
        code = NOTEBOOK.format(setup=setup)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "['image/png', 'text/plain'] 0", done.stderr
