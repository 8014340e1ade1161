"""Which scores to buy: how good is the reward against what was spent, where scores are bought all in order, at random, or by what they say?

    python experiments/budget/run.py                               the seven sets of human judgements -> results.json
    python experiments/budget/run.py --pools FOLDER                the pools of real answers too (experiments/pool), their test part
    python experiments/budget/run.py --tables frank --splits 4
    python experiments/budget/run.py --judge                       only read results.json

Needs `human_labels` under $RAG_GRAPH_DATA. The scores are in the tables; buying one reveals it. All arms see the same rows, in the same order. Differences are
paired by split, with 95% t intervals over splits. Splits of one table share its rows, so an interval says how far other splits would change the number, and not how far
other data would.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from buy import buy  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table as Columns  # noqa: E402
from tables import HUMAN, POOLS, Table, human_folder, load_human, load_pool, split  # noqa: E402

from rag_graph.evaluation.statistics import run_interval  # noqa: E402
from rag_graph.runtime import write_atomically  # noqa: E402

CELLS = (
    (("random", 0.2), ("active", 0.1), ("active", 0.2)),
    (("random", 0.1), ("active", 0.05), ("cheap", 0.1), ("cheap", 0.2)),
    (("random", 0.4), ("active", 0.4), ("all", 0.2)),
)
"""Mode and share of the price of everything that may be spent. `cheap` is a control: active, with the same value for every score. What matters most is
measured first, of all tables."""
CHOSEN_ON = ("frank", "headline", "rubric_synth")
"""Design decisions were made on other splits of frank and on the dev part of headline; on one split of rubric_synth a fault was seen. They are no evidence."""
Row = dict[str, Any]


def measure(
    table: Table, seeds: list[int], part: str, cells: tuple[tuple[str, float], ...], known: list[Row]
) -> list[Row]:
    done = {(row["table"], row["seed"], row["mode"], row["share"]) for row in known}
    found = []
    for seed in seeds:
        learn, apart = split(table, seed, part)
        for mode, share in cells:
            if (table.name, seed, mode, share) not in done:
                result = buy(table, learn, apart, mode, share, seed)
                numbers = {name: round(float(value), 4) for name, value in result._asdict().items()}
                found.append({"table": table.name, "seed": seed, "mode": mode, "share": share, **numbers})
    return found


def column(rows: list[Row], table: str, mode: str, share: float, what: str) -> np.ndarray:
    mine = {row["seed"]: row[what] for row in rows if (row["table"], row["mode"], row["share"]) == (table, mode, share)}
    return np.array([mine[seed] for seed in sorted(mine)])


def difference(rows: list[Row], table: str, ours: tuple[str, float], theirs: tuple[str, float], what: str) -> Any:
    """Paired by split, with its 95% interval; None where one of them was not measured."""
    one, other = column(rows, table, *ours, what), column(rows, table, *theirs, what)
    return run_interval((one - other)[:, None]) if len(one) == len(other) > 1 else None


def halves(rows: list[Row], what: str) -> dict[str, list[Any]]:
    """Table -> active at half of the price less random, at .1, .2 and .4 of the price of everything."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    return {
        name: [difference(rows, name, ("active", share / 2), ("random", share), what) for share in (0.1, 0.2, 0.4)]
        for name in tables
    }


def show(console: Console, rows: list[Row], what: str) -> None:
    tables = list(dict.fromkeys(row["table"] for row in rows))
    one = Columns(
        "table",
        "share",
        "random",
        "active",
        "cheap",
        "all",
        "active - random",
        "active - cheap",
        title=what,
        title_justify="left",
        box=None,
    )
    for name in tables:
        for share in (0.1, 0.2, 0.4):
            means = [column(rows, name, mode, share, what) for mode in ("random", "active", "cheap", "all")]
            shown = [f"{values.mean():.3f}" if len(values) else "" for values in means]
            gaps = [
                _shown(difference(rows, name, ("active", share), (mode, share), what)) for mode in ("random", "cheap")
            ]
            one.add_row(name, f"{share:.0%}", *shown, *gaps)
    console.print(one)
    two = Columns(
        "table",
        "5% for 10%",
        "10% for 20%",
        "20% for 40%",
        title=f"{what}: active at half of the price, less random",
        title_justify="left",
        box=None,
    )
    for name, gaps in halves(rows, what).items():
        two.add_row(name, *map(_shown, gaps))
    console.print(two)
    reported = {name: gaps for name, gaps in halves(rows, what).items() if name not in CHOSEN_ON}
    for place, at in enumerate((0.1, 0.2, 0.4)):
        known = [gaps[place] for gaps in reported.values() if gaps[place] is not None]
        console.print(
            f"{at / 2:.0%} for {at:.0%}, tables but {', '.join(CHOSEN_ON)}: active is as good or better in {sum(gap.mean >= 0 for gap in known)} of {len(known)}; "
            f"surely better in {sum(gap.low > 0 for gap in known)}, surely worse in {sum(gap.high < 0 for gap in known)}"
        )


def _shown(gap: Any) -> str:
    if gap is None:
        return ""
    mark = " *" if gap.low > 0 else " -" if gap.high < 0 else ""
    return f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{mark}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--tables", nargs="*", choices=(*HUMAN, *POOLS), help="default: all that are there")
    parser.add_argument("--pools", type=Path, help="folder of the stored pools")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="of the pools")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="what is there is kept, and goes on")
    parser.add_argument("--judge", action="store_true", help="only read the results")
    args = parser.parse_args()
    console = Console(width=160)
    rows: list[Row] = json.loads(args.out.read_text())["rows"] if args.out.is_file() else []
    if not args.judge:
        where = human_folder()
        if where is None:
            parser.exit(2, "human_labels is not under $RAG_GRAPH_DATA. Set it to the folder that contains it.\n")
        warnings.simplefilter("ignore", RuntimeWarning)
        names = args.tables or [*HUMAN, *(POOLS if args.pools else ())]
        loaded = {name: load_human(where, name) if name in HUMAN else load_pool(args.pools, name) for name in names}
        for cells in CELLS:
            for name, table in loaded.items():
                start = time.time()
                rows += measure(table, list(range(args.splits)), args.part, cells, rows)
                write_atomically(
                    args.out, json.dumps({"rows": rows}, separators=(",", ":")).replace("},{", "},\n{") + "\n"
                )
                console.print(
                    f"{name}, {', '.join(f'{mode} {share:g}' for mode, share in cells)}: {time.time() - start:.0f} s"
                )
    for what in ("spearman", "pairs", "paid_spearman"):
        show(console, rows, what)


if __name__ == "__main__":
    main()
