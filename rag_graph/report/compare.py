"""Runs against each other: grouped by what they were asked to do, paired by seed, with intervals and with what makes them incomparable."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.statistics import Interval, interquartile_mean, probability_of_improvement, run_interval
from rag_graph.report.comparability import warnings_about
from rag_graph.report.run import Run
from rag_graph.settings_file import flatten

if TYPE_CHECKING:
    from pandas import DataFrame

IDENTITY = ("seed", "name", "output_dir")
FORMATS = (".md", ".csv", ".tex", ".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs of one config over seeds.

    scores: seed -> one number per task (one in all for a single metric).
    """

    label: str
    runs: Mapping[int, Run]
    scores: Mapping[int, Sequence[float]]

    def matrix(self, seeds: Iterable[int] | None = None) -> NDArray[np.float64]:
        """[runs, tasks], by seed."""
        return np.array([self.scores[seed] for seed in sorted(self.scores if seeds is None else seeds)], dtype=float)


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of the table. `difference` and `improvement` are against the baseline; None for the baseline itself, and where no seed is shared."""

    label: str
    seeds: tuple[int, ...]
    mean: Interval
    iqm: float
    difference: Interval | None
    improvement: float | None
    pairs: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    metric: str
    baseline: str
    arms: tuple[Arm, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = field(default=())

    def table(self) -> DataFrame:
        """A row per arm: mean, IQM, paired difference with its interval, probability of improvement."""
        import pandas

        def cells(row: Row) -> dict[str, Any]:
            shown = {
                "arm": row.label,
                "seeds": len(row.seeds),
                "mean": row.mean.mean,
                "low": row.mean.low,
                "high": row.mean.high,
                "IQM": row.iqm,
            }
            gap = row.difference or (None, None, None)
            return {**shown, "pairs": row.pairs, "difference": gap[0], "difference low": gap[1], "difference high": gap[2], "P(improvement)": row.improvement}  # fmt: skip

        return pandas.DataFrame([cells(row) for row in self.rows]).set_index("arm")

    @property
    def caption(self) -> str:
        """What the numbers are."""
        if len(self.arms) == 1:
            return f"{self.metric}; [95% bootstrap intervals over seeds]"
        return f"{self.metric}; difference from {self.baseline}, paired by seed; [95% bootstrap intervals over seeds]"

    def cells(self) -> list[list[str]]:
        """The table as people read it; its first row is the header."""
        header = ["arm", "seeds", "mean", "IQM", "difference", "P(better)"]
        rows = [
            [row.label, str(len(row.seeds)), _interval(row.mean), f"{row.iqm:.3f}", _interval(row.difference, "+") if row.difference else "", "" if row.improvement is None else f"{row.improvement:.2f}"]
            for row in self.rows
        ]  # fmt: skip
        return [header, *rows]

    def to_markdown(self) -> str:
        header, *rows = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in self.cells())
        lines = [header, ["---"] * len(header), *rows]
        notes = "".join(f"\n> {warning}\n" for warning in self.warnings)
        return f"{self.caption}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n" + notes

    def to_csv(self) -> str:
        text: str = self.table().to_csv()
        return text

    def to_latex(self) -> str:
        """A `tabular` for booktabs; warnings as comments."""
        header, *rows = ([_latex(cell) for cell in row] for row in self.cells())
        lines = [" & ".join(line) + r" \\" for line in rows]
        notes = "".join("% " + " ".join(warning.split()) + "\n" for warning in self.warnings)
        return (
            f"% {' '.join(self.caption.split())}\n{notes}"
            + "\\begin{tabular}{lrrrrr}\n\\toprule\n"
            + " & ".join(header)
            + " \\\\\n\\midrule\n"
            + "\n".join(lines)
            + "\n\\bottomrule\n\\end{tabular}\n"
        )

    def draw(self, out: Path) -> None:
        """Each arm's mean with its interval and its seeds; beside it the paired differences."""
        from rag_graph.report.figures import draw_comparison

        draw_comparison(self, out)

    def write(self, out: str | Path) -> Path:
        """Markdown, CSV, LaTeX or a picture, by the file's ending.

        Raises:
            ConfigError: another ending.
        """
        from rag_graph.runtime import write_atomically

        out = Path(out)
        texts = {".md": self.to_markdown, ".csv": self.to_csv, ".tex": self.to_latex}
        if out.suffix not in FORMATS:
            raise ConfigError(f"{out}: unknown kind of table '{out.suffix}'. Known: {', '.join(FORMATS)}.")
        if not out.parent.is_dir():
            raise ConfigError(f"{out}: no such folder: {out.parent}")
        if out.suffix in texts:
            write_atomically(out, texts[out.suffix]())
        else:
            self.draw(out)
        return out


def compare(runs: Iterable[str | Path | Run], metric: str = "score", baseline: str | Path | None = None) -> Comparison:
    """Compare finished runs.

    Args:
        runs: folders, globs such as "runs/flat-*", or runs. Runs of one config (but for seed, name and folder) are one arm.
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
    labels = _labels([next(iter(group.values())) for group in groups.values()])
    arms = [Arm(label, dict(sorted(group.items())), {seed: _scores(run, metric) for seed, run in sorted(group.items())}) for label, group in zip(labels, groups.values(), strict=True)]  # fmt: skip
    base = _baseline(arms, baseline)
    arms.sort(key=lambda arm: arm is not base)
    rows = tuple(_row(arm, base) for arm in arms)
    notes += warnings_about([(arm.label, arm.runs) for arm in arms])
    return Comparison(metric, base.label, tuple(arms), rows, tuple(notes))


def _open(wanted: Iterable[str | Path | Run]) -> tuple[list[Run], list[str]]:
    found: dict[Path, Run] = {}
    notes = []
    for one in wanted:
        if isinstance(one, Run):
            found[one.path.resolve()] = one
            continue
        paths = [str(one)] if Path(one).is_dir() else sorted(glob.glob(str(one)))
        if not paths:
            raise DataError(f"{one}: no such run folder, and nothing matches it.")
        for path in paths:
            if not (Path(path) / "config.yaml").is_file() and len(paths) > 1:
                continue  # a glob may find more than runs
            run = Run(path)
            found[run.path.resolve()] = run
    finished = []
    for run in found.values():
        if run.results is None:
            notes.append(f"{run.path} has not finished ({run.status['status']}) and is left out.")
        else:
            finished.append(run)
    if not finished:
        raise DataError(
            "no finished run among " + (", ".join(str(run.path) for run in found.values()) or "these") + "."
        )
    return finished, notes


def _settings(run: Run) -> dict[str, Any]:
    settings = flatten(run.config.model_dump(mode="json", exclude=set(IDENTITY)))
    own = flatten({"own": run.manifest.get("own_parts", {})})
    graph = run.manifest.get("graph_hash")
    return {**settings, **own, "graph": f"{settings['graph']}#{graph[:6]}" if graph else settings["graph"]}


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


def _scores(run: Run, metric: str) -> list[float]:
    results = run.results
    assert results is not None
    before, after = results["before"]["task_scores"], results["after"]["task_scores"]
    if metric == "score":
        return list(after.values())
    if metric == "gain":
        return [after[task] - before[task] for task in after]
    measured = {f"{record['task']}/{record['metric']}": record["value"] for record in results["after"]["results"]}
    if metric in measured:
        return [measured[metric]]
    records = run.records()
    recent = records[-max(1, len(records) // 10) :]
    values = [record[metric] for record in recent if isinstance(record.get(metric), int | float)]
    if not values:
        names = ["score", "gain", *measured, *(key for key in (records[-1] if records else {}))]
        raise DataError(f"{run.path}: no metric '{metric}'.{near_miss(metric, names)} Known: score, gain, {', '.join(measured)}, and the columns of metrics.jsonl.")  # fmt: skip
    return [sum(values) / len(values)]


def _row(arm: Arm, base: Arm) -> Row:
    mine = arm.matrix()
    difference, improvement, shared = None, None, sorted(set(arm.scores) & set(base.scores))
    comparable = all(len(arm.scores[seed]) == len(base.scores[seed]) for seed in shared)
    if arm is not base and shared and comparable:
        ours, theirs = arm.matrix(shared), base.matrix(shared)
        difference, improvement = run_interval(ours - theirs), probability_of_improvement(ours, theirs)
    return Row(arm.label, tuple(arm.scores), run_interval(mine), interquartile_mean(mine), difference, improvement, len(shared) if difference else 0)  # fmt: skip


def _interval(found: Interval, sign: str = "") -> str:
    bounds = "" if np.isnan(found.low) else f" [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
    return f"{found.mean:{sign}.3f}{bounds}"


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
