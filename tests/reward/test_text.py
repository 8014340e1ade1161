"""Node texts are embedded once, and kept under a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph import load_graph
from rag_graph.records import ContextNode
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.text import TextEmbeddings, hashed_ngrams


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return hashed_ngrams(texts)[:, :16]


def test_a_text_is_embedded_once() -> None:
    encode = Counting()
    embeddings = TextEmbeddings("counting", encode)
    node = ContextNode("a/1", "a", "Kettle", "red kettle from oslo")
    first = embeddings.of_contexts([node, node])
    assert torch.equal(first, embeddings.of_contexts([node])[[0, 0]])
    assert encode.asked == ["Kettle red kettle from oslo"]


def test_a_graph_is_embedded_once_between_runs(tmp_path: Path) -> None:
    graph = load_graph("parcels")
    encoders = [Counting() for _ in range(4)]
    first = TextEmbeddings("e", encoders[0], tmp_path).of_graph(graph)
    assert len(encoders[0].asked) == len(graph.nodes)
    assert torch.equal(TextEmbeddings("e", encoders[1], tmp_path).of_graph(graph), first)
    assert encoders[1].asked == [], "it was kept"
    TextEmbeddings("other", encoders[2], tmp_path).of_graph(graph)
    TextEmbeddings("e", encoders[3], tmp_path).of_graph(load_graph("news"))
    assert encoders[2].asked, "another encoder has another fingerprint"
    assert encoders[3].asked, "another graph too"
    assert len(list(tmp_path.glob("*.npy"))) == 3
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-1])  # a disk that was full
    again = Counting()
    assert torch.equal(TextEmbeddings("e", again, tmp_path).of_graph(graph), first)
    assert len(again.asked) == len(graph.nodes), "what is damaged is made again"


def test_an_encoder_that_is_named_must_be_given() -> None:
    graph = load_graph("parcels")
    with pytest.raises(ConfigError, match="text_encoder is 'bert'.*no embeddings were given"):
        GraphReward(graph, lambda e, nodes=None: {}, RewardConfig(text_encoder="bert"), lambda **_: [])
    reward = GraphReward(
        graph,
        lambda e, nodes=None: {},
        RewardConfig(text_encoder="bert"),
        lambda **_: [],
        embeddings=TextEmbeddings("bert", Counting()),
    )
    assert reward.learning.memory.text_size == 16
