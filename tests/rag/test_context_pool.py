"""The evidence of a task: budget, repeats, priors, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag_graph.config import RetrievalConfig
from rag_graph.errors import DamagedFileError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.rag import ContextPool
from rag_graph.rag.context_pool import Encoders, TaskPool, load_encoders
from rag_graph.records import ContextNode
from rag_graph.retrieval.encoder import SCRATCH


def make_pool(
    nodes: list[ContextNode],
    method: str = "bm25",
    strengths: dict[str, float] | None = None,
    encoders: Encoders | None = None,
    **settings: Any,
) -> ContextPool:
    contexts = {
        "notes": {"kind": "passages", "file": "n"},
        "extra": {"kind": "passages", "file": "e"},
        "guide": {"kind": "guideline", "text": "be brief"},
        "shown": {"kind": "exemplars", "of": "t"},
    }
    spec = {
        "format": 1,
        "name": "g",
        "tasks": {
            "t": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{input}"},
            "u": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{input}"},
        },
        "contexts": contexts,
        "edges": [
            {"from": name, "to": "t", "relation": "grounds", "strength": value}
            for name, value in (strengths or {"notes": 0.5}).items()
        ],
    }
    return ContextPool(
        AuxiliaryGraph(GraphSpec.model_validate(spec)), nodes, RetrievalConfig(method=method, **settings), encoders
    )  # type: ignore[arg-type]


def node(name: str, text: str, context: str = "notes", links: tuple[str, ...] = (), source: str = "") -> ContextNode:
    return ContextNode(name, context, "", text, source, links)


def test_evidence_says_why_it_is_here() -> None:
    pool = make_pool([node("a", "red kettle from oslo"), node("b", "blue mixer")], k=1)
    (evidence,) = pool.retrieve("t", ["where is the red kettle from"])
    assert [piece.context.id for piece in evidence] == ["a"]
    assert evidence[0].rank == 1
    assert evidence[0].reason.startswith("notes grounds t (0.5); bm25 ")
    assert evidence[0].scores["bm25"] > 0


def test_only_what_grounds_the_task_is_found() -> None:
    pool = make_pool([node("a", "red kettle"), node("b", "red kettle", "extra")])
    assert pool.grounds("t")
    assert not pool.grounds("u")
    assert pool.retrieve("u", ["red kettle"]) == [()]
    assert [piece.context.node for piece in pool.retrieve("t", ["red kettle"])[0]] == ["notes"]


def test_strength_weighs_contexts() -> None:
    nodes = [node("a", "red kettle from oslo"), node("b", "red kettle from lima", "extra")]
    for strengths, first in (({"notes": 0.9, "extra": 0.2}, "a"), ({"notes": 0.2, "extra": 0.9}, "b")):
        assert make_pool(nodes, strengths=strengths).retrieve("t", ["red kettle"])[0][0].context.id == first


def test_budget_repeats_and_exclusion() -> None:
    nodes = [
        node("a", "red kettle oslo"),
        node("b", "red kettle oslo"),
        node("c", "red kettle " + "long " * 50),
        node("d", "red pan", source="row 4"),
    ]
    pool = make_pool(nodes, k=3, token_budget=10)
    (found,) = pool.retrieve("t", ["red kettle oslo"])
    assert [(piece.rank, piece.context.id) for piece in found] == [(1, "a"), (2, "c"), (3, "d")]
    assert found[1].context.text == "red kettle long long long"
    assert found[1].left_out == len(nodes[2].text) - len(found[1].context.text)
    assert [piece.context.id for piece in pool.retrieve("t", ["red kettle oslo"], ["row 4"])[0]] == ["a", "c"]
    (shown, *_) = make_pool(nodes, k=1, token_budget=2).candidates("t", ["red kettle oslo"], None, 2)
    assert [piece.context.id for piece in shown] == ["a", "c"], "whole, and to be cut when they are shown"


def test_evidence_is_made_only_as_far_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    evidence = TaskPool.evidence
    monkeypatch.setattr(TaskPool, "evidence", lambda pool, hit: made.append(hit.position) or evidence(pool, hit))
    pool = make_pool([node(f"n{i}", f"red kettle {i}") for i in range(50)], k=2, token_budget=100)
    (found,) = pool.retrieve("t", ["red kettle"])
    assert [piece.context.id for piece in found] == ["n0", "n1"]
    assert len(made) <= 3, "of the 50 that match"


def test_a_guideline_is_always_there() -> None:
    pool = make_pool([node("g", "be brief", "guide"), node("a", "red kettle")], strengths={"notes": 0.5, "guide": 0.9})
    assert [piece.context.id for piece in pool.retrieve("t", ["nothing shared"])[0]] == ["g"]
    assert [piece.context.id for piece in pool.retrieve("t", ["red kettle"])[0]] == ["g", "a"]
    only = make_pool([node("g", "be brief", "guide")], strengths={"guide": 0.9})
    assert not only.ranks("t")
    assert [piece.context.id for piece in only.retrieve("t", ["x"])[0]] == ["g"]


def test_the_walk_reaches_what_no_word_does() -> None:
    nodes = [
        node("a", "the red kettle, see its maker", links=("b",)),
        node("b", "founded in oslo"),
        *(node(f"x{i}", f"filler {i}") for i in range(30)),
    ]
    assert [piece.context.id for piece in make_pool(nodes, "bm25", k=2).retrieve("t", ["red kettle"])[0]] == ["a"]
    assert [piece.context.id for piece in make_pool(nodes, "walk", k=2).retrieve("t", ["red kettle"])[0]] == ["a", "b"]


def test_none_retrieves_nothing() -> None:
    assert make_pool([node("a", "red kettle")], "none").retrieve("t", ["red kettle"]) == [()]


def test_a_saved_encoder_that_is_gone_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "passages").mkdir()
    (tmp_path / "passages" / "modules.json").write_text("[]")
    with pytest.raises(DamagedFileError, match="queries/modules.json: is missing"):
        load_encoders(RetrievalConfig(method="dense"), [], saved=tmp_path)


def test_a_passage_can_be_a_candidate_where_an_exemplar_of_the_same_text_is_too_long() -> None:
    text = "red kettle " + "long " * 50
    pool = make_pool(
        [node("e", text, "shown"), node("a", text)], strengths={"notes": 0.5, "shown": 0.9}, token_budget=5
    )
    (found,) = pool.candidates("t", ["red kettle"])
    assert [piece.context.id for piece in found] == ["a"]


class Counted:
    """An encoder that counts the passages it embeds."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        self.count += len(texts)
        return np.ones((len(texts), 1), np.float32)

    def fingerprint(self) -> str:
        return "counted"


@pytest.mark.parametrize(("name", "times"), [("package:minilm", 1), (SCRATCH, 2)])
def test_passages_are_embedded_once_for_all_splits_and_runs(
    name: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from scratch is small and made anew in each run: its embeddings are not kept."""
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path))
    counted: Any = Counted(name)
    nodes, encoders = [node("a", "red kettle"), node("b", "blue mixer")], Encoders(counted, counted)
    for _ in range(2):
        pool = make_pool(nodes, "dense", encoders=encoders, encoder=name)
        assert pool.embedded == {"t": 2}
        pool.embed("t")
    assert counted.count == 2 * times


def test_nothing_is_embedded_without_an_encoder() -> None:
    assert make_pool([node("a", "red kettle")]).embedded == {}
