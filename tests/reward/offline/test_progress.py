"""A bar on a terminal, silence elsewhere."""

from __future__ import annotations

import io

from rag_graph.reward.offline.progress import Bar
from rag_graph.terminal import Terminal


def shown(terminal: bool) -> str:
    out = io.StringIO()
    with Bar(Terminal(file=out, force_terminal=terminal, width=100)) as bar:
        bar.stage("fit", 2)
        bar.advance()
        bar._bars.refresh()
        bar.advance()
    return out.getvalue()


def test_it_counts_on_a_terminal_and_is_silent_elsewhere() -> None:
    assert "fit" in shown(True)
    assert "1/2" in shown(True)
    assert shown(False) == ""
