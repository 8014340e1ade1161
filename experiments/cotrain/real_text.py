"""Do generator and retriever learn together on real text? SmolLM2 and MiniLM on hotpotqa, musique and two_wiki.

    python experiments/cotrain/real_text.py --runs FOLDER            all arms, 3 seeds; cell by cell, goes on where it was stopped
    python experiments/cotrain/real_text.py --runs FOLDER --show     run nothing; the table of what is there (of ours: experiments/cotrain/real_cells)

Arms, at equal updates and episodes: `generator` (PPO, the retriever stays), `retriever` (perplexity distillation, the generator stays), `both`, and
`both_likelihood` (a warm-up by RAG-Sequence likelihood first). All arms of a seed start from one policy, after one supervised warm-up: `F1 before`; of
`both_likelihood` it is the state after its own warm-up. Another --set needs another FOLDER.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FROZEN, NO_LEARNING = "ppo.learning_rate=1.0e-12", "retrieval.learn.method=none"
ONE_PASS = ("ppo.num_ppo_epochs=1", "ppo.num_mini_batches=1")
"""Where the policy does not move, more passes cost time only."""
ARMS = {
    "generator": [NO_LEARNING],
    "retriever": [FROZEN, *ONE_PASS],
    "both": [],
    "both_likelihood": ["retrieval.learn.warm_up=likelihood"],
}
PAIRS = (("both", "generator"), ("both_likelihood", "generator"), ("both", "retriever"), ("retriever", "generator"))
FOUND = 5
"""R@5: share of the supporting passages among the first five."""


def recall(bench: Any, examples: list[Any]) -> float:
    """Mean over data sets of R@5 on the held-out questions, by the encoder as it is."""
    by_task: dict[str, list[float]] = {}
    for example in examples:
        (found,) = bench.pools["test"].candidates(example.task, [example.text], [example.id], FOUND)
        ids = {piece.context.local_id for piece in found[:FOUND]}
        by_task.setdefault(example.task, []).append(len(ids & set(example.supporting)) / len(set(example.supporting)))
    return sum(sum(rows) / len(rows) for rows in by_task.values()) / len(by_task)


def warmed(seed: int, folder: Path, changes: list[str]) -> Path:
    """The policy of a seed after its supervised warm-up, which all arms start from; made once, also where several processes share the folder."""
    from filelock import FileLock

    import rag_graph

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "results.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            still = ["ppo.updates=1", FROZEN, NO_LEARNING, f"seed={seed}", f"output_dir={folder}"]
            rag_graph.train(HERE / "real_config.yaml", [*changes, *still])
    return folder / "policy"


def one_cell(arm: str, seed: int, folder: Path, changes: list[str]) -> dict[str, Any]:
    import rag_graph
    from rag_graph.data.load import load_data

    policy = warmed(seed, folder.parent / f"warm-seed{seed}", changes)
    shutil.rmtree(folder, ignore_errors=True)
    start = [f"model.source={policy}", "model.trim_vocabulary=false", "sft.steps=0"]
    settings = [*changes, *ARMS[arm], *start, f"seed={seed}", f"output_dir={folder}"]
    run = rag_graph.train(HERE / "real_config.yaml", settings)
    data = load_data(run.stated_graph, run.config.data, seed)
    cell: dict[str, Any] = {"arm": arm, "seed": seed, "updates": run.config.ppo.updates}
    for part in ("before", "after"):
        record = json.loads((folder / "evaluation" / f"{part}.json").read_text(encoding="utf-8"))
        wanted = {"f1": "token_f1", "em": "exact_match"}
        for name, metric in wanted.items():
            values = {row["task"]: row["value"] for row in record["results"] if row["metric"] == metric}
            cell[f"{name}_{part}"] = round(sum(values.values()) / len(values), 5)
            cell[f"{name}_{part}_tasks"] = values
        cell[f"shown_{part}"] = record["retrieval"]["retrieval/recall"]
    cell["f1_questions"] = f1_of_questions(folder)
    cell["recall@5"] = round(recall(run._bench, data.test), 5)
    shutil.rmtree(folder / "policy", ignore_errors=True)
    return cell


def f1_of_questions(folder: Path) -> dict[str, float]:
    """Token F1 of each held-out answer after training, by question."""
    lines = (folder / "evaluation/after.episodes.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["id"]: round(row["scores"].get(row["task"], 0.0), 4) for row in rows}


def show_over_questions(console: Any, cells: list[dict[str, Any]]) -> None:
    """Paired differences pooled over the data sets: each question counts once, with its mean over the seeds that both arms have."""
    from rag_graph.evaluation.statistics import run_interval

    found = {(cell["arm"], cell["seed"]): cell["f1_questions"] for cell in cells}
    for one, two in PAIRS:
        seeds = [seed for arm, seed in found if arm == one and (two, seed) in found]
        if seeds:
            pairs = [(found[one, seed], found[two, seed]) for seed in seeds]
            rows = [[sum(ours[id] - theirs[id] for ours, theirs in pairs) / len(pairs)] for id in pairs[0][0]]
            mean, low, high = run_interval(rows)
            text = f"F1 over {len(rows)} questions, {one} - {two}: {mean:+.3f} [{low:+.3f}, {high:+.3f}], {len(seeds)} seeds"
            console.print(text, markup=False, highlight=False)


def show(cells: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    sys.path.insert(0, str(HERE))
    from together import show_differences

    from rag_graph.evaluation.statistics import run_interval

    def mean(values: list[float]) -> str:
        return str(run_interval([[value] for value in values])).replace("[", "\\[")

    table = Table("arm", "seeds", "F1 before", "F1", "EM", "R@5", box=None)
    for arm in ARMS:
        mine = [cell for cell in cells if cell["arm"] == arm]
        if mine:
            columns = [
                mean([cell[name] for cell in mine]) for name in ("f1_before", "f1_after", "em_after", "recall@5")
            ]
            table.add_row(arm, str(len(mine)), *columns)
    console = Console(width=150)
    console.print(table)
    f1 = {arm: {cell["seed"]: cell["f1_after"] for cell in cells if cell["arm"] == arm} for arm in ARMS}
    show_differences(console, "F1", f1, ("both", "both_likelihood"), ("generator", "retriever"))
    show_over_questions(console, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all arms")
    parser.add_argument("--show", action="store_true", help="run nothing, only the table")
    options = parser.parse_args()
    for seed in options.seeds if not options.show else []:
        for arm in options.arms:
            done = options.runs / f"{arm}-seed{seed}.json"
            if done.is_file():
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cell = one_cell(arm, seed, options.runs.absolute() / f"{arm}-seed{seed}", options.set)
            done.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")
            print(
                f"{arm} seed {seed}: F1 {cell['f1_before']:.3f} -> {cell['f1_after']:.3f}, R@5 {cell['recall@5']:.3f}",
                flush=True,
            )
    show([json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.runs.glob("*-seed*.json"))])


if __name__ == "__main__":
    main()
