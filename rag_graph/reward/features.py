"""What the encoder sees of a node in an episode:

    [text of the node 32 | kind 8 | z*m | m | retrieved c | is the episode's task]

z is the observed score in standard deviations from the node's running mean; z*m is 0 where unobserved, so a hidden value can never
leak; m says which zeros are measurements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.scores import Scores

TEXT_SIZE, KIND_SIZE = 32, 8
KINDS = ("task", "criterion", "context")


class NodeFeatures(nn.Module):
    """Builds the features [B, N, F]; text and kind are projected by learned weights, the rest is given.

    Args:
        text: [N, text size] embeddings of the nodes' texts, see `rag_graph.reward.text`.
    """

    size = TEXT_SIZE + KIND_SIZE + 4
    text: Tensor
    kind: Tensor

    def __init__(self, graph: AuxiliaryGraph, text: Tensor) -> None:
        super().__init__()
        kinds = torch.tensor([KINDS.index(kind) for kind in graph.kinds.values()])
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("kind", kinds, persistent=False)
        self.project = nn.Linear(text.shape[1], TEXT_SIZE)
        self.embed = nn.Embedding(len(KINDS), KIND_SIZE)

    def forward(self, scores: Scores, standard: Tensor) -> Tensor:
        """standard: [B, N] the scores standardised, 0 where unobserved."""
        batch = scores.values.shape[0]
        constant = torch.cat([self.project(self.text), self.embed(self.kind)], -1)  # [N, 40]
        given = [standard, scores.observed, scores.retrieved, scores.is_task]
        stacked = torch.stack([part.to(constant.dtype) for part in given], -1)
        return torch.cat([constant.expand(batch, -1, -1), stacked], -1)

    def of_contexts(self, contexts: Contexts) -> Tensor:
        """[M, F] of retrieved context nodes: text, kind, nothing observed, and the retrieval score."""
        kind = self.embed.weight[KINDS.index("context")].expand(len(contexts.episode), -1)
        nothing = torch.zeros_like(contexts.score)
        given = torch.stack([nothing, nothing, contexts.score, nothing], -1)
        return torch.cat([self.project(contexts.text), kind, given], -1)
