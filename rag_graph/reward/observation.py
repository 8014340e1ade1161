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

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.data.reserved import draw, is_reserved
from rag_graph.errors import DataError, near_miss
from rag_graph.evaluation.hidden import Hidden, HiddenReferences
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.reward.arguments import Scoring
from rag_graph.reward.columns import REFERENCE

MakeEpisodes = Callable[..., Sequence[Episode]]
"""Called with what a trainer passes to a reward (prompts, completions, completion_ids, every other column) -> episodes without scores."""


class Observation:
    """Scores episodes, each node once, and keeps back what is not to be seen. See `GraphReward` for the arguments."""

    def __init__(
        self,
        graph: AuxiliaryGraph,
        config: RewardConfig,
        scoring: Scoring,
        make_episodes: MakeEpisodes,
        seed: int,
        reference: str | None = "reference",
    ) -> None:
        self.graph = graph
        self.config = config
        self.scoring = scoring
        self.make_episodes = make_episodes
        self.seed = seed
        self.reference = reference

    def observe(self, episodes: Sequence[Episode], visible: Sequence[bool] | None = None) -> list[Episode]:
        """Score episodes, and keep back what is not to be seen. Each function is called once for all of them.

        Args:
            visible: whether the goal of each is observed where that was decided before, for another answer to the same question. Such an
                answer shares the draw of the other one; `probability` holds for it where the other one was the only one.

        Raises:
            ConfigError: a node that nothing scores (`NodeScorer.require_all`).
            DataError: an episode of a task that the graph lacks; see also `NodeScorer.score_all`.
        """
        if isinstance(self.scoring, NodeScorer):
            self.scoring.require_all()
        episodes = [replace(self._known(episode), probability=self.probability(episode)) for episode in episodes]
        open_criteria = {name for name in self.graph.spec.criteria if not self._reads_references(name)}
        views: list[Episode] = []
        wanted: list[set[str] | None] = []
        audits: dict[int, int] = {}
        firsts = []
        for row, episode in enumerate(episodes):
            reserved = self.is_reserved(episode)
            shown = not reserved and (self.goal_is_observed(episode) if visible is None else visible[row])
            firsts.append(len(views))
            views.append(episode if shown else self._blind(episode))
            wanted.append(None if shown else open_criteria)
            if reserved:
                audits[row] = len(views)
                views.append(episode)
                wanted.append({episode.example.task})
        found = self.scoring.score_all(views, wanted)
        scored = []
        for row, (episode, first) in enumerate(zip(episodes, firsts, strict=True)):
            names = wanted[first]
            seen = {name: value for name, value in found[first].items() if names is None or name in names}
            task = episode.example.task
            audit = found[audits[row]] if row in audits else None
            reserved_scores = {task: audit[task]} if audit and task in audit else {}
            asked = {**found[first].asked, **(audit.asked if audit is not None else {})}
            failed = {**found[first].failed, **(audit.failed if audit is not None else {})}
            rationales = {**found[first].rationales, **(audit.rationales if audit is not None else {})}
            error = found[first].error or (audit.error if audit is not None else "")
            if error:
                scored.append(replace(episode, error=error, asked=asked))
            else:
                items = {node: of for node, of in found[first].item_scores.items() if names is None or node in names}
                scored.append(
                    replace(
                        episode,
                        scores=seen,
                        reserved=reserved_scores,
                        failed=failed,
                        item_scores=items,
                        asked=asked,
                        rationales=rationales,
                    )
                )
        return scored

    def _blind(self, episode: Episode) -> Episode:
        """The episode as all scorers, your own included, see it where its goal is hidden: without its reference."""
        hidden: dict[str, Any] = {name: Hidden() for name in self.reference_columns() if name in episode.columns}
        return replace(
            episode,
            example=replace(episode.example, references=HiddenReferences()),
            columns={**episode.columns, **hidden},
        )

    def reference_columns(self) -> set[str]:
        """Columns that hold references: the one that was named, those that the graph names, and `reference`, its name for every function."""
        stated = [task.fields.get("reference") for task in self.graph.spec.tasks.values()]
        return {name for name in (REFERENCE, self.reference, *stated) if name is not None}

    def _known(self, episode: Episode) -> Episode:
        tasks = self.graph.spec.tasks
        if episode.example.task not in tasks:
            raise DataError(
                f"episode '{episode.id}': graph '{self.graph.name}' has no task '{episode.example.task}'.{near_miss(episode.example.task, tasks)} Its tasks: "
                f"{', '.join(tasks)}."
            )
        return episode

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
        return criterion is None or criterion.reads_reference

    def reserved_goals(self, episodes: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """([B] goal score where reserved, else 0; [B] bool, True where there is one)."""
        found = [episode.reserved.get(episode.example.task) for episode in episodes]
        goal = torch.tensor([0.0 if value is None else value for value in found])
        return goal, torch.tensor([value is not None for value in found], dtype=torch.bool)
