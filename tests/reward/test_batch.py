"""Scored episodes as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import ContextNode, Episode, Evidence, Example, Item
from rag_graph.reward.batch import MOST_WEIGHT, batch_of, weights_of, without_items
from rag_graph.reward.statistics import RunningMeans
from rag_graph.reward.text import TextEmbeddings

GRAPH = load_graph("parcels")
NODE = next(name for name, kind in GRAPH.kinds.items() if kind == "context")


def lengths(texts: Sequence[str]) -> Tensor:
    return torch.tensor([[float(len(text)), 1.0] for text in texts])


def piece(text: str, rank: int) -> Evidence:
    return Evidence(ContextNode(text, NODE, "", text), 0.5, rank)


def episode(scores: dict[str, float], *evidence: Evidence) -> Episode:
    example = Example("a", "topic", {"input": "x"})
    return Episode("a", example, "", "", evidence=evidence, scores=scores, reserved={"topic": 0.75})


def test_scores_and_evidence_stand_where_the_graph_says() -> None:
    episodes = [episode({"well_formed": 0.25}), episode({}, piece("abc", 2), piece("abcde", 4))]
    scores, contexts, _ = batch_of(episodes, GRAPH, TextEmbeddings("lengths", lengths), 2)
    assert scores.observed.nonzero().tolist() == [[0, GRAPH.index["well_formed"]]], "a reserved goal is not observed"
    assert scores.values[0, GRAPH.index["well_formed"]] == 0.25
    assert scores.retrieved.nonzero().tolist() == [[1, GRAPH.index[NODE]]]
    assert scores.retrieved[1, GRAPH.index[NODE]] == 0.5, "the best rank counts"
    assert scores.tasks.tolist() == [GRAPH.index["topic"]] * 2
    assert contexts.text.tolist() == [[3.0, 1.0], [5.0, 1.0]]
    assert contexts.episode.tolist() == [1, 1]
    assert contexts.score.tolist() == [0.5, 0.25]


def test_rows_are_chosen_with_their_contexts_and_one_may_come_twice() -> None:
    episodes = [episode({"well_formed": 0.25}, piece("abc", 1)), episode({"well_formed": 0.5}, piece("abcde", 2))]
    batch = batch_of(episodes, GRAPH, TextEmbeddings("lengths", lengths), 2).rows([1, 0, 1])
    assert batch.scores.values[:, GRAPH.index["well_formed"]].tolist() == [0.5, 0.25, 0.5]
    assert batch.contexts.episode.tolist() == [0, 1, 2]
    assert batch.contexts.text[:, 0].tolist() == [5.0, 3.0, 5.0]
    assert batch.contexts.score.tolist() == [0.5, 1.0, 0.5]


def test_nothing_retrieved_leaves_embeddings_of_the_right_size() -> None:
    assert batch_of([episode({})], GRAPH, TextEmbeddings(), 7).contexts.text.shape == (0, 7)


def test_a_rubric_is_absent_where_an_example_has_no_items_and_no_score() -> None:
    graph = AuxiliaryGraph.build({"t": 1.0}, {"form": {}, "rubric": {"items": "goals"}})
    plain, with_items = (
        Example("a", "t", {"input": "x"}),
        Example("b", "t", {"input": "x"}, items={"rubric": (Item("y"),)}),
    )
    episodes = [
        Episode("1", plain, "", ""),
        Episode("2", with_items, "", ""),
        Episode("3", plain, "", "", scores={"rubric": 0.25}),
    ]
    scores = batch_of(episodes, graph, TextEmbeddings(), 7).scores
    assert scores.absent.tolist() == [[False, False, True], [False] * 3, [False] * 3]
    assert without_items(episodes, graph).tolist() == scores.absent.tolist()
    assert scores.values[2, 2] == 0.25


def test_scores_are_weighted_by_how_likely_they_were_asked_for() -> None:
    """The weighted mean of what an uneven choice picked is the mean of all; the plain one is not."""
    values = torch.rand(4000, generator=torch.Generator().manual_seed(0)).double()
    drawn = torch.rand(4000, generator=torch.Generator().manual_seed(1))
    episodes, plain = [], []
    for value, uniform in zip(values.tolist(), drawn.tolist(), strict=True):
        probability = 0.1 + 0.8 * value
        found = {"well_formed": value} if uniform < probability else {}
        plain += list(found.values())
        episodes.append(replace(episode(found), probabilities={"well_formed": probability}))
    batch = batch_of(episodes, GRAPH, TextEmbeddings(), 2)
    means = RunningMeans(len(GRAPH.nodes))
    means.observe(batch.scores, batch.weights)
    node = GRAPH.index["well_formed"]
    mean, deviation = float(values.mean()), float(values.std())
    assert float(means.means[node]) == pytest.approx(mean, abs=0.02)
    assert float(means.deviations[node]) == pytest.approx(deviation, abs=0.02)
    assert sum(plain) / len(plain) > mean + 0.1
    assert batch.weights is not None
    assert (batch.weights[:, [n for n in range(len(GRAPH.nodes)) if n != node]] == 1).all()
    assert batch.rows([3, 5]).weights.equal(batch.weights[[3, 5]])  # type: ignore[union-attr]


def test_weights_are_bounded_and_absent_where_all_are_alike() -> None:
    alike = [replace(episode({"well_formed": 0.5}), probabilities={"well_formed": 0.3})] * 3
    assert batch_of(alike, GRAPH, TextEmbeddings(), 2).weights is None
    rare = replace(alike[0], probabilities={"well_formed": 1e-6})
    assert weights_of([*alike, rare], GRAPH)[-1, GRAPH.index["well_formed"]] == MOST_WEIGHT  # type: ignore[index]
