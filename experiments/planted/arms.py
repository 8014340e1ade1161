"""The arms of the planted experiment and their differences. Settings were chosen on seeds 500 to 507; other seeds are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rag_graph.config import RewardConfig

SMALL = {"hidden_size": 16, "num_bases": 2, "fit_steps": 5, "fit_batch": 128, "reserved": 0.0}
CONSTANT = {"auxiliary": 1.0, "auxiliary_end": 1.0}
"""A readout that predicts no goal lives on its other nodes: eta stays."""


@dataclass(frozen=True)
class Arm:
    """One way to a reward. `graphs`: those that it is run on; a readout that knows no graph is run on one."""

    name: str
    settings: dict[str, Any]
    graphs: tuple[str, ...] = ("right",)
    learn: str = "none"
    extra_goals: bool = False
    """Scores twice as many goals as the others: the falsifier 'goal_only with the extra scoring budget'."""

    def config(self) -> RewardConfig:
        return RewardConfig(**{**SMALL, **self.settings, "learn": {"method": self.learn}})


GRAPHS = ("right", "wrong", "shuffled", "ungated")
ARMS = (
    Arm("goal_only", {"readout": "goal_only"}),
    Arm("goal_only_twice", {"readout": "goal_only"}, extra_goals=True),
    Arm("flat", {"readout": "flat", **CONSTANT}),
    Arm("diffusion", {"readout": "diffusion"}, GRAPHS),
    Arm("gated_fixed", {"readout": "gated_fixed"}, GRAPHS),
    Arm("gated_fixed+alignment", {"readout": "gated_fixed"}, (*GRAPHS, "candidates"), "alignment"),
    Arm("gated_fixed+meta_gradient", {"readout": "gated_fixed"}, (*GRAPHS, "candidates"), "meta_gradient"),
    Arm("ridge", {"readout": "ridge"}),
    Arm("mlp", {"readout": "mlp"}),
    Arm("gnn", {"readout": "gnn"}, ("right", "shuffled")),
    Arm("prior", {"readout": "prior_gnn", "fit_steps": 0}, ("right",)),
    Arm("prior_gnn", {"readout": "prior_gnn"}, GRAPHS),
    Arm("prior_gnn_no_discovery", {"readout": "prior_gnn", "discover_gates": False}, ("ungated",)),
    Arm("prior_gnn+alignment", {"readout": "prior_gnn"}, ("right", "wrong", "shuffled"), "alignment"),
    Arm("prior_gnn+meta_gradient", {"readout": "prior_gnn"}, ("wrong",), "meta_gradient"),
)
BY_NAME = {arm.name: arm for arm in ARMS}
