"""Which hypotheses held, which failed, and which falsifiers fired.

A seed is one unit; of shuffled graphs, a draw of the graph is, because several seeds share it. The hypotheses of a policy are one family of tests, so are the
falsifiers, and so are the baselines of one cell (task, graph, share of goals): a difference is one where its Holm-adjusted p value is below .05, and the intervals
of a family hold together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from arms import BASELINES
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
    outcome: str  # of a hypothesis: held, open or failed; of a falsifier: fired or silent
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

    def outcome(self, p: float, margin: float) -> str:
        """Held: at least `margin`, and a difference at the adjusted `p`. Open: at least `margin`, but by no difference that seeds can tell."""
        if self.difference.mean() < margin:
            return "failed" if p < LEVEL or margin > 0 else "open"
        return "held" if self.better(p) else "open"


def _shown(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def verdicts(results: Sequence[Cell]) -> list[Verdict]:
    found = []
    for policy in dict.fromkeys(cell["policy"] for cell in results):
        mine = [cell for cell in results if cell["policy"] == policy]
        found += [*_hypotheses(mine, policy), *_falsifiers(mine, policy), *_cells(mine, policy)]
    return found


TASKS = ("trap", "plain", "trap-36")
SHARES = (0.3, 0.1, 0.03)
BEST = "the best baseline"
HYPOTHESES = (
    *(("H1", f"expected_goal - {BEST}", ("expected_goal", "right"), (BEST, "right"), 0.03, task, 0.0) for task in TASKS),
    ("H2", "gated_fixed - diffusion", ("gated_fixed", "right"), ("diffusion", "right"), 0.1, "trap", 0.30),
    *(("H3", "expected_goal, right - shuffled", ("expected_goal", "right"), ("expected_goal", "shuffled"), p, "trap", 0.25) for p in (0.1, 0.03)),
    *(("H5", "expected_goal, right - no edges", ("expected_goal", "right"), ("expected_goal", "none"), 0.03, task, 0.05) for task in TASKS),
)  # fmt: skip
"""Name, claim, better and worse (arm, graph), share of goals, task, the difference that is asked. H4 is a share, see `_hypotheses`."""


def _baselines(results: Sequence[Cell], graph: str, p: float, task: str, policy: str) -> list[Cell]:
    """What `expected_goal` has to beat: each baseline on the same graph, and on the right one if it knows no graph."""
    found = []
    for arm in BASELINES:
        mine = [cell for cell in results if cell["arm"] == arm]
        knows = any(cell["graph"] != "right" for cell in mine)
        if (cell := find(mine, arm, graph if knows else "right", p, task, policy)) is not None:
            found.append(cell)
    return found


def _found(results: Sequence[Cell], arm: str, graph: str, p: float, task: str, policy: str) -> Cell | None:
    if arm != BEST:
        return find(results, arm, graph, p, task, policy)
    return max(
        _baselines(results, graph, p, task, policy), key=lambda cell: float(np.mean(cell["final"])), default=None
    )


def _hypotheses(results: Sequence[Cell], policy: str) -> list[Verdict]:
    """H1 to H3 and H5: a mean difference of at least what is asked. H4: with a wrong graph, data recover at least half of what lies between the
    fixed gate on it and expected_goal on the right graph. A hypothesis is open where seeds cannot tell."""
    plain, recoveries = [], []
    for name, claim, better, worse, p, task, margin in HYPOTHESES:
        one, two = (_found(results, arm, graph, p, task, policy) for arm, graph in (better, worse))
        if one and two:
            claim = claim.replace(BEST, f"{BEST} ({two['arm']})")
            plain.append((name, f"[{policy}, {task}, p={p}] {claim}", Test(one, two), margin))
    for p in (0.1, 0.03):
        right, fitted = (find(results, "expected_goal", graph, p, "trap", policy) for graph in ("right", "wrong"))
        wrong = find(results, "gated_fixed", "wrong", p, "trap", policy)
        if right and wrong and fitted:
            claim = f"[{policy}, trap, p={p}] a wrong graph plus data recovers half of the gap"
            recoveries.append((claim, Test(fitted, wrong), right))
    family = len(plain) + len(recoveries)
    adjusted = iter(holm([test.p for _, _, test, _ in plain] + [test.p for _, test, _ in recoveries]))
    found = []
    for (name, claim, test, margin), p in zip(plain, adjusted, strict=False):
        means = f"{np.mean(test.one['final']):.3f} - {np.mean(test.two['final']):.3f}"
        outcome = test.outcome(p, margin)
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
    """They fire where expected_goal is not above the other arm."""
    asked = [
        *((f"{arm} matches expected_goal at 36 nodes, p={p}", (arm, "right"), p, "trap-36") for arm in ("ridge", "mlp") for p in (0.1, 0.03)),
        ("shuffled edges match right ones, p=0.1", ("expected_goal", "shuffled"), 0.1, "trap"),
        *((f"goal_only with twice the scores catches up, p={p}", ("goal_only_twice", "right"), p, "trap") for p in (0.1, 0.03)),
    ]  # fmt: skip
    tests = [
        (claim, Test(one, two))
        for claim, (arm, graph), p, task in asked
        if (one := find(results, "expected_goal", "right", p, task, policy))
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
        for task in TASKS
        for p in SHARES
        for graph in ("right", "wrong", "ungated")
        if (one := find(results, "expected_goal", graph, p, task, policy))
        and (two := find(results, "gated_fixed", graph, p, task, policy))
    }
    if not tests:
        return []
    adjusted = holm([test.p for test in tests.values()])
    matches = [name for (name, test), p in zip(tests.items(), adjusted, strict=True) if not test.better(p)]
    outcome = "fired" if len(matches) == len(tests) else "silent"
    numbers = f"it does in {len(matches)} of {len(tests)}: {', '.join(matches)}"
    return [Verdict("falsifier", f"[{policy}] the fixed gate matches expected_goal everywhere", outcome, numbers)]


def _cells(results: Sequence[Cell], policy: str) -> list[Verdict]:
    """In every cell: does a simple baseline beat expected_goal? Of those that are above it, all whose p value in the family of the cell says so."""
    found = []
    for task in TASKS:
        for graph in ("right", "wrong", "shuffled", "ungated", "none"):
            for p in SHARES:
                one = find(results, "expected_goal", graph, p, task, policy)
                others = _baselines(results, graph, p, task, policy)
                if one is None or not others:
                    continue
                tests = [Test(two, one) for two in others]
                adjusted = holm([test.p for test in tests])
                above = [
                    f"{t.one['arm']} {t.text(q, len(tests))}"
                    for t, q in zip(tests, adjusted, strict=True)
                    if t.better(q)
                ]
                best, q = max(zip(tests, adjusted, strict=True), key=lambda pair: float(pair[0].difference.mean()))
                numbers = "; ".join(above) or f"the best, {best.one['arm']}: {best.text(q, len(tests))}"
                claim = f"[{policy}, {task}, {graph}, p={p}] a simple baseline beats expected_goal"
                found.append(Verdict("falsifier", claim, "fired" if above else "silent", numbers))
    return found


def _falling(results: Sequence[Cell], policy: str) -> list[Verdict]:
    if not any("goal" in cell for cell in results):
        return []
    fell = [cell for cell in results if cell["arm"] == "expected_goal" and _fell(cell)]
    names = ", ".join(f"{cell['task']} {cell['graph']} p={cell['p']}" for cell in fell)
    claim = f"[{policy}] the goal falls while the reward rises (expected_goal, any graph)"
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
