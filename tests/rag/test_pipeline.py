"""Draft, retrieve, fuse, answer: in this order, only where a context grounds the task, with every step on record."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_graph.config import RetrievalConfig
from rag_graph.data.parcels import archive, make_parcels
from rag_graph.generation.generate import Response
from rag_graph.graph import load_graph
from rag_graph.rag import ContextPool, RagPipeline
from rag_graph.records import Example

GRAPH = load_graph("parcels")
POOL = ContextPool(GRAPH, archive("test"), RetrievalConfig())


class Echo:
    """A writer of its own kind: a bare prompt is answered with a fixed draft, a grounded one with the city of its first record."""

    def __init__(self, draft: str) -> None:
        self.draft = draft
        self.calls: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> list[Response]:
        self.calls.append(list(prompts))
        return [
            Response(prompt.split(" : from ")[1].split()[0] if " : from " in prompt else self.draft, False)
            for prompt in prompts
        ]


ORIGIN = Example(
    "1",
    "question",
    {"input": "anna bought a red kettle . it replaced a blue mixer .", "question": "where is it from ?"},
    ("x",),
)
TOPIC = Example("2", "topic", {"input": "anna bought a red kettle ."}, ("kitchen",))


def test_order_and_record() -> None:
    write = Echo("kettle")
    episodes = RagPipeline(GRAPH, POOL, RetrievalConfig(), write).answer([TOPIC, ORIGIN])
    assert [episode.id for episode in episodes] == ["2", "1"]
    topic, origin = episodes
    assert topic.evidence == ()
    assert topic.draft == ""
    assert topic.prompt == "anna bought a red kettle . topic ?"
    assert origin.draft == "kettle"
    assert write.calls[0] == ["anna bought a red kettle . it replaced a blue mixer . where is it from ?"], (
        "only the grounded task drafts, without evidence"
    )
    first = origin.evidence[0].context.text
    assert first.startswith("red kettle of anna : from")
    assert first in origin.prompt
    assert origin.response == first.split()[-2]


def test_the_draft_decides_between_a_record_and_its_distractor() -> None:
    for product in ("kettle", "mixer"):
        (prepared,) = RagPipeline(GRAPH, POOL, RetrievalConfig(), Echo(product)).prepare([ORIGIN])
        assert [piece.context.text.split()[1] for piece in prepared.evidence] == [product, product]


def test_without_drafting_or_retrieval() -> None:
    write = Echo("kettle")
    (prepared,) = RagPipeline(GRAPH, POOL, RetrievalConfig(draft=False), write).prepare([ORIGIN])
    assert write.calls == []
    assert prepared.draft == ""
    assert len(prepared.evidence) == 2
    (bare,) = RagPipeline(GRAPH, None, RetrievalConfig(), write).answer([ORIGIN])
    assert bare.evidence == ()
    assert bare.response == "kettle"


def test_batches_change_nothing() -> None:
    examples = [d.example for d in make_parcels("test", 6, seed=2)]
    pipeline = RagPipeline(GRAPH, POOL, RetrievalConfig(), Echo("kettle"))
    assert pipeline.prepare(examples) == [one for example in examples for one in pipeline.prepare([example])]


def test_retrieval_finds_the_record_of_an_origin_question() -> None:
    demonstrations = [d for d in make_parcels("test", 150, seed=5) if d.example.id.endswith("origin")]
    pipeline = RagPipeline(GRAPH, POOL, RetrievalConfig(draft=False), Echo(""))
    prepared = pipeline.prepare([d.example for d in demonstrations])
    found = [
        any(
            piece.context.text.split()[1] == one.example.references[0].split()[0]
            and piece.context.text.split()[-2] == one.example.references[0].split()[-1]
            for piece in one.evidence
        )
        for one in prepared
    ]
    # Where a passage has a distractor, four records fit its words equally well and two are shown.
    assert sum(found) / len(found) == pytest.approx(0.84, abs=0.06)
