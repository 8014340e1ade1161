"""Which scores of an episode are observed, hidden or reserved.

What is observed of the goal is drawn per (episode, response) from a hash, so that chunks, repeats and logging see the same mask; where
it is hidden, so is the reference, from every scorer. A share of the examples is reserved: their goal is always scored, but neither paid nor
shown to the imputer. On them the goal is watched (audits, alarms) and the graph learns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import REFERENCE_METRICS, Episode


class Observation:
    """Scores episodes and keeps back what is not to be seen. See `GraphReward` for the arguments."""

    def __init__(self, graph: AuxiliaryGraph, config: RewardConfig, score: Any, make_episodes: Any, seed: int) -> None:
        self.graph = graph
        self.config = config
        self.score_episode = score
        self.make_episodes = make_episodes
        self.seed = seed

    def scored(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        columns: Mapping[str, list[Any]],
    ) -> list[Episode]:
        """Episodes with the scores that may be paid; what is measured but kept back is in `reserved`."""
        return self.observe(self.make_episodes(prompts, completions, completion_ids, **columns))

    def observe(self, episodes: Sequence[Episode], visible: Sequence[bool] | None = None) -> list[Episode]:
        """Score episodes, and keep back what is not to be seen.

        Args:
            visible: whether the goal of each is observed where that was decided before, for another answer to the same question.
        """
        scored = []
        for row, episode in enumerate(episodes):
            episode = replace(episode, probability=self.probability(episode))
            try:
                scored.append(self._score(episode, None if visible is None else visible[row]))
            except Exception as error:  # a scorer may be anyone's code, and a bad episode is data, not a crash
                scored.append(replace(episode, error=f"{type(error).__name__}: {error}"))
        return scored

    def _score(self, episode: Episode, visible: bool | None = None) -> Episode:
        is_reserved = self.is_reserved(episode)
        visible = self.goal_is_observed(episode) if visible is None else visible
        if not is_reserved and visible:
            return episode.with_scores(self.score_episode(episode))
        # No scorer, your own included, sees the reference of a goal that is hidden.
        blind = replace(episode, example=replace(episode.example, references=()))
        scores = {name: value for name, value in self.score_episode(blind).items() if not self._reads_references(name)}
        reserved: dict[str, float] = {}
        task = episode.example.task
        if is_reserved:
            goal = self.score_episode(episode).get(task)
            reserved = {} if goal is None else {task: goal}
        return replace(episode, scores=scores, reserved=reserved)

    def _has_goal(self, episode: Episode) -> bool:
        return self.graph.spec.tasks[episode.example.task].goal > 0

    def is_reserved(self, episode: Episode) -> bool:
        """True for a share `reserved` of the examples of goal tasks, always the same ones."""
        return self._has_goal(episode) and self._draw("reserved", episode.example.id) < self.config.reserved

    def goal_is_observed(self, episode: Episode) -> bool:
        """True for a share `goal_observed` of (episode, response) pairs, always the same ones."""
        return not self._has_goal(episode) or self._draw(episode.id, episode.response) < self.config.goal_observed

    def probability(self, episode: Episode) -> float:
        """The probability with which the goal of an episode like this one is scored: `reserved`, or `goal_observed` of the rest."""
        if not self._has_goal(episode):
            return 1.0
        if self.is_reserved(episode):
            return self.config.reserved
        return (1 - self.config.reserved) * self.config.goal_observed

    def _draw(self, *what: str) -> float:
        digest = hashlib.blake2b("\0".join([str(self.seed), *what]).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def _reads_references(self, node: str) -> bool:
        """True where a node's score gives the hidden goal away: a task, or a criterion that compares with the reference."""
        criterion = self.graph.spec.criteria.get(node)
        return criterion is None or criterion.metric in REFERENCE_METRICS

    def reserved_goals(self, episodes: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """([B] goal score where reserved, else 0; [B] bool, True where there is one)."""
        found = [episode.reserved.get(episode.example.task) for episode in episodes]
        goal = torch.tensor([0.0 if value is None else value for value in found])
        return goal, torch.tensor([value is not None for value in found], dtype=torch.bool)

    def held_out(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> list[float | None]:
        """The goal score of each reserved episode, None for the others: what J is made of."""
        goal, reserved = self.reserved_goals(self.scored(prompts, completions, completion_ids, columns))
        return [value if known else None for value, known in zip(goal.tolist(), reserved.tolist(), strict=True)]
