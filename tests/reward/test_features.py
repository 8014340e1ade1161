"""The features of a node: what was hidden never stands in them."""

from __future__ import annotations

import torch

from rag_graph.graph import load_graph
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.features import KIND_SIZE, KINDS, TEXT_SIZE, NodeFeatures
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import hashed_ngrams

GRAPH = load_graph("parcels")
SIZE = len(GRAPH.nodes)


def features() -> NodeFeatures:
    torch.manual_seed(0)
    return NodeFeatures(GRAPH, hashed_ngrams(list(GRAPH.nodes)))


def test_the_columns_of_a_node() -> None:
    """Text 32, kind 8, score in deviations, whether observed, retrieval, whether it is the task."""
    make = features()
    observed = torch.arange(SIZE).repeat(2, 1) < 3
    scores = Scores(torch.rand(2, SIZE), observed, torch.full((2, SIZE), 0.5), torch.tensor([0, 1]))
    standard = torch.where(observed, torch.full((2, SIZE), -1.5), 0.0)
    with torch.no_grad():
        found = make(scores, standard)
        text = make.project(make.text)
    assert found.shape == (2, SIZE, make.size)
    assert torch.equal(found[0, :, :TEXT_SIZE], text)
    assert torch.equal(found[0, :, : TEXT_SIZE + KIND_SIZE], found[1, :, : TEXT_SIZE + KIND_SIZE])
    expected = [[-1.5, 1, 0.5, 1], [-1.5, 1, 0.5, 0], [-1.5, 1, 0.5, 0], [0, 0, 0.5, 0]]
    assert found[0, :4, -4:].tolist() == expected


def test_a_retrieved_passage_has_text_kind_and_weight_and_no_score() -> None:
    make = features()
    contexts = Contexts(hashed_ngrams(["red kettle"]), torch.tensor([0]), torch.tensor([0.25]))
    with torch.no_grad():
        found = make.of_contexts(contexts)
        kind = make.embed.weight[KINDS.index("context")]
    assert torch.equal(found[0, TEXT_SIZE : TEXT_SIZE + KIND_SIZE], kind)
    assert found[0, -4:].tolist() == [0.0, 0.0, 0.25, 0.0]
