"""What the encoder sees of a node in an episode:

    [text of the node 32 | kind 8 | s*m | m | retrieved c | is the episode's task]

s*m is the observed score, 0 where unobserved, so a hidden value can never leak; m says which zeros are measurements.
"""

from __future__ import annotations

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph

TEXT_BUCKETS, TEXT_SIZE, KIND_SIZE = 256, 32, 8
KINDS = ("task", "criterion", "context")


def node_text_features(graph: AuxiliaryGraph) -> Tensor:
    """[N, TEXT_BUCKETS] hashed character n-grams of each node's id and title, rows of length 1; nothing to download."""
    texts = [f"{name} {graph.title(name)}" for name in graph.nodes]
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=TEXT_BUCKETS)
    return torch.from_numpy(vectorizer.transform(texts).toarray()).float()


class NodeFeatures(nn.Module):
    """Builds the features [B, N, F]; text and kind are projected by learned weights, the rest is given."""

    size = TEXT_SIZE + KIND_SIZE + 4

    def __init__(self, graph: AuxiliaryGraph) -> None:
        super().__init__()
        self.register_buffer("text", node_text_features(graph), persistent=False)
        self.register_buffer(
            "kind", torch.tensor([KINDS.index(kind) for kind in graph.kinds.values()]), persistent=False
        )
        self.project = nn.Linear(TEXT_BUCKETS, TEXT_SIZE)
        self.embed = nn.Embedding(len(KINDS), KIND_SIZE)

    def forward(self, scores: Tensor, observed: Tensor, retrieved: Tensor, tasks: Tensor) -> Tensor:
        """
        Args:
            scores: [B, N], any value (NaN too) where unobserved; observed: bool [B, N].
            retrieved: [B, N] retrieval weight of context nodes, 0 for the rest; tasks: int64 [B].
        """
        batch, size = scores.shape
        constant = torch.cat([self.project(self.text), self.embed(self.kind)], -1)  # [N, 40]
        given = torch.stack(
            [
                torch.where(observed, scores, torch.zeros_like(scores)),
                observed.float(),
                retrieved,
                nn.functional.one_hot(tasks, size).float(),
            ],
            -1,
        )
        return torch.cat([constant.expand(batch, -1, -1), given], -1)
