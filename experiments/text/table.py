"""The table of a task, from its cells: means over seeds, differences from the default paired by seed, and what the seeds could find."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from settings import EQUAL_KL, PPO, SUPERVISED

from rag_graph.evaluation.statistics import detectable_difference, holm, paired_p_value, run_interval

DEFAULT = "expected_goal"
Cell = dict[str, Any]


def scores_of(cells: Sequence[Cell], name: str = "score") -> dict[str, dict[int, float]]:
    """Arm -> seed -> number."""
    found: dict[str, dict[int, float]] = {}
    for cell in cells:
        if cell.get(name) is not None:
            found.setdefault(cell["arm"], {})[cell["seed"]] = cell[name]
    return found


def at_kl(curve: Sequence[dict[str, float]], nats: float) -> float | None:
    """The goal where the KL of a run first reached so many nats, on the line between the two looks around it; the last one where it never did. None
    without looks."""
    looks = [one for one in curve if "score" in one]
    for one, two in pairwise(looks):
        if two["kl"] >= nats:
            share = (nats - one["kl"]) / (two["kl"] - one["kl"])
            return one["score"] + share * (two["score"] - one["score"])
    return looks[-1]["score"] if looks else None


def mean_of(values: Sequence[float]) -> str:
    return str(run_interval([[value] for value in values])).replace("[", "\\[")


def differences(cells: Sequence[Cell]) -> list[tuple[str, list[list[float]], float]]:
    """The default less each other arm, on the seeds that both have: arm, differences [seeds, 1], Holm-adjusted p value over the arms."""
    scores = scores_of(cells)
    ours = scores.get(DEFAULT, {})
    pairs = {
        arm: [[ours[seed] - theirs[seed]] for seed in sorted(ours.keys() & theirs.keys())]
        for arm, theirs in scores.items()
        if arm != DEFAULT and ours.keys() & theirs.keys()
    }
    adjusted = holm([paired_p_value(values) for values in pairs.values()])
    return [(arm, values, p) for (arm, values), p in zip(pairs.items(), adjusted, strict=True)]


def show(console: Console, task: str, cells: Sequence[Cell]) -> None:
    nats = EQUAL_KL[task]
    cells = [{**cell, "at_kl": at_kl(cell.get("curve", ()), nats)} for cell in cells]
    scores, kl, equal = scores_of(cells), scores_of(cells, "kl"), scores_of(cells, "at_kl")
    tested = {arm: (values, p) for arm, values, p in differences(cells)}
    sizes = sorted({len(of_arm) for of_arm in scores.values()})
    table = Table(
        "arm", "seeds", "goal on dev", "of greedy answers", f"{DEFAULT} less it", "p (Holm)", "could find", *(["KL at the end"] if kl else []), *([f"goal at KL {nats:g}"] if equal else []), "seconds",
        title=f"{task}: held-out goal after training; 95% t intervals over {'/'.join(map(str, sizes))} seeds, those of differences together",
        title_justify="left", box=None,
    )  # fmt: skip
    before = {cell["seed"]: cell["before"] for cell in cells}
    if before:
        greedy = {cell["seed"]: cell["greedy_before"] for cell in cells if "greedy_before" in cell}
        table.add_row(
            "before", str(len(before)), *(mean_of(list(of.values())) if of else "" for of in (before, greedy))
        )
    for arm in (arm for arm in (*PPO, *SUPERVISED) if arm in scores):
        seconds = [cell["processor_seconds"] for cell in cells if cell["arm"] == arm]
        greedy = scores_of(cells, "greedy").get(arm, {})
        row = [arm, str(len(scores[arm])), *(mean_of(list(of.values())) if of else "" for of in (scores[arm], greedy))]
        if arm in tested:
            values, p = tested[arm]
            mean, low, high = run_interval(values, len(tested))
            found = detectable_difference(values, len(tested))
            row += [f"{mean:+.3f} \\[{low:+.3f}, {high:+.3f}]", f"{p:.3f}", f"{found:.3f}"]
        else:
            row += ["", "", ""]
        row += [mean_of(list(of_arm[arm].values())) if arm in of_arm else "" for of_arm in (kl, equal) if of_arm]
        row += [f"{sum(seconds) / len(seconds):.0f}"]
        table.add_row(*row)
    console.print(table)
