"""What fitting to a table and saving need of a reward. `GraphReward` has it; the modules that fit do not import it, because it imports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.proposal import Proposal
from rag_graph.reward.learning import RewardLearning
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readouts import OwnReadout


class Fittable(Protocol):
    """A reward of a graph with its model, what it learns, and its state."""

    graph: AuxiliaryGraph
    config: RewardConfig
    model: RewardModel
    learning: RewardLearning
    seed: int

    @property
    def auxiliary(self) -> float:
        """eta."""
        ...

    def fresh(self, config: RewardConfig, readout: OwnReadout | None = None) -> Fittable:
        """A reward that has learned nothing, alike but for its settings and its readout."""
        ...

    def proposals(self) -> list[Proposal]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
