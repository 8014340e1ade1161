"""Which nodes of which episodes of a batch are asked for: the draws, and what is bought within a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.data.reserved import draw, is_reserved
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import goal_share
from rag_graph.records import Episode
from rag_graph.reward.budget import PILOT, Budget
from rag_graph.reward.purchase import Matrix, Offer, chances, price_of, reserved_price, stop_at, within


class Choice:
    """What is asked for, of n episodes and N nodes. Without a limit it is known at once; within one, `buy` decides it, after what is free was scored.

    Args:
        open_nodes: that may be scored where the goal is hidden; others wait for the goal.
        visible: see `Observation.observe`.
        lacking: of each episode the nodes that can have no score, as a goal without its reference: they are not for sale.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        config: RewardConfig,
        seed: int,
        budget: Budget,
        open_nodes: Collection[str],
        episodes: Sequence[Episode],
        visible: Sequence[bool] | None,
        lacking: Sequence[Collection[str]],
    ) -> None:
        self.graph, self.config, self.seed, self.budget = graph, config, seed, budget
        self.episodes, self.visible, self.lacking = episodes, visible, lacking
        names = [name for name, kind in graph.kinds.items() if kind != "context"]
        tasks = {name: place for place, name in enumerate(dict.fromkeys(one.example.task for one in episodes))}
        shape = len(tasks), len(graph.nodes)
        share, bears, goal, is_open = np.zeros(shape), *(np.zeros(shape, dtype=bool) for _ in range(3))
        for task, place in tasks.items():
            for name in names:
                if name == task or graph.applies(name, task):
                    column = graph.index[name]
                    bears[place, column], share[place, column] = True, self._share(name, task)
                    goal[place, column], is_open[place, column] = name == task, name in open_nodes
        kept_back = np.array([config.reserved if graph.spec.tasks[task].goal > 0 else 0.0 for task in tasks])
        of_task = np.array([tasks[one.example.task] for one in episodes], dtype=int)
        self.share, self.bears, self.goal = share[of_task], bears[of_task], goal[of_task]  # [n, N]
        self.is_open, self.kept_back = is_open[of_task], kept_back[of_task]
        self.reserved = np.array([is_reserved(one.example, graph, config.reserved, seed) for one in episodes], bool)
        self.prices = [budget.prices.of(name) for name in graph.nodes]
        self.chance: Matrix = np.ones(self.share.shape)
        self.planned = 0.0
        self.warning = ""
        """What is wrong with the limit."""
        self._uniform: dict[tuple[int, int], float] = {}
        self._decide()

    def _share(self, name: str, task: str) -> float:
        if name == task:
            return goal_share(self.graph, self.config, name)
        criterion = self.graph.spec.criteria.get(name)
        return 1.0 if criterion is None else criterion.observe

    def _drawn(self, row: int, column: int) -> float:
        """The uniform number of a score, always the same one."""
        if (row, column) not in self._uniform:
            one = self.episodes[row]
            what = () if self.goal[row, column] else ("score", self.graph.nodes[column])
            self._uniform[row, column] = draw(self.seed, *what, one.id, one.response)
        return self._uniform[row, column]

    def _decide(self) -> None:
        """asked [n, N]: what is asked for where the goal is shown or need not be; shown [n]: whether the goal is."""
        probability = self.share * self.chance
        asked = self.bears & (probability >= 1)
        for row, column in zip(*np.nonzero(self.bears & (probability < 1) & (probability > 0)), strict=True):
            asked[row, column] = self._drawn(int(row), int(column)) < probability[row, column]
        drawn = (asked & self.goal).any(-1)
        self.shown = ~self.reserved & (drawn if self.visible is None else np.array(self.visible, dtype=bool))
        asked[self.goal] = self.shown
        self.asked = asked & (self.is_open | self.shown[:, None])

    def free(self, row: int) -> set[str]:
        """Open nodes of an episode that cost nothing."""
        nodes = self.graph.nodes
        places = np.flatnonzero(self.asked[row] & self.is_open[row]).tolist()
        return {nodes[column] for column in places if self.prices[column] == 0}

    def buy(self, value: Callable[[Tensor], Tensor | None]) -> None:
        """Decide about what has a price. value: prices [n, N] -> what each score is worth, [n, N]; None: not known."""
        budget, config = self.budget, self.budget.config
        sold = self.bears.copy()
        for row, nodes in enumerate(self.lacking):
            sold[row, [self.graph.index[node] for node in nodes]] = False
        price = np.array([np.nan if one is None else one for one in self.prices])
        pilot = np.isnan(price) & sold
        price = np.where(sold & ~pilot, price, 0.0)
        least = np.minimum(1.0, PILOT / np.maximum(pilot.sum(0), 1))
        if self.visible is not None:  # these goals are decided
            price = np.where(self.goal, 0.0, price)
        offer = Offer(price, self.share, self.goal, self.bears & ~self.is_open & ~self.goal, self.kept_back)
        limit = budget.allowed(len(self.episodes))
        always = reserved_price(offer)
        if always > limit:
            self.warning = (
                f"reward.budget.per_update: reserved goals alone cost {always:.4g} {config.unit} here, and {limit:.4g} may be spent; they are measured all the same, and "
                "nothing else is bought. Raise the limit, or lower reward.reserved."
            )
        if config.mode != "all":
            worth = None
            if config.mode == "active":
                worth = value(torch.from_numpy(price).float())
            self.chance = chances(offer, limit, None if worth is None else worth.double().numpy(), config.floor)
        self.chance = np.where(pilot, np.broadcast_to(least, pilot.shape), self.chance)
        self.planned = min(price_of(offer, self.chance), limit)
        self._decide()
        if config.mode == "all":
            audits = float(np.where(self.goal, price, 0.0)[self.reserved].sum())
            self.asked = within(self.asked, price, limit - audits)
        else:
            most = stop_at(offer, self.chance, limit) - reserved_price(offer)
            if np.where(self.asked, price, 0.0).sum() > most:
                order = np.ones_like(price)
                for row, column in zip(*np.nonzero(self.asked & (price > 0)), strict=True):
                    order[row, column] = draw(
                        self.seed, "stop", self.graph.nodes[column], self.episodes[row].id, self.episodes[row].response
                    )
                self.asked = within(self.asked, price, most, order)
        self.shown &= (self.asked & self.goal).any(-1)
        self.asked &= self.is_open | self.shown[:, None]

    def wanted(self, row: int) -> set[str] | None:
        """Nodes of an episode that are still to be scored; None: all that bear on it."""
        free = self.free(row) if self.budget.is_limited else set()
        if not free and self.asked[row, self.bears[row]].all():
            return None
        return self._asked(row) - free

    def _asked(self, row: int) -> set[str]:
        return {self.graph.nodes[column] for column in np.flatnonzero(self.asked[row]).tolist()}

    def asked_nodes(self, row: int) -> set[str]:
        """Nodes of an episode that are asked for, a reserved goal among them, and that can have a score."""
        audited = {self.episodes[row].example.task} if self.reserved[row] else set()
        return (self._asked(row) | audited) - set(self.lacking[row])

    def goal_probabilities(self) -> list[float]:
        """Of each episode that the goal's score is known: shown to the reward, or reserved."""
        own = np.where(self.goal, self.share * self.chance, 0.0).sum(-1)
        known: list[float] = (self.kept_back + (1 - self.kept_back) * own).tolist()
        return known

    def probabilities(self) -> list[dict[str, float]]:
        """Of each episode: node -> probability that its score is shown to the reward, where that is below 1."""
        each = self.share * self.chance
        shown = ((1 - self.kept_back) * np.where(self.goal, each, 0.0).sum(-1))[:, None]
        each = np.where(self.goal, shown, np.where(self.is_open, each, each * shown))
        found: list[dict[str, float]] = [{} for _ in self.episodes]
        rows, columns = np.nonzero(self.bears & (each < 1))
        for row, column, value in zip(rows.tolist(), columns.tolist(), each[rows, columns].tolist(), strict=True):
            found[row][self.graph.nodes[column]] = value
        return found
