"""A base plus what the graph encoder adds, through an ensemble of heads that are zero at the start.

    s_hat_i = clip(base_i + sigma_i mean_k head_k(h_i)),    its spread: sigma_i std_k head_k(h_i)

h comes from the graph encoder. The heads see different halves of the episodes (double-or-nothing bootstrap, Owen & Eckles 2012), so that
their spread says how sure the prediction is.
"""

from __future__ import annotations

from torch import Tensor, nn

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.encoder import Contexts, GraphEncoder
from rag_graph.reward.features import NodeFeatures
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

HEADS = 4
"""The ensemble: enough for a spread, and each costs a column."""
NUM_LAYERS = 2
"""Message passing reaches the sources of a node's sources; graphs of goals are hardly deeper."""


class GraphImputer(Imputer):
    """
    Args:
        base: what the heads add to.
        text: [N, size] embeddings of the nodes' texts.
    """

    def __init__(
        self, base: RunningMeans, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor
    ) -> None:
        super().__init__(base, len(tensors.nodes))
        self.features = NodeFeatures(graph, text)
        self.encoder = GraphEncoder(tensors, NodeFeatures.size, config.hidden_size, NUM_LAYERS, config.num_bases)
        self.heads = nn.Linear(config.hidden_size, HEADS)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        features = self.features(shown, self.base.standardise(shown))
        if contexts is None or not len(contexts.episode):
            states = self.encoder(features, graph)
        else:
            of_contexts = self.features.of_contexts(contexts)
            states = self.encoder.joined(features, graph, of_contexts, contexts, shown.tasks)
        added: Tensor = self.heads(states)
        return added.movedim(-1, 0)
