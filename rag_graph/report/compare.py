"""Comparison of runs: grouped by config, paired by seed, with intervals and with warnings about what cannot be compared."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import ConfigError, DataError, RagGraphError, near_miss
from rag_graph.evaluation.statistics import (
    FEW_SEEDS,
    detectable_difference,
    holm,
    interquartile_mean,
    paired_p_value,
    probability_of_improvement,
    run_interval,
)
from rag_graph.report.comparability import warnings_about
from rag_graph.report.comparison import Arm, Comparison, Row, Versus
from rag_graph.runs.executors import shown_state
from rag_graph.runs.run import Run
from rag_graph.settings_file import flatten

IDENTITY = ("seed", "device")


def compare(runs: Iterable[str | Path | Run], metric: str = "score", baseline: str | Path | None = None) -> Comparison:
    """Compare finished runs.

    Args:
        runs: run folders, folders of sweeps, globs such as "runs/flat-*", or runs. Runs of one config are one arm: seed, name, folder and device do not
            count, nor do settings that change no result (`config.NO_RESULT`).
        metric: "score" (the tasks' scores after PPO), "gain" (after minus before), "TASK/METRIC" such as "question/exact_match", or a
            column of metrics.jsonl such as "objective/kl", of which the last tenth of the updates is averaged.
        baseline: label of an arm, or one of its run folders; default the first arm.

    Raises:
        DataError: nothing found, nothing finished, or no such metric. ConfigError: no such baseline.
    """
    opened, notes = _open(runs)
    groups: dict[str, dict[int, Run]] = {}
    for run in opened:
        mine = groups.setdefault(_identity(run), {})
        if run.config.seed in mine:
            older, newer = sorted((mine[run.config.seed], run), key=lambda r: str(r.manifest.get("started")))
            notes.append(f"{older.path} and {newer.path} are of one config and seed; the newer one counts.")
            run = newer
        mine[run.config.seed] = run
    scores = {run.path: _scores(run, metric) for group in groups.values() for run in group.values()}
    notes += [f"{path} has no value of {metric} and is left out." for path, found in scores.items() if found is None]
    kept = [
        {seed: run for seed, run in sorted(group.items()) if scores[run.path] is not None} for group in groups.values()
    ]
    kept = [group for group in kept if group]
    if not kept:
        raise DataError(f"no run has a value of {metric}.")
    labels = _labels([next(iter(group.values())) for group in kept])
    arms = [
        Arm(label, group, {seed: scores[run.path] or {} for seed, run in group.items()})
        for label, group in zip(labels, kept, strict=True)
    ]
    base = _baseline(arms, baseline)
    arms.sort(key=lambda arm: arm is not base)
    rows = _rows(arms, base)
    notes += [
        f"Not the same tasks: {arm.label}: {', '.join(arm.tasks)}; {base.label}: {', '.join(base.tasks)}. There is no difference to state."
        for arm in arms
        if arm.tasks != base.tasks
    ]
    notes += [damage for group in kept for run in group.values() for damage in run.damage]
    notes += [*warnings_about([(arm.label, arm.runs) for arm in arms]), *_few_seeds(rows, base.label)]
    return Comparison(metric, base.label, tuple(arms), rows, tuple(notes))


def _open(wanted: Iterable[str | Path | Run]) -> tuple[list[Run], list[str]]:
    found: dict[Path, Run] = {}
    notes: list[str] = []
    asked = list(wanted)
    for one in asked:
        for run in [one] if isinstance(one, Run) else map(Run, _folders(str(one))):
            found[run.path.resolve()] = run
    finished = []
    for run in found.values():
        try:
            results, _ = run.results, run.config  # both must be readable
        except RagGraphError as error:
            notes.append(f"{run.path} cannot be read and is left out: {error}")
            continue
        if results is None:
            notes.append(f"{run.path} has not finished ({shown_state(run.path)}) and is left out.")
        else:
            finished.append(Run(run.path, skip_damaged=True))
    if not finished:
        raise DataError(f"no finished run among {', '.join(map(str, asked))}. {' '.join(notes)}")
    return finished, notes


def _folders(one: str) -> list[Path]:
    """The run folders that a path or a glob names; of a sweep, or an arm of one, the runs below it.

    Raises:
        DataError: there are none.
    """
    matched = [Path(one)] if Path(one).exists() else sorted(map(Path, glob.glob(one, recursive=True)))
    if not matched:
        raise DataError(f"{one}: no such run folder, and nothing matches it.")
    folders = [path for path in matched if (path / "config.yaml").is_file()]
    for path in matched:
        if path not in folders:
            folders += sorted(config.parent for depth in ("*", "*/*") for config in path.glob(f"{depth}/config.yaml"))
    if not folders:
        raise DataError(f"{one}: no run folder, which has a config.yaml, and none below it.")
    return folders


def _settings(run: Run) -> dict[str, Any]:
    known = run.config.settings_of_results()
    settings = {key: value for key, value in known.items() if key not in IDENTITY and not key.startswith("scorers.")}
    own = flatten({"own": run.manifest.get("own_parts", {})})  # a scorer that the config names is among them
    for change in reversed(run.manifest.get("changed_parts", [])):  # a run of two codes is no run of the second
        key = f"own.scorers.{change['part']}"
        key = key if key in own else f"own.{change['part']}"
        own[key] = f"{change['was']} then {own.get(key, change['now'])}"
    graph = run.manifest.get("graph_hash")
    return {**settings, **own, "graph": f"{Path(settings['graph']).stem}#{graph[:6]}" if graph else settings["graph"]}


def _identity(run: Run) -> str:
    return json.dumps(_settings(run), sort_keys=True)


def _labels(firsts: Sequence[Run]) -> list[str]:
    """What tells the arms apart: the settings in which they differ."""
    each = [_settings(run) for run in firsts]
    keys = sorted({key for settings in each for key in settings})
    differing = [key for key in keys if len({json.dumps(settings.get(key)) for settings in each}) > 1]
    if not differing:
        return [firsts[0].config.name]
    return [", ".join(f"{_short_key(key, keys)}={settings.get(key)}" for key in differing) for settings in each]


def _short_key(key: str, keys: Sequence[str]) -> str:
    """Its last part where that is no other's."""
    last = key.rsplit(".", 1)[-1]
    return last if sum(other.rsplit(".", 1)[-1] == last for other in keys) == 1 else key


def _baseline(arms: Sequence[Arm], wanted: str | Path | None) -> Arm:
    if wanted is None:
        return arms[0]
    for arm in arms:
        folders = {run.path.resolve() for run in arm.runs.values()}
        if str(wanted) == arm.label or Path(wanted).resolve() in folders:
            return arm
    labels = [arm.label for arm in arms]
    raise ConfigError(
        f"baseline '{wanted}': no arm of that name.{near_miss(str(wanted), labels)} Arms: {'; '.join(labels)}."
    )


def _scores(run: Run, metric: str) -> dict[str, float] | None:
    """Task -> number; None where the run has the metric and no value for it."""
    results = run.results
    assert results is not None
    before, after = results["before"]["task_scores"], results["after"]["task_scores"]
    measured = {f"{record['task']}/{record['metric']}": record["value"] for record in results["after"]["results"]}
    found: dict[str, float | None]
    if metric == "score":
        found = dict(after)
    elif metric == "gain":
        found = {task: _minus(after[task], before.get(task)) for task in after}
    elif metric in measured:
        found = {metric: measured[metric]}
    else:
        records = run.records()
        columns = {key for record in records for key in record}
        if metric not in columns:
            near = near_miss(metric, ["score", "gain", *measured, *columns])
            raise DataError(
                f"{run.path}: no metric '{metric}'.{near} Known: score, gain, {', '.join(measured)}, and the columns of metrics.jsonl."
            )
        recent = [record.get(metric) for record in records[-max(1, len(records) // 10) :]]
        known = [value for value in recent if isinstance(value, int | float)]
        found = {metric: sum(known) / len(known) if known else None}
    numbers = {task: float(value) for task, value in found.items() if value is not None and math.isfinite(value)}
    return numbers if len(numbers) == len(found) else None


def _minus(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _rows(arms: Sequence[Arm], base: Arm) -> tuple[Row, ...]:
    """A row per arm. Differences of several arms are judged together: their intervals by Bonferroni, their p values by Holm."""
    pairs = {arm.label: pair for arm in arms if (pair := _paired(arm, base)) is not None}
    differences = {label: ours - theirs for label, (ours, theirs) in pairs.items()}
    tests = max(1, sum(len(difference) > 1 for difference in differences.values()))
    adjusted = holm([paired_p_value(difference) for difference in differences.values()])
    p_values = dict(zip(differences, adjusted, strict=True))
    rows = []
    for arm in arms:
        mine, versus = arm.matrix(), None
        if arm.label in pairs:
            difference = differences[arm.label]
            versus = Versus(
                run_interval(difference, tests),
                p_values[arm.label],
                detectable_difference(difference, tests),
                probability_of_improvement(*pairs[arm.label]),
                len(difference),
            )
        rows.append(Row(arm.label, tuple(arm.scores), run_interval(mine), interquartile_mean(mine), versus))
    return tuple(rows)


def _paired(arm: Arm, base: Arm) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Scores of both on the seeds that they share, [seeds, tasks]."""
    shared = set(arm.scores) & set(base.scores)
    if arm is base or not shared or arm.tasks != base.tasks:
        return None
    return arm.matrix(shared), base.matrix(shared)


def _few_seeds(rows: Sequence[Row], baseline: str) -> list[str]:
    """One sentence on what so few seeds can tell; none where every arm has enough."""
    counts = {row.label: row.versus.pairs if row.versus else len(row.seeds) for row in rows}
    few = [label for label, count in counts.items() if count < FEW_SEEDS]
    if not few:
        return []
    numbers = sorted({counts[label] for label in few})
    told = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    found = [
        f"{row.versus.detectable:.3f} ({row.label})"
        for row in rows
        if row.versus and row.label in few and row.versus.pairs > 1
    ]
    text = f"Only {told} seed{'s' if numbers[-1] > 1 else ''} ({'; '.join(few)}): with fewer than {FEW_SEEDS}, one unusual seed decides the interval."
    if found:
        text += f" A true difference from {baseline} is found with 80% power if it is at least {'; '.join(found)}."
    return [text]
