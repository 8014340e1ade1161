"""The arms of the planted experiment. Settings were chosen on seeds 500 to 507; other seeds are reported."""

from __future__ import annotations

from dataclasses import dataclass

from rag_graph.config import RewardConfig

SMALL = {"hidden_size": 16, "num_bases": 2, "fit_steps": 5, "fit_batch": 128, "reserved": 0.0}


@dataclass(frozen=True)
class Arm:
    """One way to a reward. `graphs`: those that it is run on; a readout that knows no graph is run on one."""

    name: str
    readout: str
    graphs: tuple[str, ...] = ("right",)
    learn: str = "none"
    extra_goals: bool = False
    """Scores twice as many goals as the others: the falsifier 'goal_only with the extra scoring budget'."""

    def config(self) -> RewardConfig:
        return RewardConfig(**{**SMALL, "readout": self.readout, "learn": {"method": self.learn}})


FILES = ("right", "wrong", "shuffled", "ungated")
ARMS = (
    Arm("goal_only", "goal_only"),
    Arm("goal_only_twice", "goal_only", extra_goals=True),
    Arm("random", "random"),
    Arm("flat", "flat", FILES),
    Arm("diffusion", "diffusion", FILES),
    Arm("gated_fixed", "gated_fixed", FILES),
    Arm("product", "product", FILES),
    Arm("em_product", "em_product", FILES),
    Arm("soft_min", "soft_min", FILES),
    Arm("ridge", "ridge"),
    Arm("ridge_equal", "ridge_equal", FILES),
    Arm("boosting", "boosting"),
    Arm("mlp", "mlp"),
    Arm("gnn", "gnn", ("right", "shuffled")),
    Arm("prior_gnn", "prior_gnn", FILES),
    Arm("expected_goal", "expected_goal", (*FILES, "none")),
    Arm("expected_goal+alignment", "expected_goal", ("wrong", "shuffled"), "alignment"),
    Arm("expected_goal+meta_gradient", "expected_goal", ("wrong", "shuffled"), "meta_gradient"),
)
BY_NAME = {arm.name: arm for arm in ARMS}
BASELINES = tuple(arm.name for arm in ARMS if arm.readout not in ("prior_gnn", "expected_goal") and not arm.extra_goals)
"""What `expected_goal` has to beat with the same scores."""
