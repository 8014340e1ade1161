"""Cost of a report as the run grows: seconds to write it, its size, seconds until a browser shows it.

    python benchmarks/report.py RUN                        # 200, 2,000 and 20,000 episodes; needs Chromium
    python benchmarks/report.py RUN --sizes 200 20000 --words 150

Longer and shorter runs repeat the lines of RUN, with prompts of WORDS generated words of a Zipf vocabulary and 25 episodes per update. Within a
repetition all sizes are written and opened in turn. A number is the median over repetitions; the last column is the ratio to the smallest size.
The browser is headless Chromium, which opens the file from disk; the time ends when the first page of episodes is on the screen.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from rag_graph import Run, write_report
from rag_graph.runtime import to_json

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
EPISODES_PER_UPDATE = 25


def grown(source: Path, folder: Path, episodes: int, words: int) -> Run:
    """A copy of a run with so many episodes."""
    shutil.copytree(
        source,
        folder,
        ignore=shutil.ignore_patterns("policy", "retriever", "warm_up", "checkpoint-*", "*.safetensors", "report.html"),
    )
    run = Run(folder)
    rows, records = run.episode_records(), run.records()
    ids = np.random.default_rng(0).zipf(1.3, size=(episodes, words)).clip(max=50_000) if words else None
    with (folder / "episodes.jsonl").open("w", encoding="utf-8") as handle:
        for i in range(episodes):
            row = {**rows[i % len(rows)], "id": f"e{i}", "update": 1 + i // EPISODES_PER_UPDATE}
            if ids is not None:
                row["prompt"] = " ".join(f"w{word}" for word in ids[i])
            handle.write(to_json(row) + "\n")
    updates = range(-(-episodes // EPISODES_PER_UPDATE))
    (folder / "metrics.jsonl").write_text(
        "".join(to_json({**records[i % len(records)], "update": i + 1}) + "\n" for i in updates)
    )
    return Run(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 2_000, 20_000], help="episodes")
    parser.add_argument("--words", type=int, default=150, help="words per prompt; 0: the run's own prompts")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = {size: grown(options.run, Path(folder) / str(size), size, options.words) for size in options.sizes}
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        written: dict[int, list[float]] = {size: [] for size in runs}
        ready: dict[int, list[float]] = {size: [] for size in runs}
        said: dict[int, str] = {}
        for _ in range(options.repetitions):
            for size, run in runs.items():
                started = time.perf_counter()
                report = write_report(run)
                written[size].append(time.perf_counter() - started)
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(f"file://{report}")
                page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
                ready[size].append(time.perf_counter() - started)
                said[size] = page.locator("#sampling").inner_text()
                page.close()
        browser.close()
        print(
            "| episodes | file, MB | written in, s | ready in, s | times the smallest | kept |\n|---|---|---|---|---|---|"
        )
        smallest = statistics.median(ready[options.sizes[0]])
        for size, run in runs.items():
            megabytes = (run.path / "report.html").stat().st_size / 1e6
            opened = statistics.median(ready[size])
            print(
                f"| {size:,} | {megabytes:.1f} | {statistics.median(written[size]):.2f} | {opened:.2f} | {opened / smallest:.1f} | {said[size].split(',  ')[0][:60]} |"
            )


if __name__ == "__main__":
    main()
