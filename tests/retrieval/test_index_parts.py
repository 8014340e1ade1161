"""What an index is made of: it grows and shrinks, and the old parts stay as they were."""

from __future__ import annotations

from rag_graph.records import ContextNode
from rag_graph.retrieval.index_parts import passage_text


def test_what_is_searched() -> None:
    assert passage_text(ContextNode("a", "", "Heat", "Heathrow is large")) == "Heat. Heathrow is large"
    assert passage_text(ContextNode("a", "", "Oslo", "The city of Oslo.")) == "The city of Oslo."
    assert passage_text(ContextNode("a", "", "", "text")) == "text"
