"""Which scores of an episode are observed, hidden or reserved.

What is observed is drawn per (episode, response, node) from a hash, so that chunks, repeats and logging see the same mask; where the goal
is hidden, so is the reference, from every scorer. A share of the examples is reserved: their goal is always scored, but neither paid nor
shown to the imputer. On them the goal is watched (audits, alarms) and the graph learns. Which ones is said in `rag_graph.data.reserved`, for nobody else
sees their references either.

A node is asked for on a share `observe` of the answers (of a goal without one: `reward.goal_observed`), and within a limit (`reward.budget`) with a chance q
beside it (`purchase.py`). Then what is free is scored first, and what has a price is chosen with that in sight. q depends on what is seen of the episodes of a batch and on what was
learned before, and on no draw of the score at hand.

Inclusion probabilities, over the draw of the seed, of the goal score of any one answer (repeated answers too: those that are drawn together
share a draw, and each has this probability):

| score | in | probability |
|---|---|---|
| shown to the reward | `Episode.scores` | (1 - reserved) observe q: `Episode.probabilities`, where below 1 |
| kept back for audits | `Episode.reserved` | reserved |
| known at all | either | reserved + (1 - reserved) observe q: `Episode.probability` |

So the mean goal over n episodes is estimated without bias by the sum of known scores / `probability`, divided by n (Horvitz & Thompson 1952).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.data.reserved import draw, is_reserved
from rag_graph.errors import DataError, near_miss
from rag_graph.evaluation.hidden import Hidden, HiddenReferences
from rag_graph.evaluation.judging import METRIC
from rag_graph.evaluation.scorer import NodeScorer, NodeScores
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import goal_share
from rag_graph.records import REFERENCE_METRICS, Asked, Episode
from rag_graph.reward.arguments import Scoring
from rag_graph.reward.budget import Budget
from rag_graph.reward.choice import Choice
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
        self.budget = Budget(graph, config.budget, scoring)
        self._bought_goals: dict[tuple[str, str], bool] = {}
        self._forget_goals = self._warned = False

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
        episodes = [self._known(episode) for episode in episodes]
        blind: dict[int, Episode] = {}
        lacking = [self._lacking(episode) for episode in episodes]
        choice = Choice(self.graph, self.config, self.seed, self.budget, self._open_nodes(), episodes, visible, lacking)
        free: list[NodeScores | None] = [None] * len(episodes)
        if self.budget.is_limited:
            wanted = [choice.free(row) for row in range(len(episodes))]
            blind = {row: self._blind(episode) for row, episode in enumerate(episodes)}
            found = self.scoring.score_all(list(blind.values()), wanted)
            free = [_only(one, nodes) for one, nodes in zip(found, wanted, strict=True)]
            seen = [replace(one, scores=dict(own or {})) for one, own in zip(episodes, free, strict=True)]
            choice.buy(lambda price: self._values(seen, price))
            if choice.warning and not self._warned:
                self._warned = True
                warnings.warn(choice.warning, RuntimeWarning, stacklevel=2)
        views: list[Episode] = []
        asked: list[set[str] | None] = []
        audits: dict[int, int] = {}
        for row, episode in enumerate(episodes):
            views.append(episode if choice.shown[row] else blind.get(row) or self._blind(episode))
            asked.append(choice.wanted(row))
        for row in np.flatnonzero(choice.reserved).tolist():
            audits[row] = len(views)
            views.append(episodes[row])
            asked.append({episodes[row].example.task})
        results = self.scoring.score_all(views, asked)
        known, probabilities = choice.goal_probabilities(), choice.probabilities()
        scored = []
        for row, episode in enumerate(episodes):
            parts = [one for one in (free[row], _only(results[row], asked[row])) if one is not None]
            audit = results[audits[row]] if row in audits else None
            bills = self._bills(choice.asked_nodes(row) if self.budget.prices.priced else (), parts, audit)
            scored.append(
                replace(
                    episode,
                    probability=known[row],
                    probabilities=probabilities[row],
                    asked=bills,
                    **_joined(episode, parts, audit),
                )
            )
        self.budget.note(choice.planned)
        self._remember(episodes, choice)
        return scored

    def _bills(self, asked: Collection[str], parts: Sequence[NodeScores], audit: NodeScores | None) -> dict[str, Asked]:
        """What it cost to ask for each node. asked: nodes that were asked for."""
        bills = {
            node: bill for one in (*parts, *([audit] if audit is not None else [])) for node, bill in one.asked.items()
        }
        prices = self.budget.prices
        return bills | {node: prices.bill(node, bills.get(node)) for node in asked if node in prices.priced}

    def _open_nodes(self) -> set[str]:
        """Criteria that may be scored where the goal is hidden."""
        found = {name for name in self.graph.spec.criteria if not self._reads_references(name)}
        if self.budget.is_limited and isinstance(self.scoring, NodeScorer):
            # What is scored before it is known whose goal is bought is scored without references; what would miss them waits.
            functions = self.scoring.functions
            found -= self.scoring.readers(self.reference_columns())
            found -= {node for node, function in functions.items() if function.needs_reference}
        return found

    def _lacking(self, episode: Episode) -> set[str]:
        """Nodes that can have no score here, whoever is asked: their reference is not there, or the items of their rubric."""
        if not isinstance(self.scoring, NodeScorer):
            return set()
        spec, task = self.graph.spec, episode.example.task
        bare = {node for node in self.scoring.rubrics if not episode.example.items.get(node)}
        if episode.example.references:
            return bare
        metrics = {name for name, weight in spec.tasks[task].metrics.items() if weight > 0}
        readers = {name for name, one in spec.criteria.items() if one.reads_reference}
        if metrics & REFERENCE_METRICS or (metrics == {METRIC} and spec.tasks[task].args.get("reference")):
            readers.add(task)
        return bare | (readers - self.scoring.scorers.keys())

    def _values(self, episodes: Sequence[Episode], price: Tensor) -> Tensor | None:
        """[n, N] what each score is worth, for `reward.budget.mode` active; None while nothing is learned. price: [n, N], 0 where it is not for sale."""
        return None

    def _remember(self, episodes: Sequence[Episode], choice: Choice) -> None:
        """Whose goals were bought: `goals_shown` says it after an update."""
        if self.budget.is_limited:
            if self._forget_goals:
                self._bought_goals.clear()
                self._forget_goals = False
            for episode, shown in zip(episodes, choice.shown.tolist(), strict=True):
                self._bought_goals[episode.id, episode.response] = shown

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
        """Of each episode whether its reference may be seen: its goal is observed and not reserved. Within a limit (`reward.budget`) that holds of the episodes of
        the last update whose goal was bought."""
        if self.budget.is_limited:
            return [self._bought_goals.get((episode.id, episode.response), False) for episode in episodes]
        return [self.goal_is_observed(episode) and not self.is_reserved(episode) for episode in episodes]

    def is_reserved(self, episode: Episode) -> bool:
        """True for a share `reserved` of the examples of goal tasks, always the same ones."""
        return is_reserved(episode.example, self.graph, self.config.reserved, self.seed)

    def goal_is_observed(self, episode: Episode) -> bool:
        """True for a share of (episode, response) pairs, always the same ones: `observe` of the task, else `reward.goal_observed`."""
        share = goal_share(self.graph, self.config, episode.example.task)
        return share >= 1 or draw(self.seed, episode.id, episode.response) < share

    def _reads_references(self, node: str) -> bool:
        """True where a node's score gives the hidden goal away: a task, or a criterion that compares with the reference."""
        criterion = self.graph.spec.criteria.get(node)
        return criterion is None or criterion.reads_reference

    def reserved_goals(self, episodes: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """([B] goal score where reserved, else 0; [B] bool, True where there is one)."""
        found = [episode.reserved.get(episode.example.task) for episode in episodes]
        goal = torch.tensor([0.0 if value is None else value for value in found])
        return goal, torch.tensor([value is not None for value in found], dtype=torch.bool)


def _joined(episode: Episode, parts: Sequence[NodeScores], audit: NodeScores | None) -> dict[str, Any]:
    """The fields of an episode with what was found for it. audit: the score of a reserved goal."""
    everything = [*parts, audit] if audit is not None else list(parts)
    error = next((one.error for one in everything if one.error), "")
    if error:
        return {"error": error}
    task = episode.example.task
    return {
        "scores": {node: value for one in parts for node, value in one.items()},
        "reserved": {task: audit[task]} if audit and task in audit else {},
        "failed": {node: why for one in everything for node, why in one.failed.items()},
        "rationales": {node: text for one in everything for node, text in one.rationales.items()},
        "item_scores": {node: items for one in parts for node, items in one.item_scores.items()},
    }


def _only(found: NodeScores, wanted: Collection[str] | None) -> NodeScores:
    """Without what nobody wanted: one function that scores all nodes may give more."""
    if wanted is None or found.keys() | found.item_scores.keys() <= set(wanted):
        return found
    kept = NodeScores({node: value for node, value in found.items() if node in wanted}, found.error)
    kept.item_scores = {node: items for node, items in found.item_scores.items() if node in wanted}
    kept.failed, kept.asked, kept.rationales = found.failed, found.asked, found.rationales
    return kept
