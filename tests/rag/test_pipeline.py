"""Draft, retrieve, fuse, answer: in this order, only where a context grounds the task, with every step on record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from rag_graph.config import RetrievalConfig
from rag_graph.data.parcels import archive, make_parcels
from rag_graph.generation.generate import Response
from rag_graph.generation.tokens import TokenRoom
from rag_graph.graph import load_graph
from rag_graph.rag import ContextPool, RagPipeline
from rag_graph.rag.budget import count_in_words
from rag_graph.rag.pipeline import Asked, Choice
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


class Marginal(Echo):
    """Keeps what it fuses."""

    def fuse(self, prompts: Sequence[Sequence[str]], weights: Sequence[Sequence[float]], fusion: str) -> list[Response]:
        self.fused = [(list(alone), list(shares)) for alone, shares in zip(prompts, weights, strict=True)]
        return [Response("x", False) for _ in prompts]


def room(most: int) -> TokenRoom:
    return TokenRoom(count_in_words, most)


def test_prompts_fit_and_the_episode_says_what_they_held() -> None:
    whole = RagPipeline(GRAPH, POOL, RetrievalConfig(), Echo("kettle")).answer([ORIGIN])[0]
    words = len(whole.prompt.split())
    (same,) = RagPipeline(GRAPH, POOL, RetrievalConfig(), Echo("kettle"), room(words)).answer([ORIGIN])
    assert same == whole
    (cut,) = RagPipeline(GRAPH, POOL, RetrievalConfig(), Echo("kettle"), room(words - 1)).answer([ORIGIN])
    assert cut.prompt_cut
    assert cut.evidence == whole.evidence[:1], "the last record has no sentence end"
    assert cut.evidence[0].context.text in cut.prompt
    assert whole.evidence[1].context.text not in cut.prompt
    assert cut.source == f"{ORIGIN.text}\n{cut.evidence[0].context.text}", "faithfulness judges what was shown"
    write = Echo("kettle")
    (bare,) = RagPipeline(GRAPH, POOL, RetrievalConfig(), write, room(12)).answer([ORIGIN])
    assert bare.evidence == ()
    assert bare.prompt == "anna bought a ... blue mixer . where is it from ?"
    assert write.calls == [[bare.prompt], [bare.prompt]], "the draft reads a prompt that fits as well"


@pytest.mark.parametrize("fusion", ["rag_sequence", "rag_token"])
def test_each_prompt_of_a_marginalised_answer_fits(fusion: Literal["rag_sequence", "rag_token"]) -> None:
    config = RetrievalConfig(draft=False, fusion=fusion)
    free = Marginal("")
    (whole,) = RagPipeline(GRAPH, POOL, config, free).answer([ORIGIN])
    ((prompts, weights),) = free.fused
    assert len(prompts) == len(weights) == len(whole.evidence) == 2
    assert all(piece.context.text in prompt for piece, prompt in zip(whole.evidence, prompts, strict=True))
    longest = max(len(prompt.split()) for prompt in prompts)
    write = Marginal("")
    (same,) = RagPipeline(GRAPH, POOL, config, write, room(longest)).answer([ORIGIN])
    assert write.fused == free.fused, "prompts of one passage each: their sum may be longer than a prompt"
    assert same.evidence == whole.evidence
    assert not same.prompt_cut
    (cut,) = RagPipeline(GRAPH, POOL, config, write, room(longest - 2)).answer([ORIGIN])
    ((prompts, _),) = write.fused
    assert cut.prompt_cut
    assert [piece.rank for piece in cut.evidence] == [1, 2]
    assert all(len(prompt.split()) <= longest - 2 for prompt in prompts)
    assert all(piece.context.text in prompt for piece, prompt in zip(cut.evidence, prompts, strict=True))
    assert cut.evidence[0].left_out > 0
    (bare,) = RagPipeline(GRAPH, POOL, config, write, room(12)).answer([ORIGIN])
    assert bare.evidence == ()
    assert write.fused == [([bare.prompt], [1.0])]


def test_nobody_learns_from_a_draw_that_was_not_shown() -> None:
    def first_two(asked: Sequence[Asked]) -> list[Choice]:
        return [Choice(one, (0, 1), -1.0) for one in asked]

    config = RetrievalConfig(draft=False)
    for most, learns in ((100, True), (30, False)):
        (one,) = RagPipeline(GRAPH, POOL, config, Echo(""), room(most)).prepare([ORIGIN], first_two, 4)
        assert (one.choice is not None) == learns
