"""The report of a run as a file: whole, escaped, bounded, and honest about what is not there. The browser's part is in test_browser.py."""

from __future__ import annotations

import base64
import gzip
import json
import platform
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run, write_report
from rag_graph.errors import DataError
from rag_graph.report.episode_pack import pack_episodes
from rag_graph.report.page_data import edge_lines, page_data
from rag_graph.runs.folder import locked
from rag_graph.runtime import to_json

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def unpacked(run: Run, **limits: int) -> tuple[dict[str, Any], str]:
    pack = pack_episodes(run, **limits)
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(pack.packed)))
    return found, pack.said


def status(folder: Path, **content: Any) -> None:
    (folder / "status.json").write_text(json.dumps(content))


def test_the_file_needs_nothing_else(folder: Path) -> None:
    page = write_report(Run(folder)).read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page, "nor may it"
    assert "mean task score" in page.lower()


def test_all_text_is_escaped(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    rows[0] |= {"prompt": EVIL, "response": EVIL, "draft": "</script>", "error": EVIL}
    (folder / "episodes.jsonl").write_text("".join(to_json(row) + "\n" for row in rows))
    graph = (folder / "graph.yaml").read_text()
    (folder / "graph.yaml").write_text(graph.replace("Text classification", f'"{EVIL}"'))
    (folder / "graph_report.json").write_text(
        json.dumps({"proposals": [{"kind": "flip", "source": "topic", "target": "summary", "stated": "shares_structure", "proposed": EVIL, "evidence": EVIL}], "alarms": [{"update": 1, "alarm": EVIL, "seen": EVIL}]})
    )  # fmt: skip
    run = Run(folder)
    page = write_report(run).read_text()
    assert EVIL not in page
    assert page.count("<script") == page.count("</script") == 4
    assert unpacked(run)[0]["rows"][0]["prompt"] == EVIL, "and is all there"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"status": "running", "host": platform.node()}, "This run is still going: the report stands at update 6"),
        ({"status": "running", "host": "elsewhere"}, "still going on elsewhere, or was when it last wrote"),
        ({"status": "failed", "error": "OSError: no space"}, "This run failed at update 6: OSError: no space"),
        ({"status": "interrupted", "error": "KeyboardInterrupt: "}, "This run was interrupted at update 6."),
    ],
)
def test_a_run_that_has_not_finished(folder: Path, content: dict[str, Any], said: str) -> None:
    for name in ("results.json", "graph_report.json", "strengths.yaml"):
        (folder / name).unlink()
    status(folder, **content)
    with locked(folder):
        page = write_report(Run(folder)).read_text()
    assert said in page
    assert "No results yet" in page
    assert "None so far; they are written when training ends." in page


def test_a_run_whose_process_is_gone_is_not_called_running(folder: Path) -> None:
    status(folder, status="running", host=platform.node())
    assert "stopped without a word" in write_report(Run(folder)).read_text()


def test_a_run_before_its_first_update(folder: Path) -> None:
    for name in ("results.json", "graph_report.json", "strengths.yaml", "metrics.jsonl", "episodes.jsonl"):
        (folder / name).unlink()
    shutil.rmtree(folder / "evaluation")
    status(folder, status="failed", error="ModelError: no such model")
    page = write_report(Run(folder)).read_text()
    assert "This run failed before the first update: ModelError: no such model" in page
    assert "No episode has been written yet." in page


def test_a_line_cut_short_by_a_crash_is_left_out(folder: Path) -> None:
    for name in ("episodes.jsonl", "metrics.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: len(text) - 40])
    rows, _ = unpacked(Run(folder))
    assert sum(row["part"] == "train" for row in rows["rows"]) == 47
    with (folder / "episodes.jsonl").open("ab") as handle:
        handle.write('\n{"prompt": "é'.encode()[:-1])  # within a character
    assert write_report(Run(folder)).is_file()


def test_damage_is_said_and_hides_nothing_else(folder: Path) -> None:
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    (folder / "episodes.jsonl").write_text("\n".join([*lines[:3], lines[3][:50], *lines[4:]]) + "\n")
    rows, said = unpacked(Run(folder))
    assert {row["part"] for row in rows["rows"]} == {"before", "after"}
    assert re.search(r"All 64 episodes. The part 'train' cannot be shown: .*episodes.jsonl:4: not valid JSON", said)
    (folder / "results.json").write_text('{"before": ')
    with pytest.raises(DataError, match=r"results\.json: not valid JSON .* the file is damaged"):
        write_report(Run(folder))


def test_failed_and_endless_texts_do_not_keep_it_from_ending(folder: Path) -> None:
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


def test_many_updates_are_thinned_and_it_says_so(folder: Path) -> None:
    records = Run(folder).records()
    with (folder / "metrics.jsonl").open("w") as handle:
        handle.writelines(to_json({**records[i % 6], "update": i + 1}) + "\n" for i in range(9000))
    run = Run(folder)
    data = page_data(run)
    assert len(data["updates"]) < 3500
    assert data["updates"][-1] == 9000
    assert f"{len(data['updates']):,} of 9,000 updates are drawn" in write_report(run).read_text()


def test_many_episodes_become_a_sample_said_aloud(folder: Path) -> None:
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


def test_proposals_name_the_line_of_the_researchers_file(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(folder)
    stated = (root / "graphs/parcels.yaml").read_text().splitlines()
    for edge, place in zip(run.stated_graph.spec.edges, edge_lines(run), strict=True):
        file, line = place.rsplit(":", 1)
        assert Path(file).name == "parcels.yaml"
        assert f"from: {edge.source}," in stated[int(line) - 1]
        assert f"to: {edge.target}," in stated[int(line) - 1]
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("graph: parcels", f"graph: {tmp_path}/gone.yaml"))
    assert all("run/graph.yaml:" in place for place in edge_lines(Run(folder))), (
        "the run's own copy where the file is gone"
    )


def test_what_the_script_draws(folder: Path) -> None:
    run = Run(folder)
    data = page_data(run)
    assert data["updates"] == [1, 2, 3, 4, 5, 6]
    nodes = {node["name"]: node for node in data["graph"]["nodes"]}
    assert set(nodes) == set(run.stated_graph.nodes)
    assert nodes["archive"]["x"] > nodes["topic"]["x"] > nodes["well_formed"]["x"]
    metrics = run.metrics()
    assert [float("nan") if v is None else v for v in data["nodes"]["topic"]["reward"]] == pytest.approx(
        metrics["nodes/topic/reward"].tolist(), rel=1e-3, nan_ok=True
    )
    goal = next(chart for chart in data["charts"] if chart["title"].startswith("Goal"))
    assert len(goal["series"][0]["values"]) == 6


def test_the_cli_writes_it_and_says_where(run_cli: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    done = run_cli("report", folder, "--out", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'r.html'}" in done.stdout
    wrong = run_cli("report", folder, "--out", tmp_path / "no/r.html")
    assert wrong.returncode == 2
    assert "no such folder" in wrong.stderr
