"""What a researcher looks at: how well scores are predicted, what each node paid, and where a prerequisite that failed was paid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rag_graph.records import NodeRewards
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.scores import Scores

BINS = 10
MEMORY = 0.98
"""Of the calibration, per update: about fifty updates."""
FAILED = 0.5
"""A prerequisite below this counts as failed."""


class Calibration(nn.Module):
    """Per node: predictions of hidden scores against what was observed, remembered over about fifty updates; of a goal what is paid where it
    is not observed."""

    count: Tensor  # [N, BINS] by predicted score
    predicted: Tensor
    seen: Tensor
    square: Tensor  # [N] summed squared error

    def __init__(self, num_nodes: int) -> None:
        super().__init__()
        for name in ("count", "predicted", "seen"):
            self.register_buffer(name, torch.zeros(num_nodes, BINS))
        self.register_buffer("square", torch.zeros(num_nodes))

    @torch.no_grad()
    def update(self, predicted: Tensor, observed: Tensor, hidden: Tensor) -> None:
        """predicted, observed: [B, N]; hidden: bool [B, N], where both are to be compared."""
        predicted, observed = torch.where(hidden, predicted, 0.0), torch.where(hidden, observed, 0.0)
        bins = (predicted.clamp(0, 1) * BINS).long().clamp(max=BINS - 1)
        each = nn.functional.one_hot(bins, BINS) * hidden[..., None]  # [B, N, BINS]
        self.count = MEMORY * self.count + each.sum(0)
        self.predicted = MEMORY * self.predicted + (each * predicted[..., None]).sum(0)
        self.seen = MEMORY * self.seen + (each * observed[..., None]).sum(0)
        self.square = MEMORY * self.square + (predicted - observed).square().sum(0)

    @property
    def number(self) -> Tensor:
        """[N] comparisons that are remembered."""
        return self.count.sum(-1)

    @property
    def bias(self) -> Tensor:
        """[N] mean of prediction - observation."""
        return (self.predicted - self.seen).sum(-1) / self.number.clamp(min=1)

    @property
    def rmse(self) -> Tensor:
        """[N] root mean squared error."""
        return (self.square / self.number.clamp(min=1e-12)).sqrt()

    @property
    def ece(self) -> Tensor:
        """[N] expected calibration error: mean gap between predicted and observed over bins of the prediction (Naeini et al. 2015)."""
        return (self.predicted - self.seen).abs().sum(-1) / self.number.clamp(min=1)


def leakage(graph: GraphTensors, scores: Tensor, observed: Tensor, utility: Tensor) -> float:
    """Share of the positive utility of gated nodes that was paid although an observed prerequisite failed (GEAR, arXiv 2606.03361,
    calls it false credit). 0 where no utility was paid.

    Args:
        scores, observed: [B, N]; utility: [B, N] what each node pays in score units, weight included.
    """
    chosen, source, target = graph.ends("gate")
    if not len(chosen):
        return 0.0
    failed = (observed[:, source] & (scores[:, source] < FAILED) & (graph.strength[chosen] > 0)).to(utility.dtype)
    spoilt = torch.zeros_like(utility).index_add(1, target, failed) > 0
    gated = torch.zeros(len(graph.nodes), dtype=torch.bool)
    gated[target] = True
    positive = utility.clamp(min=0) * gated
    total = float(positive.sum())
    return float((positive * spoilt).sum()) / total if total > 0 else 0.0


def pareto_front(points: Tensor) -> Tensor:
    """bool [P]: True for the points [P, D] that no other point beats or equals in every dimension and beats in one."""
    better = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
    return ~better.any(1)


def node_metrics(rewards: NodeRewards, in_play: Tensor, calibration: Calibration) -> dict[str, float]:
    """Of each node that bears on a paid episode of the update: what it paid, its weight, its score, gate, bias and calibration; and its `observed`,
    the share of all episodes it bears on, paid or not, in which it was.

    Args:
        in_play: bool [B, N].
    """
    mine = in_play & rewards.paid[:, None]
    seen = mine & rewards.observed
    number = mine.sum(0)

    def mean(values: Tensor, over: Tensor = mine) -> list[float]:
        return (torch.where(over, values, 0.0).sum(0) / over.sum(0).clamp(min=1)).tolist()  # type: ignore[no-any-return]

    found = {
        "reward": mean(rewards.values * rewards.weights), "weight": mean(rewards.weights),
        "observed": mean(rewards.observed.to(rewards.values.dtype), in_play), "imputed": mean(rewards.scores),
        "gated": mean(rewards.scores * rewards.gates), "gate": mean(rewards.gates),
    }  # fmt: skip
    compared = {name: getattr(calibration, name).tolist() for name in ("bias", "ece", "rmse")}
    scores, was_seen, judged = mean(rewards.scores, seen), seen.any(0).tolist(), (calibration.number >= 1).tolist()
    logged: dict[str, float] = {}
    for column in number.nonzero().flatten().tolist():
        node = f"nodes/{rewards.nodes[column]}"
        logged |= {f"{node}/{name}": values[column] for name, values in found.items()}
        if judged[column]:
            logged |= {f"{node}/{name}": values[column] for name, values in compared.items()}
        if was_seen[column]:
            logged[f"{node}/score"] = scores[column]
    return logged


def mean_goals(
    scores: Scores, expected: Tensor, goal: Tensor, reserved: Tensor, graph: GraphTensors
) -> dict[str, float]:
    """Goal task -> the mean goal of its episodes in score units, in [0, 1]; of the tasks that occur.

    An episode counts by its goal where that is observed, or measured because it is reserved; else by its prediction. This is for the log:
    neither the pay nor the imputer sees the reserved goals. No running statistic, no rule and no eta is in it, so it can be compared over a
    training and between readouts.

    Args:
        expected: [B] what is predicted of each goal from the other scores.
        goal, reserved: [B] see `Observation.reserved_goals`.
    """
    seen, values = (part.gather(-1, scores.tasks[:, None]).squeeze(-1) for part in (scores.observed, scores.values))
    values = torch.where(seen, values, torch.where(reserved, goal, expected.clamp(0, 1)))
    tasks = [task for task in scores.tasks.unique().tolist() if graph.goal[task] > 0]
    return {graph.nodes[task]: float(values[scores.tasks == task].mean()) for task in tasks}


def weighted_score(means: Mapping[str, float], graph: GraphTensors) -> dict[str, float]:
    """`score`: the mean of the tasks' mean goals, weighted by their goal weights. Empty where there is none."""
    weights = {task: float(graph.goal[graph.nodes.index(task)]) for task in means}
    total = sum(weights.values())
    return {"score": sum(weights[task] * mean for task, mean in means.items()) / total} if means else {}


def node_scores(scores: Scores, graph: GraphTensors) -> dict[str, float]:
    """`nodes/NODE/score`: the mean of what was observed of each node, over the episodes it bears on; absent where nothing was."""
    seen = scores.observed & graph.applies[scores.tasks]
    means = (torch.where(seen, scores.values, 0.0).sum(0) / seen.sum(0).clamp(min=1)).tolist()
    return {f"nodes/{graph.nodes[node]}/score": means[node] for node in seen.any(0).nonzero().flatten().tolist()}
