"""What scores cost, and what may be spent on them in an update.

| unit | the price of one score of a node |
|---|---|
| cost | its `cost` in the graph; where that is 0 and a judge scores it, the mean money that was asked for it so far |
| seconds | of nodes that your own functions or judges score, the mean seconds so far |
| calls | of the same nodes, and of those with a `cost`: 1 |

Other nodes are free. A mean is not known before the node was asked: then it is asked on PILOT answers of a batch, whatever the limit says. Prices move once per update, by what all
processes asked for, so they are the same in all of them. Each process may spend its share of the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag_graph.config import BudgetConfig, RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.judging import judged_nodes
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import goal_share
from rag_graph.records import Asked, Episode
from rag_graph.reward.arguments import Scoring

PILOT = 8
"""Answers of a batch on which a node is asked whose price is not known."""
NEEDED = {
    "cost": "no node has a price. Write `cost` at a node of the graph, or score one by a judge with prices (price_in, price_out)",
    "seconds": "nothing is measured: no function of yours and no judge scores a node. Count `cost` or `calls`",
    "calls": "no function of yours and no judge scores a node, and none has a `cost`: there is nothing to count",
}


class Prices:
    """The price of one score of each node, in a unit."""

    def __init__(self, graph: AuxiliaryGraph, unit: str, scoring: Scoring | None) -> None:
        spec = graph.spec
        self.unit = unit
        costs = {name: task.cost for name, task in spec.tasks.items()}
        costs |= {name: criterion.cost for name, criterion in spec.criteria.items()}
        self.stated = {name: cost for name, cost in costs.items() if cost > 0}
        """Node -> its `cost` in the graph."""
        judged = set(judged_nodes(graph))
        if isinstance(scoring, NodeScorer):
            judged, asked = set(scoring.judged), set(scoring.judged) | set(scoring.functions)
        else:  # one function scores all nodes: those without a metric are its own
            bare = {name for name, task in spec.tasks.items() if not set(task.metrics) - {"external"}}
            asked = judged | bare | {name for name, one in spec.criteria.items() if one.metric == "external"}
        self.counted = asked | set(self.stated)
        self.measured = {"cost": judged - set(self.stated), "seconds": asked, "calls": set()}[unit]
        self.priced = {"cost": judged | set(self.stated), "seconds": asked, "calls": self.counted}[unit]
        """Nodes that have a price, known or not."""
        self.sums: dict[str, tuple[float, float]] = {}
        """Node -> (sum of what was paid, number of scores)."""

    def of(self, node: str) -> float | None:
        """The price of a node's next score, 0 if it is free; None: not known yet."""
        if node not in self.priced:
            return 0.0
        if node in self.measured:
            total, number = self.sums.get(node, (0.0, 0.0))
            return total / number if number else None
        return 1.0 if self.unit == "calls" else self.stated[node]

    def bill(self, node: str, asked: Asked | None) -> Asked:
        """What asking for a node cost, its `cost` in the graph included: that is in place of the money of a judge."""
        asked = asked or Asked()
        if node not in self.stated or asked.cached:
            return asked
        return replace(asked, money=self.stated[node])

    def paid(self, node: str, asked: Asked) -> float:
        """What a score cost, in the unit; what was known already cost nothing."""
        if node not in self.priced:
            return 0.0
        return {"cost": asked.money, "seconds": asked.seconds, "calls": float(not asked.cached)}[self.unit]

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Move the means by what was asked for. What was in a cache counts with the money that it once cost, else what is bought next would be taken for free, and
        a run that goes on would buy other scores. What failed without a bill says nothing of the price."""
        for episode in episodes:
            for node, asked in episode.asked.items():
                price = asked.money + asked.saved if self.unit == "cost" else asked.seconds
                silent = asked.failures and not price if self.unit == "cost" else asked.cached
                if node in self.measured and not silent:
                    total, number = self.sums.get(node, (0.0, 0.0))
                    self.sums[node] = total + price, number + 1


class Budget:
    """Prices, and what this process may spend in an update.

    Args:
        scoring: what scores; None: by the graph alone.

    Raises:
        ConfigError: a limit where nothing has a price, or a mode that chooses without a limit.
    """

    def __init__(self, graph: AuxiliaryGraph, config: BudgetConfig, scoring: Scoring | None) -> None:
        self.graph, self.config = graph, config
        self.prices = Prices(graph, config.unit, scoring)
        self.size: float | None = None
        """Answers that this process scored in the last update."""
        self.planned = 0.0
        """What the samples of this process in this update cost in expectation."""
        if config.per_update is None:
            if config.mode != "all":
                raise ConfigError(
                    f"reward.budget.mode is '{config.mode}', and nothing limits what is spent. Set reward.budget.per_update, in {config.unit}."
                )
        elif not self.prices.priced:
            raise ConfigError(
                f"reward.budget.per_update is {config.per_update:g} {config.unit}, and {NEEDED[config.unit]}."
            )

    @property
    def is_limited(self) -> bool:
        return self.config.per_update is not None

    def allowed(self, episodes: int) -> float:
        """What so many answers may cost: their share of the limit, if an update is as large as the last one; all that is left, if none was before."""
        limit = self._limit()
        due = limit if self.size is None else limit * episodes / max(self.size, 1.0)
        return max(0.0, min(due, limit - self.planned))

    def note(self, planned: float) -> None:
        self.planned += planned

    def end_update(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """An update is over. episodes: of all processes. Returns its metrics: `budget/spent`, `budget/left`, and per node with a price `nodes/NODE/bought` (share
        of the answers that it bears on) and `nodes/NODE/price`."""
        spent = sum(self.prices.paid(node, asked) for one in episodes for node, asked in one.asked.items())
        self.prices.learn(episodes)
        self.size = len(episodes) / _processes()
        self.planned = 0.0
        if not self.prices.priced:
            return {}
        found = {"budget/spent": spent}
        if self.config.per_update is not None:
            found["budget/left"] = self.config.per_update - spent
        for node in sorted(self.prices.priced, key=self.graph.index.__getitem__):
            mine = [one for one in episodes if node == one.example.task or self.graph.applies(node, one.example.task)]
            price = self.prices.of(node)
            if mine:
                found[f"nodes/{node}/bought"] = sum(node in one.asked for one in mine) / len(mine)
                found |= {} if price is None else {f"nodes/{node}/price": price}
        return found

    def _limit(self) -> float:
        assert self.config.per_update is not None
        return self.config.per_update / _processes()

    def state_dict(self) -> dict[str, Any]:
        sums = {node: list(pair) for node, pair in self.prices.sums.items()}
        return {"sums": sums, "size": self.size, "planned": self.planned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.prices.sums = {str(node): (float(pair[0]), float(pair[1])) for node, pair in state["sums"].items()}
        self.size = None if state["size"] is None else float(state["size"])
        self.planned = float(state["planned"])


def _processes() -> int:
    import torch.distributed  # loading torch takes seconds, and a dry run only looks at prices

    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def expected_price(graph: AuxiliaryGraph, reward: RewardConfig, scoring: Scoring | None, episodes: int) -> str:
    """What an update of so many answers costs under these settings, as a sentence; empty where nothing has a price.

    Raises:
        ConfigError: see `Budget`.
    """
    budget, reserved = reward.budget, reward.reserved
    prices = Budget(graph, budget, scoring).prices
    if not prices.priced:
        return ""
    each = {}
    for task, one in graph.spec.tasks.items():
        share = goal_share(graph, reward, task)
        shares = {task: reserved + (1 - reserved) * share if one.goal > 0 else share}
        shares |= {name: c.observe for name, c in graph.spec.criteria.items() if graph.applies(name, task)}
        each[task] = sum((prices.of(node) or 0.0) * share for node, share in shares.items())
    low, high = episodes * min(each.values()), episodes * max(each.values())
    unknown = sorted(node for node in prices.priced if prices.of(node) is None)
    said = [
        f"{budget.unit} of an update of {episodes} answers: {low:g}" + (f" to {high:g}, by task," if high > low else "")
    ]
    said.append("if every score is bought that `observe` and reward.goal_observed ask for")
    if unknown:
        said.append(f"; and of {', '.join(unknown)} what they cost, which the run measures")
    if budget.per_update is not None:
        said.append(f"; reward.budget buys for {budget.per_update:g} of it ({budget.mode})")
    return " ".join(said).replace(" ;", ";")
