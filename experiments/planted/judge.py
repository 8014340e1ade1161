"""Which hypotheses held, which failed, and which falsifiers fired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rag_graph.evaluation.statistics import bootstrap_mean

Cell = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    name: str
    claim: str
    outcome: str  # held, failed, or not run
    numbers: str

    def __str__(self) -> str:
        return f"{self.name} {self.outcome:<8} {self.claim}: {self.numbers}"


def find(results: Sequence[Cell], arm: str, graph: str, p: float, task: str, policy: str) -> Cell | None:
    wanted = {"arm": arm, "graph": graph, "p": p, "task": task, "policy": policy}
    return next((cell for cell in results if wanted.items() <= cell.items()), None)


def difference(one: Cell, two: Cell) -> tuple[str, float, float, float]:
    """(text, mean, low, high) of one - two, paired by seed."""
    other = dict(zip(two["seeds"], two["final"], strict=True))
    pairs = [final - other[seed] for seed, final in zip(one["seeds"], one["final"], strict=True) if seed in other]
    mean, low, high = bootstrap_mean(pairs)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", mean, low, high


def verdicts(results: Sequence[Cell]) -> list[Verdict]:
    found = []
    for policy in dict.fromkeys(cell["policy"] for cell in results):
        found += _of_policy([cell for cell in results if cell["policy"] == policy], policy)
    return found


def _of_policy(results: Sequence[Cell], policy: str) -> list[Verdict]:
    def at_least(
        name: str, claim: str, better: tuple[str, str], worse: tuple[str, str], p: float, task: str, margin: float
    ) -> Verdict:
        one, two = (find(results, arm, graph, p, task, policy) for arm, graph in (better, worse))
        claim = f"[{policy}, {task}, p={p}] {claim}"
        if one is None or two is None:
            return Verdict(name, claim, "not run", "")
        text, mean, low, _ = difference(one, two)
        outcome = "held" if mean >= margin and low > 0 else "failed"
        return Verdict(name, claim, outcome, f"{one['mean']:.3f} - {two['mean']:.3f} = {text}, asked {margin:+.2f}")

    verdicts = []
    for task in ("trap", "plain", "trap-36"):
        verdicts.append(
            at_least("H1", "prior_gnn - ridge", ("prior_gnn", "right"), ("ridge", "right"), 0.03, task, 0.15)
        )
    verdicts.append(
        at_least("H2", "gated_fixed - diffusion", ("gated_fixed", "right"), ("diffusion", "right"), 0.1, "trap", 0.30)
    )
    for p in (0.1, 0.03):
        verdicts.append(
            at_least(
                "H3", "prior_gnn, right - shuffled", ("prior_gnn", "right"), ("prior_gnn", "shuffled"), p, "trap", 0.25
            )
        )
    for p in (0.1, 0.03):
        verdicts.append(_recovery(results, p, policy))
    return [v for v in verdicts if v.outcome != "not run"] + _falsifiers(results, policy)


def _recovery(results: Sequence[Cell], p: float, policy: str) -> Verdict:
    """H4: on the wrong graph, learning from data recovers at least half of what the fixed gate loses by it."""
    claim = f"[{policy}, trap, p={p}] a wrong graph plus data recovers half of the gap"
    fixed_right, fixed_wrong = (find(results, "gated_fixed", graph, p, "trap", policy) for graph in ("right", "wrong"))
    fitted = find(results, "prior_gnn", "wrong", p, "trap", policy)
    if fixed_right is None or fixed_wrong is None or fitted is None:
        return Verdict("H4", claim, "not run", "")
    by_seed = [dict(zip(cell["seeds"], cell["final"], strict=True)) for cell in (fixed_right, fixed_wrong, fitted)]
    seeds = [seed for seed in by_seed[0] if all(seed in finals for finals in by_seed)]
    right, wrong, learned = (np.array([finals[seed] for seed in seeds]) for finals in by_seed)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(right), size=(2000, len(right)))
    shares = (learned[rows] - wrong[rows]).mean(1) / (right[rows] - wrong[rows]).mean(1)
    share = (learned - wrong).mean() / (right - wrong).mean()
    low, high = np.percentile(shares, [2.5, 97.5])
    outcome = "held" if share >= 0.5 and low > 0 else "failed"
    numbers = f"fixed {wrong.mean():.3f} -> fitted {learned.mean():.3f} of {right.mean():.3f}: {share:.0%} [{low:.0%}, {high:.0%}]"
    return Verdict("H4", claim, outcome, numbers)


def _falsifiers(results: Sequence[Cell], policy: str) -> list[Verdict]:
    found = []

    def check(claim: str, fires: bool, numbers: str) -> None:
        found.append(Verdict("falsifier", f"[{policy}] {claim}", "fired" if fires else "silent", numbers))

    for arm in ("ridge", "mlp"):
        for p in (0.1, 0.03):
            one, two = (find(results, name, "right", p, "trap-36", policy) for name in ("prior_gnn", arm))
            if one and two:
                text, _, low, _ = difference(one, two)
                check(f"{arm} matches prior_gnn within the interval at 36 nodes, p={p}", low <= 0, text)
    one, two = (find(results, "prior_gnn", graph, 0.1, "trap", policy) for graph in ("right", "shuffled"))
    if one and two:
        text, _, low, _ = difference(one, two)
        check("shuffled edges match right ones, p=0.1", low <= 0, text)
    texts, matches = [], []
    for task in ("trap", "plain", "trap-36"):
        for p in (0.3, 0.1, 0.03):
            for graph in ("right", "wrong", "ungated"):
                one, two = (find(results, name, graph, p, task, policy) for name in ("prior_gnn", "gated_fixed"))
                if one and two:
                    text, _, low, _ = difference(one, two)
                    matches.append(low <= 0)
                    if low <= 0:
                        texts.append(f"{task} {graph} p={p}")
    if matches:
        check(
            "the fixed gate matches prior_gnn everywhere",
            all(matches),
            f"it does in {sum(matches)} of {len(matches)}: {', '.join(texts)}",
        )
    for p in (0.1, 0.03):
        one, two = (
            find(results, "prior_gnn", "right", p, "trap", policy),
            find(results, "goal_only_twice", "right", p, "trap", policy),
        )
        if one and two:
            text, _, low, _ = difference(one, two)
            check(f"goal_only with twice the scores catches up, p={p}", low <= 0, text)
    fell = [cell for cell in results if cell["arm"] == "prior_gnn" and _fell(cell)]
    if any("goal" in cell for cell in results):
        names = ", ".join(f"{cell['task']} {cell['graph']} p={cell['p']}" for cell in fell)
        check("the goal falls while the reward rises (prior_gnn, any graph)", bool(fell), names or "in no setting")
    return found


def _fell(cell: Cell) -> bool:
    """The goal ends clearly below its best."""
    curve = cell.get("goal") or [0.0]
    return max(curve) - curve[-1] > 0.05


def print_table(console: Console, results: Sequence[Cell]) -> None:
    """Arms down, shares across, one table for each policy and task; mean and 95% interval of the true goal."""
    for policy, task in dict.fromkeys((cell["policy"], cell["task"]) for cell in results):
        mine = [cell for cell in results if (cell["policy"], cell["task"]) == (policy, task)]
        shares = sorted({cell["p"] for cell in mine}, reverse=True)
        seeds = sorted({len(cell["seeds"]) for cell in mine})
        title = f"True goal of the trained policy: {policy}, {task}, {'/'.join(map(str, seeds))} seeds"
        table = Table("arm", "graph", *(f"p={p}" for p in shares), title=title, title_justify="left", box=None)
        for arm, graph in dict.fromkeys((cell["arm"], cell["graph"]) for cell in mine):
            row = []
            for p in shares:
                cell = find(mine, arm, graph, p, task, policy)
                row.append(
                    ""
                    if cell is None
                    else f"{cell['mean']:.3f} \\[{cell['interval'][0]:.3f}, {cell['interval'][1]:.3f}]"
                )
            table.add_row(arm, graph, *row)
        console.print(table)
