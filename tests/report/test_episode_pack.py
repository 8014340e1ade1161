"""The episodes of a report: all of them or a sample, and a word about what cannot be read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_graph import Run, write_report
from rag_graph.report.episode_pack import pack_episodes
from rag_graph.runtime import to_json

Unpacked = Callable[..., tuple[dict[str, Any], str]]


def test_failed_and_endless_texts_do_not_keep_it_from_ending(folder: Path, unpacked: Unpacked) -> None:
    row = json.loads((folder / "episodes.jsonl").read_text().splitlines()[0])
    noise = random.Random(0)
    made = ({**row, "id": f"e{i}", "error": "".join(noise.choices("abcdefghij", k=400))} for i in range(3000))
    (folder / "episodes.jsonl").write_text("".join(to_json(one) + "\n" for one in made))
    found, said = unpacked(Run(folder), most_packed=100_000)
    assert len(found["rows"]) < 1000
    assert "A sample" in said
    (folder / "episodes.jsonl").write_text(to_json({**row, "prompt": "x" * 1_000_000}) + "\n")
    found, _ = unpacked(Run(folder))
    assert "980,000 more characters in the run folder" in found["rows"][0]["prompt"]


def test_many_episodes_become_a_sample_said_aloud(folder: Path, unpacked: Unpacked) -> None:
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    many = [
        {**rows[i % len(rows)], "id": f"e{i}", "update": 1 + i // 128, "error": "boom" if i in (7, 4001) else ""}
        for i in range(5000)
    ]
    (folder / "episodes.jsonl").write_text("".join(to_json(row) + "\n" for row in many))
    run = Run(folder)
    found, said = unpacked(run)
    assert said == f"All {5000 + 64:,} episodes."
    assert len(found["rows"]) == 5064
    for limits in ({"most_text": 400_000}, {"most_packed": 40_000}):
        found, said = unpacked(run, **limits)
        kept = [row for row in found["rows"] if row["part"] == "train"]
        assert said.startswith(
            f"A sample: {len(found['rows']):,} of 5,064 episodes, evenly in the order they were made, and those that failed"
        )
        assert 50 < len(kept) < 2500
        assert {"e7", "e4001"} <= {row["id"] for row in kept}, "failed ones are kept"
        updates = [row["update"] for row in kept]
        assert min(updates) <= 3
        assert max(updates) >= 38
        thirds = [sum(low < u <= low + 13 for u in updates) for low in (0, 13, 26)]
        assert max(thirds) - min(thirds) <= 4, "evenly over the run"
        assert {row["part"] for row in found["rows"]} == {"train", "before", "after"}
    assert len(pack_episodes(run, most_packed=40_000).packed) <= 40_000


def test_a_line_cut_short_by_a_crash_is_left_out(folder: Path, unpacked: Unpacked) -> None:
    for name in ("episodes.jsonl", "metrics.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: len(text) - 40])
    rows, _ = unpacked(Run(folder))
    assert sum(row["part"] == "train" for row in rows["rows"]) == 47
    with (folder / "episodes.jsonl").open("ab") as handle:
        handle.write('\n{"prompt": "é'.encode()[:-1])  # within a character
    assert write_report(Run(folder)).is_file()


def test_damage_is_said_and_hides_nothing_else(folder: Path, unpacked: Unpacked) -> None:
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    (folder / "episodes.jsonl").write_text("\n".join([*lines[:3], lines[3][:50], *lines[4:]]) + "\n")
    run = Run(folder, skip_damaged=True)
    rows, said = unpacked(run)
    assert sum(row["part"] == "train" for row in rows["rows"]) == len(lines) - 1
    assert said == f"All {64 + len(lines) - 1} episodes."
    assert len(run.damage) == 1
    assert "episodes.jsonl: line 4 is not valid JSON" in run.damage[0]
    (folder / "results.json").write_text('{"before": ')
    page = write_report(Run(folder)).read_text()
    assert "results.json: not valid JSON" in page, "the page is written all the same"
