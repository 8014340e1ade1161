"""Which hypotheses held, which failed, and which falsifiers fired.

A seed is one unit; of shuffled graphs, a draw of the graph is, because several seeds share it. The hypotheses of a policy are one family of tests, and so are the
falsifiers: a difference is one where its Holm-adjusted p value is below .05, and the intervals of a family hold together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import t

from rag_graph.evaluation.statistics import LEVEL, Interval, holm, paired_p_value, run_interval

Array = NDArray[np.float64]
SHUFFLES = 4
LM = "lm"
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


def draws_of(policy: str, seeds: Sequence[int]) -> int:
    """The number of shuffled graphs; seed k of the list has draw k modulo this number."""
    return SHUFFLES if policy == LM else max(1, min(SHUFFLES, len(seeds) // 2))


def interval_of(cell: Cell) -> Interval:
    """Mean true goal and its 95% t interval."""
    return run_interval(_units(cell["seeds"], np.array(cell["final"])[:, None], [cell]))


def _paired(*cells: Cell) -> Array:
    """The true goals of several cells on the seeds that all have, [units, cells]."""
    by_seed = [dict(zip(cell["seeds"], cell["final"], strict=True)) for cell in cells]
    seeds = [seed for seed in cells[0]["seeds"] if all(seed in finals for finals in by_seed)]
    return _units(seeds, np.array([[finals[seed] for finals in by_seed] for seed in seeds]), cells)


def _units(seeds: Sequence[int], values: Array, cells: Sequence[Cell]) -> Array:
    """Rows of seeds to rows of units: means over the seeds of a draw where a graph is shuffled."""
    shuffled = [cell for cell in cells if cell["graph"] == "shuffled"]
    if not shuffled:
        return values
    cell = shuffled[0]
    count = draws_of(cell["policy"], cell["seeds"])
    draw = np.array([cell["seeds"].index(seed) % count for seed in seeds])
    return np.stack([values[draw == one].mean(0) for one in np.unique(draw)])


@dataclass(frozen=True)
class Test:
    """A comparison of a family: one - two, paired, and what follows from it once the family is known."""

    one: Cell
    two: Cell

    @property
    def difference(self) -> Array:
        """[units, 1]."""
        pairs = _paired(self.one, self.two)
        return pairs[:, :1] - pairs[:, 1:]

    @property
    def p(self) -> float:
        return paired_p_value(self.difference)

    def text(self, p: float, family: int) -> str:
        mean, low, high = run_interval(self.difference, family)
        return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], {_shown(p)}"

    def better(self, p: float) -> bool:
        """Is `one` above `two`, at the adjusted `p`?"""
        return bool(self.difference.mean() > 0 and p < LEVEL)


def _shown(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def verdicts(results: Sequence[Cell]) -> list[Verdict]:
    found = []
    for policy in dict.fromkeys(cell["policy"] for cell in results):
        mine = [cell for cell in results if cell["policy"] == policy]
        found += [*_hypotheses(mine, policy), *_falsifiers(mine, policy)]
    return found


HYPOTHESES = (
    *(("H1", "prior_gnn - ridge", ("prior_gnn", "right"), ("ridge", "right"), 0.03, task, 0.15) for task in ("trap", "plain", "trap-36")),
    ("H2", "gated_fixed - diffusion", ("gated_fixed", "right"), ("diffusion", "right"), 0.1, "trap", 0.30),
    *(("H3", "prior_gnn, right - shuffled", ("prior_gnn", "right"), ("prior_gnn", "shuffled"), p, "trap", 0.25) for p in (0.1, 0.03)),
)  # fmt: skip
"""Name, claim, better and worse (arm, graph), share of goals, task, the difference that is asked."""


def _hypotheses(results: Sequence[Cell], policy: str) -> list[Verdict]:
    """H1 to H3: a mean difference of at least what is asked. H4: data recover at least half of what the fixed gate loses by a wrong graph."""
    plain, recoveries = [], []
    for name, claim, better, worse, p, task, margin in HYPOTHESES:
        one, two = (find(results, arm, graph, p, task, policy) for arm, graph in (better, worse))
        if one and two:
            plain.append((name, f"[{policy}, {task}, p={p}] {claim}", Test(one, two), margin))
    for p in (0.1, 0.03):
        right, wrong = (find(results, "gated_fixed", graph, p, "trap", policy) for graph in ("right", "wrong"))
        fitted = find(results, "prior_gnn", "wrong", p, "trap", policy)
        if right and wrong and fitted:
            claim = f"[{policy}, trap, p={p}] a wrong graph plus data recovers half of the gap"
            recoveries.append((claim, Test(fitted, wrong), right))
    family = len(plain) + len(recoveries)
    adjusted = iter(holm([test.p for _, _, test, _ in plain] + [test.p for _, test, _ in recoveries]))
    found = []
    for (name, claim, test, margin), p in zip(plain, adjusted, strict=False):
        outcome = "held" if test.difference.mean() >= margin and test.better(p) else "failed"
        means = f"{np.mean(test.one['final']):.3f} - {np.mean(test.two['final']):.3f}"
        found.append(Verdict(name, claim, outcome, f"{means} = {test.text(p, family)}, asked {margin:+.2f}"))
    for claim, test, right in recoveries:
        p = next(adjusted)
        learned, wrong, best = (column.mean() for column in _paired(test.one, test.two, right).T)
        share, low, high = _share(test, right, family)
        bounds = f"[{low:.0%}, {high:.0%}]" if np.isfinite(low) else "(no bounds: the gap may be 0)"
        outcome = "held" if share >= 0.5 and test.better(p) else "failed"
        numbers = f"fixed {wrong:.3f} -> fitted {learned:.3f} of {best:.3f}: {share:.0%} {bounds}, {_shown(p)}"
        found.append(Verdict("H4", claim, outcome, numbers))
    return found


def _share(test: Test, right: Cell, family: int) -> Interval:
    """What is recovered as a share of the gap: a ratio of paired means, with the interval of Fieller (1954). It has no ends where the gap may be 0."""
    learned, wrong, best = _paired(test.one, test.two, right).T
    gained, gap = learned - wrong, best - wrong
    n = len(gap)
    ratio = float(gained.mean() / gap.mean())
    if n < 2:
        return Interval(ratio, float("-inf"), float("inf"))
    (aa, ab), (_, bb) = np.cov(gained, gap) / n * t.ppf(1 - LEVEL / (2 * family), n - 1) ** 2
    square, middle, rest = gap.mean() ** 2 - bb, gained.mean() * gap.mean() - ab, gained.mean() ** 2 - aa
    if square <= 0:
        return Interval(ratio, float("-inf"), float("inf"))
    reach = float(np.sqrt(max(0.0, middle**2 - square * rest)))
    return Interval(ratio, float((middle - reach) / square), float((middle + reach) / square))


def _falsifiers(results: Sequence[Cell], policy: str) -> list[Verdict]:
    """They fire where prior_gnn is not above the other arm."""
    asked = [
        *((f"{arm} matches prior_gnn at 36 nodes, p={p}", (arm, "right"), p, "trap-36") for arm in ("ridge", "mlp") for p in (0.1, 0.03)),
        ("shuffled edges match right ones, p=0.1", ("prior_gnn", "shuffled"), 0.1, "trap"),
        *((f"goal_only with twice the scores catches up, p={p}", ("goal_only_twice", "right"), p, "trap") for p in (0.1, 0.03)),
    ]  # fmt: skip
    tests = [
        (claim, Test(one, two))
        for claim, (arm, graph), p, task in asked
        if (one := find(results, "prior_gnn", "right", p, task, policy))
        and (two := find(results, arm, graph, p, task, policy))
    ]
    found = []
    for (claim, test), p in zip(tests, holm([test.p for _, test in tests]), strict=True):
        outcome = "silent" if test.better(p) else "fired"
        found.append(Verdict("falsifier", f"[{policy}] {claim}", outcome, test.text(p, len(tests))))
    return [*found, *_fixed_gate(results, policy), *_falling(results, policy)]


def _fixed_gate(results: Sequence[Cell], policy: str) -> list[Verdict]:
    tests = {
        f"{task} {graph} p={p}": Test(one, two)
        for task in ("trap", "plain", "trap-36")
        for p in (0.3, 0.1, 0.03)
        for graph in ("right", "wrong", "ungated")
        if (one := find(results, "prior_gnn", graph, p, task, policy))
        and (two := find(results, "gated_fixed", graph, p, task, policy))
    }
    if not tests:
        return []
    adjusted = holm([test.p for test in tests.values()])
    matches = [name for (name, test), p in zip(tests.items(), adjusted, strict=True) if not test.better(p)]
    outcome = "fired" if len(matches) == len(tests) else "silent"
    numbers = f"it does in {len(matches)} of {len(tests)}: {', '.join(matches)}"
    return [Verdict("falsifier", f"[{policy}] the fixed gate matches prior_gnn everywhere", outcome, numbers)]


def _falling(results: Sequence[Cell], policy: str) -> list[Verdict]:
    if not any("goal" in cell for cell in results):
        return []
    fell = [cell for cell in results if cell["arm"] == "prior_gnn" and _fell(cell)]
    names = ", ".join(f"{cell['task']} {cell['graph']} p={cell['p']}" for cell in fell)
    claim = f"[{policy}] the goal falls while the reward rises (prior_gnn, any graph)"
    return [Verdict("falsifier", claim, "fired" if fell else "silent", names or "in no setting")]


def _fell(cell: Cell) -> bool:
    """The goal ends clearly below its best."""
    curve = cell.get("goal") or [0.0]
    return max(curve) - curve[-1] > 0.05


def print_table(console: Console, results: Sequence[Cell]) -> None:
    """Arms down, shares across, one table for each policy and task; mean of the true goal and its 95% t interval (of each arm by itself)."""
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
                row.append("" if cell is None else str(interval_of(cell)).replace("[", "\\["))
            table.add_row(arm, graph, *row)
        console.print(table)
