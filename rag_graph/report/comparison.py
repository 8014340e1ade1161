"""What a comparison of runs found: its records, and its table as Markdown, CSV, LaTeX or a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.display import count, html_table, one_line
from rag_graph.errors import ConfigError
from rag_graph.evaluation.statistics import Interval
from rag_graph.runs.run import Run
from rag_graph.runtime import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame

    from rag_graph.figure import Picture

FORMATS = (".md", ".csv", ".tex", ".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs of one config over seeds.

    scores: seed -> task -> number (one in all for a single metric).
    """

    label: str
    runs: Mapping[int, Run]
    scores: Mapping[int, Mapping[str, float]]

    def __repr__(self) -> str:
        return one_line("Arm", repr(self.label), f"seeds {', '.join(map(str, sorted(self.runs)))}")

    def matrix(self, seeds: Iterable[int] | None = None) -> NDArray[np.float64]:
        """[runs, tasks], by seed; tasks in the order of their names."""
        chosen = sorted(self.scores if seeds is None else seeds)
        return np.array([[self.scores[seed][task] for task in self.tasks] for seed in chosen], dtype=float)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that every run has."""
        return tuple(sorted(set.intersection(*(set(scores) for scores in self.scores.values()))))


@dataclass(frozen=True, slots=True)
class Versus:
    """An arm against the baseline, paired by seed.

    difference: with an interval that holds for all arms together.
    p: of no difference, Holm-adjusted over the arms; NaN for one pair.
    detectable: the smallest true difference that so many pairs find with 80% power; NaN for one pair.
    improvement: probability that a run is better than one of the baseline.
    pairs: number of seeds that both have.
    """

    difference: Interval
    p: float
    detectable: float
    improvement: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of the table. `versus` is None for the baseline itself, and where no seed is shared."""

    label: str
    seeds: tuple[int, ...]
    mean: Interval
    iqm: float
    versus: Versus | None

    def __repr__(self) -> str:
        gap = f"difference {_interval(self.versus.difference, '+')}" if self.versus else ""
        return one_line("Row", repr(self.label), count(len(self.seeds), "seed"), f"mean {_interval(self.mean)}", gap)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    metric: str
    baseline: str
    arms: tuple[Arm, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        arms = ", ".join(f"{row.label} {row.mean.mean:.3f}" for row in self.rows)
        return one_line(
            "Comparison", self.metric, f"baseline {self.baseline}: {arms}", count(len(self.warnings), "warning")
        )

    def _repr_html_(self) -> str:
        header, *rows = self.cells()
        return html_table(self.caption, header, rows, self.warnings)

    def table(self) -> DataFrame:
        """A row per arm: mean, IQM, paired difference with its interval and p value, detectable difference, probability of improvement."""
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
            versus = row.versus
            gap = versus.difference if versus else (None, None, None)
            return {
                **shown,
                "pairs": versus.pairs if versus else 0,
                "difference": gap[0],
                "difference low": gap[1],
                "difference high": gap[2],
                "p": versus.p if versus else None,
                "detectable": versus.detectable if versus else None,
                "P(improvement)": versus.improvement if versus else None,
            }

        return pandas.DataFrame([cells(row) for row in self.rows]).set_index("arm")

    @property
    def caption(self) -> str:
        """What the numbers are."""
        about = f"{self.metric}; [95% t intervals over seeds]"
        compared = sum(row.versus is not None for row in self.rows)
        if not compared:
            return about
        about += (
            f"; difference from {self.baseline}, paired by seed, and the one that so many seeds find with 80% power"
        )
        if compared == 1:
            return about
        return f"{about}; for all {compared} differences together: intervals by Bonferroni, p by Holm"

    def cells(self) -> list[list[str]]:
        """The table as people read it; its first row is the header."""
        header = ["arm", "seeds", "mean", "IQM", "difference", "p", "detectable", "P(better)"]
        rows = [
            [row.label, str(len(row.seeds)), _interval(row.mean), f"{row.iqm:.3f}", *_versus(row.versus)]
            for row in self.rows
        ]
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
            + "\\begin{tabular}{lrrrrrrr}\n\\toprule\n"
            + " & ".join(header)
            + " \\\\\n\\midrule\n"
            + "\n".join(lines)
            + "\n\\bottomrule\n\\end{tabular}\n"
        )

    def draw(self, out: str | Path | None = None) -> Picture:
        """Each arm's mean with its interval and its seeds; beside it the paired differences. A matplotlib figure, also written to `out` if given."""
        from rag_graph.report.comparison_figure import DrawnArm, draw_arms

        pairs = zip(self.arms, self.rows, strict=True)
        drawn = [DrawnArm(row.label, arm.matrix().mean(1).tolist(), row.mean, row.versus.difference if row.versus else None) for arm, row in pairs]  # fmt: skip
        return draw_arms(drawn, self.metric, self.baseline, out)

    def write(self, out: str | Path) -> Path:
        """Markdown, CSV, LaTeX or a picture, by the file's ending.

        Raises:
            ConfigError: another ending.
        """
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


def _versus(found: Versus | None) -> list[str]:
    """Difference, p, detectable difference, P(better)."""
    if found is None:
        return [""] * 4
    known = not np.isnan(found.p)
    p = "" if not known else f"{found.p:.3f}" if found.p >= 0.001 else "<0.001"
    detectable = f"{found.detectable:.3f}" if known else ""
    return [_interval(found.difference, "+"), p, detectable, f"{found.improvement:.2f}"]


def _interval(found: Interval, sign: str = "") -> str:
    bounds = "" if np.isnan(found.low) else f" [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
    return f"{found.mean:{sign}.3f}{bounds}"


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
