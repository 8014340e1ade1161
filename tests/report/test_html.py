"""The report of a run as a file: whole, escaped, bounded, and honest about what is not there. The browser's part is in test_browser.py."""

from __future__ import annotations

import json
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run, write_report
from rag_graph.runs.folder import locked
from rag_graph.runtime import to_json

Unpacked = Callable[..., tuple[dict[str, Any], str]]
EVIL = "<script>alert('x')</script>"


def status(folder: Path, **content: Any) -> None:
    (folder / "status.json").write_text(json.dumps(content))


def test_the_file_needs_nothing_else(folder: Path) -> None:
    page = write_report(Run(folder)).read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page, "nor may it"
    assert "mean task score" in page.lower()


def test_the_page_says_where_the_time_of_updates_went(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    spent = {"seconds/update": 10.0, "seconds/generation": 2.0, "seconds/optimisation": 7.0}
    others = [{name: value for name, value in line.items() if not name.startswith("seconds/")} for line in lines]
    kept = [line | spent for line in others]
    (folder / "metrics.jsonl").write_text("".join(to_json(line) + "\n" for line in kept))
    page = write_report(Run(folder)).read_text()
    shown = [page.index(part) for part in ("of these: optimisation", "of these: generation", "of these: the rest")]
    assert shown == sorted(shown), "the largest first"
    assert "(70%)" in page
    assert "(20%)" in page
    assert "(10%)" in page


def test_all_text_is_escaped(folder: Path, unpacked: Unpacked) -> None:
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    rows[0] |= {"prompt": EVIL, "response": EVIL, "draft": "</script>", "error": EVIL}
    (folder / "episodes.jsonl").write_text("".join(to_json(row) + "\n" for row in rows))
    graph = (folder / "graph.yaml").read_text()
    (folder / "graph.yaml").write_text(graph.replace("Text classification", f'"{EVIL}"'))
    (folder / "graph_report.json").write_text(
        json.dumps({"proposals": [{"kind": "flip", "source": "topic", "target": "summary", "stated": "shares_structure", "proposed": EVIL, "evidence": EVIL}], "alarms": [{"update": 1, "alarm": EVIL, "of": "", "seen": EVIL, "advice": "Do this.", "part": "train", "episodes": [EVIL, "1/x"], "examples": [{"id": EVIL, "prompt": EVIL, "response": EVIL}]}]})
    )  # fmt: skip
    run = Run(folder)
    page = write_report(run).read_text()
    assert EVIL not in page
    assert "Do this." in page
    assert 'data-episode="1/x" data-part="train"' in page
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
