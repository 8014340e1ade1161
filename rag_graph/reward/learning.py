"""What the reward learns from the episodes of one update: statistics, imputer, strengths. It watches the goal on the way.

The order matters. First the predictions are compared with what was observed, then all of it is learned from: a prediction is never
compared with a score that it was fitted to in the same update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.reward.alarms import MOST_ERROR, Alarms
from rag_graph.reward.batch import Batch
from rag_graph.reward.diagnostics import Calibration, leakage, mean_goals, weighted_score
from rag_graph.reward.imputers.base import hide
from rag_graph.reward.imputers.graph_network import HEADS
from rag_graph.reward.memory import EPISODES, Memory
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readout import Paid
from rag_graph.reward.symptoms import Symptom, length_bands, symptoms

FIT_SCORES = 6144
"""Node scores in one gradient step of the imputer at most: on large graphs a step takes fewer episodes."""

REFRESH = 8
"""Of so many fits one is of all tasks in the batch, and so are the first; the others are of the tasks with new goals."""
FIRST_SWEEPS = 25
"""Turns of the first fit of a closed form that is fitted in turns; each later fit starts where the last ended, and the n-th takes 1 + 25 / n."""


class RewardLearning:
    """
    Args:
        model: what is fitted and moved.
        text_size: numbers of one embedding of a text.
        seed: of what is hidden, and of the episodes that a fit draws.
        graph: as in the file.
    """

    def __init__(
        self, model: RewardModel, config: RewardConfig, text_size: int, seed: int, graph: AuxiliaryGraph
    ) -> None:
        self.model, self.config = model, config
        groups = model.parameter_groups(config.learning_rate)
        self.optimizer = torch.optim.AdamW(groups) if model.readout.fit == "gradient" else None
        self.generator = torch.Generator().manual_seed(seed)
        self.memory = Memory(EPISODES, HEADS, text_size)
        self.calibration = Calibration(len(model.topology.nodes))
        self.alarms = Alarms(list(graph.spec.tasks))
        self.bands = length_bands(graph)
        self.new_alarms: Sequence[str] = ()
        self.fits = 0
        self.task_means: dict[str, float] = {}
        """Goal task -> its mean goal in the last update that had an episode of it."""

    def learn(
        self, batch: Batch, episodes: Sequence[Episode], paid: Paid, goal: Tensor, reserved: Tensor, auxiliary: float
    ) -> dict[str, float]:
        """Returns the metrics of the update.

        Args:
            batch, episodes: the scored episodes as tensors, and as they are; alarms look at their answers.
            paid: what each of them was paid.
            goal, reserved: [B] see `Observation.reserved_goals`.
            auxiliary: eta.
        """
        with torch.no_grad():
            watched = self._watch(batch, episodes, paid, goal, reserved)
            self.model.observe(batch.scores, batch.weights)
        self.memory.add(batch, self.generator)
        goals = batch.scores.observed & batch.scores.is_task
        # All tasks of the batch now and then, for the others' standardisation moves too; else those whose fit has news.
        everyone = self.fits < REFRESH or self.fits % REFRESH == 0
        loss = self.fit(batch.scores.tasks if everyone else batch.scores.tasks[goals.any(-1)])
        self.model.settle(batch.scores, batch.contexts, auxiliary)
        self.model.align(batch.scores, goal, reserved)
        return watched | {"reward/imputer_loss": loss}

    def _watch(
        self, batch: Batch, episodes: Sequence[Episode], paid: Paid, goal: Tensor, reserved: Tensor
    ) -> dict[str, float]:
        """Predict what is known with it hidden, and compare; before anything is learned from it.

        A goal is predicted as it is where it is hidden or reserved: without itself and what reads its reference, from all else, and the
        calibration compares what would be paid for it. Other scores are predicted with a random part of them hidden, as in a fit.
        """
        scores, model = batch.scores, self.model
        uniform = torch.rand(scores.values.shape, generator=self.generator)
        at = scores.is_task
        audited = at & (model.topology.goal > 0) & (scores.observed | reserved[:, None])
        known = torch.where(at & reserved[:, None], goal[:, None], scores.values)
        shown = scores.without_goal(model.topology.reads_references)
        expected, spread = model.imputer.predict(shown, model.graph, batch.contexts)
        others = hide(scores, uniform, model.topology.reads_references)
        guessed, _ = model.imputer.predict(scores.without(others), model.graph, batch.contexts)
        compared = others | audited
        paid_for = torch.where(audited, model.fill(shown, batch.contexts), guessed)
        self.calibration.update(paid_for, known, compared)
        # Caution, a discount that is meant, is no error of the prediction: alarms see it without.
        gaps = torch.where(compared, torch.where(audited, expected, guessed) - known, 0.0)
        units = gaps / model.imputer.base.deviations

        def average(values: Tensor) -> float:
            return float(values.mean()) if len(values) else float("nan")

        # The same yardstick all along: eta and strengths as at the start, or the utility would move by itself.
        utility = model.utility(paid.scores, scores, self.config.auxiliary, model.topology)
        residual, error = average(gaps[audited]), average(units[compared].square()) ** 0.5
        held_out, mean_utility = average(goal[reserved]), average(utility.sum(-1)[paid.paid])
        errors = (torch.where(compared, units, 0.0).square().sum(-1) / compared.sum(-1).clamp(min=1)).sqrt()
        seen = [*symptoms(episodes, self.bands), *_of_scores(episodes, known, gaps, audited, errors, compared.any(-1))]
        self.new_alarms = self.alarms.see(max(e.round for e in episodes), seen, mean_utility)
        found = {
            "reward/utility": mean_utility,
            "reward/held_out_goal": held_out,
            "reward/goal_residual": residual,
            "reward/imputer_error": error,
            "reward/leakage": leakage(model.graph, scores.values, scores.observed, utility),
            "reward/goal_spread": float(spread[at].mean()),
        }
        own = expected.gather(-1, scores.tasks[:, None]).squeeze(-1)
        means = mean_goals(scores, own, goal, reserved, model.topology)
        self.task_means |= means
        found |= weighted_score(self.task_means, model.topology)
        found |= {f"score/{task}": mean for task, mean in means.items()}
        return {name: value for name, value in found.items() if value == value} | self.alarms.metrics()

    def fit(self, fresh: Tensor | None = None) -> float:
        """Fit the imputer to what is remembered. Returns its loss; NaN for a closed form.

        Args:
            fresh: int64, tasks that have new goals; None: all.
        """
        if self.model.readout.fit == "closed_form" and len(self.memory):
            self.fits += 1
            self.model.refit(self.memory.all(), 1 + FIRST_SWEEPS // self.fits, fresh, self.memory.weights())
        if self.optimizer is None or not len(self.memory):
            return float("nan")
        total = 0.0
        size = min(self.config.fit_batch, max(8, FIT_SCORES // len(self.model.topology.nodes)))
        for _ in range(self.config.fit_steps):
            batch, halves = self.memory.draw(size, self.generator)
            uniform = torch.rand(batch.scores.values.shape, generator=self.generator)
            loss = self.model.loss(batch.scores, uniform, halves, batch.contexts)
            if self.memory.num_pairs:
                loss = loss + self.model.preference_loss(*self.memory.draw_pairs(size, self.generator))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.model.imputer.project()
            total += loss.item()
        return total / self.config.fit_steps if self.config.fit_steps else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """Without the model's, which has its own."""
        return {
            "calibration": dict(self.calibration.state_dict()),
            "alarms": self.alarms.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "generator": self.generator.get_state(),
            "memory": self.memory.state_dict(),
            "fits": self.fits,
            "task_means": dict(self.task_means),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict`."""
        self.calibration.load_state_dict(state["calibration"])
        self.alarms.load_state_dict(state["alarms"])
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.memory.load_state_dict(state["memory"])
        self.fits = int(state["fits"])
        self.task_means = {str(task): float(mean) for task, mean in state["task_means"].items()}
        if not self.model.imputer.in_state:
            self.model.imputer.forget()
            if len(self.memory):
                self.model.refit(self.memory.all(), weights=self.memory.weights())


def _of_scores(
    episodes: Sequence[Episode], known: Tensor, gaps: Tensor, audited: Tensor, errors: Tensor, compared: Tensor
) -> Iterator[Symptom]:
    """goal_falls per task, miscalibration in both directions, imputer_error.

    Args:
        known, gaps: [B, N] scores, and prediction - score. audited: bool [B, N], at goals that are known.
        errors: [B] root mean squared error on hidden scores, in deviations; compared: bool [B], where there is one.
    """
    rows, columns = audited.nonzero(as_tuple=True)
    mine = [(episodes[row],) for row in rows.tolist()]
    losses, off = 1 - known[rows, columns], gaps[rows, columns].clamp(-1, 1)
    for task in dict.fromkeys(one.example.task for (one,) in mine):
        of_task = [number for number, (one,) in enumerate(mine) if one.example.task == task]
        yield Symptom("goal_falls", task, losses[of_task].tolist(), [mine[number] for number in of_task], [])
    for direction, values in (("higher", (1 + off) / 2), ("lower", (1 - off) / 2)):
        yield Symptom("miscalibration", direction, values.tolist(), mine, [])
    shares = (errors / MOST_ERROR).clamp(max=1)
    hidden = compared.nonzero().flatten().tolist()
    yield Symptom("imputer_error", "", shares[hidden].tolist(), [(episodes[row],) for row in hidden], [])
