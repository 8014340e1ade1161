"""Which scores of an episode are observed, hidden or reserved.

What is observed of the goal is drawn per (episode, response) from a hash, so that chunks, repeats and logging see the same mask; where
it is hidden, so is the reference, from every scorer. A share of the examples is reserved: their goal is always scored, but neither paid nor
shown to the imputer. On them the goal is watched (audits, alarms) and the graph learns. Which ones is said in `rag_graph.data.reserved`, for nobody else
sees their references either.

Inclusion probabilities, over the draw of the seed, of the goal score of any one answer (repeated answers too: those that are drawn together
share a draw, and each has this probability):

| score | in | probability |
|---|---|---|
| shown to the reward | `Episode.scores` | (1 - reserved) goal_observed |
| kept back for audits | `Episode.reserved` | reserved |
| known at all | either | reserved + (1 - reserved) goal_observed: `Episode.probability` |

So the mean goal over n episodes is estimated without bias by the sum of known scores / `probability`, divided by n (Horvitz & Thompson 1952).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.data.reserved import draw, is_reserved
from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import REFERENCE_METRICS, Episode


class ScoreNodes(Protocol):
    """Scores the nodes of an episode, such as `NodeScorer.score`."""

    def __call__(self, episode: Episode, nodes: Collection[str] | None = None) -> Mapping[str, float]:
        """Node -> score in [0, 1], of the wanted nodes (None: of all that bear on the episode); absent where not observable."""
        ...


MakeEpisodes = Callable[..., Sequence[Episode]]
"""Called with what a trainer passes to a reward (prompts, completions, completion_ids, every other column) -> episodes without scores."""


class Observation:
    """Scores episodes, each node once, and keeps back what is not to be seen. See `GraphReward` for the arguments."""

    def __init__(
        self, graph: AuxiliaryGraph, config: RewardConfig, score: ScoreNodes, make_episodes: MakeEpisodes, seed: int
    ) -> None:
        if not _takes_nodes(score):
            raise ConfigError(
                "score: it must take an episode and the wanted nodes, score(episode, nodes), so that each node is scored once; "
                "NodeScorer(graph, scorers={node: function}).score does."
            )
        self.graph = graph
        self.config = config
        self.score_episode = score
        self.make_episodes = make_episodes
        self.seed = seed

    def observe(self, episodes: Sequence[Episode], visible: Sequence[bool] | None = None) -> list[Episode]:
        """Score episodes, and keep back what is not to be seen.

        Args:
            visible: whether the goal of each is observed where that was decided before, for another answer to the same question. Such an
                answer shares the draw of the other one; `probability` holds for it where the other one was the only one.
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
            return episode.with_scores(_checked(self.score_episode(episode)))
        # No scorer, your own included, sees the reference of a goal that is hidden.
        blind = replace(episode, example=replace(episode.example, references=()))
        task = episode.example.task
        shown = {name for name in self.graph.spec.criteria if not self._reads_references(name)}
        scores = {name: value for name, value in _checked(self.score_episode(blind, shown)).items() if name in shown}
        reserved: dict[str, float] = {}
        if is_reserved:
            reserved = {
                name: value for name, value in _checked(self.score_episode(episode, {task})).items() if name == task
            }
        return replace(episode, scores=scores, reserved=reserved)

    def goals_shown(self, episodes: Sequence[Episode]) -> list[bool]:
        """Of each episode whether its reference may be seen: its goal is observed and not reserved."""
        return [self.goal_is_observed(episode) and not self.is_reserved(episode) for episode in episodes]

    def _has_goal(self, episode: Episode) -> bool:
        return self.graph.spec.tasks[episode.example.task].goal > 0

    def is_reserved(self, episode: Episode) -> bool:
        """True for a share `reserved` of the examples of goal tasks, always the same ones."""
        return is_reserved(episode.example, self.graph, self.config.reserved, self.seed)

    def goal_is_observed(self, episode: Episode) -> bool:
        """True for a share `goal_observed` of (episode, response) pairs, always the same ones."""
        return not self._has_goal(episode) or draw(self.seed, episode.id, episode.response) < self.config.goal_observed

    def probability(self, episode: Episode) -> float:
        """The probability, over the draw of the seed, that the goal score of an answer is known: shown to the reward, or reserved."""
        if not self._has_goal(episode):
            return 1.0
        return self.config.reserved + (1 - self.config.reserved) * self.config.goal_observed

    def _reads_references(self, node: str) -> bool:
        """True where a node's score gives the hidden goal away: a task, or a criterion that compares with the reference."""
        criterion = self.graph.spec.criteria.get(node)
        return criterion is None or criterion.metric in REFERENCE_METRICS

    def reserved_goals(self, episodes: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """([B] goal score where reserved, else 0; [B] bool, True where there is one)."""
        found = [episode.reserved.get(episode.example.task) for episode in episodes]
        goal = torch.tensor([0.0 if value is None else value for value in found])
        return goal, torch.tensor([value is not None for value in found], dtype=torch.bool)


def _checked(scores: Mapping[str, float]) -> Mapping[str, float]:
    """Raises ConfigError for a score outside [0, 1], NaN included."""
    for name, value in scores.items():
        if not 0 <= value <= 1:
            raise ConfigError(
                f"node '{name}': a score is a number from 0 to 1, and this one is {value}. Leave out what cannot be observed."
            )
    return scores


def _takes_nodes(score: Any) -> bool:
    try:
        inspect.signature(score).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # builtins do not say
        return True
    return True
