"""What it cost to ask for scores: per node and in all, from the episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from rag_graph.records import Asked, Episode

NUMBERS = ("requests", "tokens_in", "tokens_out", "cost", "seconds")


def cost_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Of the nodes that somebody was asked about; nothing where nobody was.

    `nodes/NODE/requests`, `/cached` (scores that were known already), `/tokens_in`, `/tokens_out`, `/cost` (money), `/seconds` (of waiting, summed over
    requests that ran at the same time). The same in all, as `judge/requests` and so on; `judge/failed`: questions without a mark, and
    `judge/failed/KIND` of each kind that there was.
    """
    by_node: dict[str, list[Asked]] = {}
    for episode in episodes:
        for node, asked in episode.asked.items():
            by_node.setdefault(node, []).append(asked)
    if not by_node:
        return {}
    found: dict[str, float] = {}
    for node, mine in by_node.items():
        found |= {f"nodes/{node}/{name}": value for name, value in _summed(mine).items()}
    everything = [asked for mine in by_node.values() for asked in mine]
    kinds = Counter(kind for asked in everything for kind in asked.failures)
    found |= {f"judge/{name}": value for name, value in _summed(everything).items()}
    found["judge/failed"] = float(sum(kinds.values()))
    return found | {f"judge/failed/{kind}": float(number) for kind, number in sorted(kinds.items())}


def is_cost(metric: str) -> bool:
    """Whether a metric is one of `cost_metrics`."""
    if metric.startswith("judge/"):
        return True
    return metric.startswith("nodes/") and metric.rsplit("/", 1)[1] in (*NUMBERS, "cached")


def summed_costs(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The sum of each metric of `cost_metrics` over records that hold them among others."""
    found: dict[str, float] = {}
    for record in records:
        for name, value in record.items():
            if is_cost(name) and isinstance(value, int | float):
                found[name] = found.get(name, 0.0) + value
    return found


def cost_line(costs: Mapping[str, float]) -> str:
    """One line: requests, what was known, tokens, money, seconds of waiting, failures by kind; empty where nobody was asked."""
    if "judge/requests" not in costs:
        return ""
    of = {name: costs.get(f"judge/{name}", 0.0) for name in (*NUMBERS, "cached")}
    failed = failures_of(costs)
    return (
        f"judges: {of['requests']:,.0f} requests, {of['cached']:,.0f} scores known, {of['tokens_in']:,.0f} + {of['tokens_out']:,.0f} tokens, "
        f"money {of['cost']:,.4g}, {of['seconds']:,.1f} s of waiting{f'; no mark: {failed}' if failed else ''}"
    )


def failures_of(costs: Mapping[str, float]) -> str:
    """ "empty 1, timeout 3"; empty where no question failed."""
    prefix = "judge/failed/"
    return ", ".join(f"{k.removeprefix(prefix)} {n:.0f}" for k, n in sorted(costs.items()) if k.startswith(prefix))


def _summed(asked: Sequence[Asked]) -> dict[str, float]:
    whole = reduce(add, asked)
    return {
        "requests": whole.requests,
        "cached": float(sum(one.cached for one in asked)),
        "tokens_in": float(whole.tokens_in),
        "tokens_out": float(whole.tokens_out),
        "cost": whole.money,
        "seconds": whole.seconds,
    }
