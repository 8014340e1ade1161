"""Sphinx with MyST: `make docs` builds the site into build/site."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from rag_graph.version import __version__  # noqa: E402

project = "rag_graph"
author = "the rag_graph developers"
release = __version__
extensions = ["myst_parser", "sphinx_copybutton", "generated", "mathml"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_ext", "examples/*.md"]
html_theme = "furo"
html_title = f"rag_graph {__version__}"
html_static_path: list[str] = []
html_math_renderer = "mathml"
copybutton_prompt_text = "$ "
suppress_warnings: list[str] = []
