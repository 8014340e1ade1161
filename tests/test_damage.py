"""Run folders that were damaged or that a stranger wrote: every command works, or says in one sentence which file is wrong.

Nothing ends in a traceback, waits for a pipe, reads a device without end, or writes through a link.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import Cli

Change = Callable[[Path], object]
DEEP = "[" * 100_000 + "]" * 100_000


class Tampering(NamedTuple):
    """file: what is damaged, and what a refusal has to name. commands: those that read it."""

    name: str
    file: str
    change: Change
    commands: tuple[str, ...]


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, raw: str | bytes) -> None:
    _clear(path)
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())


def _cut(path: Path, share: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])


def _other(path: Path, make: Callable[[Path], object]) -> None:
    _clear(path)
    make(path)


NO_FILE: dict[str, Change] = {
    "gone": _clear,
    "a folder": lambda path: _other(path, Path.mkdir),
    "a pipe": lambda path: _other(path, os.mkfifo),
    "a device": lambda path: _other(path, lambda p: p.symlink_to("/dev/zero")),
    "a link to itself": lambda path: _other(path, lambda p: p.symlink_to(p.name)),
}
OF_JSON = {
    "null": "null", "a list": "[]", "an empty object": "{}", "a text": '"x"', "a number": "1", "cut": '{"a": [1,', "empty": "", "NaN": '{"status": NaN}',
    "deep": DEEP, "deep inside": f'{{"status": {DEEP}}}', "no text": b"\xff\xfe\x00", "a mark": b"\xef\xbb\xbf{}", "digits": "9" * 10_000, "infinite": '{"status": 1e999}',
}  # fmt: skip
TYPES = '{"stage": "ppo", "update": "x", "id": [], "scores": 1, "evidence": 1, "prompt": {}, "title": 1, "text": null, "task": 1, "error": 5, "reward": "x", "paid": []}\n'
OF_JSONL = {
    "empty": "", "lists": "[]\n[]\n", "numbers": "1\n2\n", "empty objects": "{}\n{}\n", "no text": b"\xff\xfe\n\0\n", "deep": f"{DEEP}\n{{}}\n",
    "deep at the end": f"{{}}\n{DEEP}\n", "types": TYPES * 2, "NaN": '{"stage": "ppo", "update": 1, "objective/scores": NaN, "graph/a>b:c": Infinity}\n',
    "a strength of 5": '{"stage": "ppo", "update": 1, "graph/well_formed>topic:prerequisite": 5}\n',
    "texts": '{"stage": "ppo", "update": 1, "graph/well_formed>topic:prerequisite": "x", "objective/kl": "x", "nodes/topic/reward": "y"}\n',
    "no update": '{"stage": "ppo"}\n', "an infinite update": '{"stage": "ppo", "update": 1e400}\n', "a huge update": f'{{"stage": "ppo", "update": {"9" * 400}}}\n',
}  # fmt: skip
OF_YAML = {
    "empty": "", "a list": "[]", "a tag": "!!python/object/apply:os.system ['exit 1']", "no text": bytes(range(100, 255)), "types": "name: 1\ngraph: {}\nedges: 5\n",
    "numbers": "edges: [1, 2]", "deep": DEEP, "NaN": "edges: [{from: well_formed, to: topic, relation: prerequisite, strength: .nan, was: .nan}]",
}  # fmt: skip


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    return lambda path: save_file(change(load_file(path)), path, {"format": "pt"})


OF_SAFETENSORS: dict[str, Change] = {
    "cut": lambda path: _cut(path, 0.5), "four bytes": lambda path: _put(path, b"abcd"), "empty": lambda path: _put(path, b""),
    "a huge header": lambda path: _put(path, (2**63 - 1).to_bytes(8, "little") + b"{}"), "pickle": lambda path: _put(path, b"\x80\x04K\x01."),
    "other shapes": _tensors(lambda all: {name: np.concatenate([value.reshape(-1)] * 2) for name, value in all.items()}),
    "other types": _tensors(lambda all: {name: np.zeros(value.shape, np.int64) for name, value in all.items()}),
    "no tensors": _tensors(lambda all: {}), "other names": _tensors(lambda all: {f"x{name}": value for name, value in all.items()}),
    "NaN": _tensors(lambda all: {name: value * np.float32("nan") if value.dtype == np.float32 else value for name, value in all.items()}),
}  # fmt: skip


def _contents(texts: dict[str, Any]) -> dict[str, Change]:
    return {name: lambda path, raw=raw: _put(path, raw) for name, raw in texts.items()}  # type: ignore[misc]


READ, ANSWER = ("report", "compare"), ("ask", "evaluate")
FILES: dict[str, tuple[dict[str, Change], tuple[str, ...]]] = {
    "manifest.json": (_contents(OF_JSON), (*READ, *ANSWER, "resume")),
    "status.json": (_contents(OF_JSON), (*READ, "resume")),
    "results.json": (_contents(OF_JSON), READ),
    "graph_report.json": (_contents(OF_JSON), READ),
    "evaluation/after.json": (_contents(OF_JSON), READ),
    "reward.json": (_contents(OF_JSON), ANSWER),
    "policy/config.json": (_contents(OF_JSON), ANSWER),
    "policy/tokenizer.json": (_contents(OF_JSON), ANSWER),
    "policy/tokenizer_config.json": (_contents(OF_JSON), ANSWER),
    "metrics.jsonl": ({**_contents(OF_JSONL), "cut": lambda path: _cut(path, 0.77)}, (*READ, "metric", "resume")),
    "episodes.jsonl": ({**_contents(OF_JSONL), "cut": lambda path: _cut(path, 0.77)}, ("report", "resume")),
    "evaluation/after.episodes.jsonl": (_contents(OF_JSONL), ("report",)),
    "contexts/test.jsonl": ({**_contents(OF_JSONL), "cut": lambda path: _cut(path, 0.77)}, ("report", *ANSWER)),
    "config.yaml": ({**_contents(OF_YAML), "cut": lambda path: _cut(path, 0.6)}, (*READ, *ANSWER, "resume")),
    "graph.yaml": ({**_contents(OF_YAML), "cut": lambda path: _cut(path, 0.6)}, (*READ, *ANSWER, "resume")),
    "strengths.yaml": ({**_contents(OF_YAML), "cut": lambda path: _cut(path, 0.6)}, ("report", "apply")),
    "reward.safetensors": (OF_SAFETENSORS, ("ask", "start")),
    "policy/model.safetensors": (OF_SAFETENSORS, ANSWER),
    ".lock": ({}, ("report", "resume")),
    "report.html": ({}, ("report",)),
}
"""File -> how its content is damaged, and the commands that read or write it."""


CHEAP = ("report", "compare", "metric", "apply")
"""Commands that load no model."""


def whole_files() -> Iterator[Tampering]:
    """Files that are gone, are no files, or say something else."""
    for file, (contents, commands) in FILES.items():
        for name, change in {**contents, **NO_FILE}.items():
            yield Tampering(f"{file} {name}", file, lambda run, c=change, f=file: c(run / f), commands)  # type: ignore[misc]


WRONG: tuple[Any, ...] = (None, "x", -1, 10**400, [], [1], {}, {"a": 1}, True)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Up to two keys of a map and the first item of a list, at every depth."""
    if place:
        yield place
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*place, key))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*place, 0))


def _set(path: Path, place: tuple[Any, ...], value: Any, lines: bool) -> None:
    content = [json.loads(line) for line in path.read_text().splitlines()] if lines else json.loads(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in content) if lines else json.dumps(content))


def wrong_values(run: Path) -> Iterator[Tampering]:
    """Each key of each JSON file, and of a line of each table: gone, or of another type."""
    number = 0
    for file, (_, commands) in FILES.items():
        lines = file.endswith(".jsonl")
        if (not file.endswith(".json") and not lines) or file.startswith("policy/") or not (run / file).is_file():
            continue
        rows = [json.loads(line) for line in (run / file).read_text().splitlines()] if lines else None
        places = (
            [(len(rows) - 1, *place) for place in _places(rows[-1])]
            if rows
            else list(_places(json.loads((run / file).read_text())))
        )
        for place in places:
            for value in (..., *WRONG):
                number += 1
                yield Tampering(
                    f"{file} {'.'.join(map(str, place))} = {str(value)[:9]}", file, lambda run, f=file, p=place, v=value, n=lines: _set(run / f, p, v, n), (commands[number % len(commands)],)
                )  # type: ignore[misc]  # fmt: skip


class Folders(NamedTuple):
    """A finished run and a stopped one, where the damaged copies go, and a file that nothing may write to."""

    finished: Path
    stopped: Path
    place: Path
    graph: Path
    victim: Path


def _arguments(command: str, run: Path, folders: Folders) -> list[str | Path]:
    place = folders.place
    return {
        "report": ["report", run],
        "compare": ["compare", run, folders.finished, "--out", place / "t.csv"],
        "metric": ["compare", run, "--metric", "objective/kl"],
        "ask": ["ask", run, "where is it from ?"],
        "evaluate": ["evaluate", run, "--task", "topic", "--out", place / "e.json"],
        "apply": ["graph", "apply", run, folders.graph, "--dry-run"],
        "resume": ["train", "--resume", run],
        "start": ["train", run / "config.yaml", "--dry-run", "--set", f"reward.start_from={run}"],
    }[command]


def complaint(tampering: Tampering, command: str, folders: Folders, run_cli: Cli) -> str | None:
    """What is wrong with how a command took a damaged folder; None where it worked, or named the file."""
    run = folders.place / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folders.stopped if command == "resume" else folders.finished, run)
    if command == "resume" and tampering.file not in ("", ".lock") and not (run / tampering.file).exists():
        return None
    tampering.change(run)
    what = f"{tampering.name}, {command}:"

    def late(*_: object) -> None:
        raise TimeoutError("it takes too long")

    was = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)  # ends a test that would wait for ever
    try:
        done = run_cli(*_arguments(command, run, folders))
    except BaseException as error:  # what a command lets through would be a traceback
        return f"{what} {type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, was)
    if folders.victim.read_text() != "precious":
        folders.victim.write_text("precious")
        return f"{what} it wrote through a link"
    if "Traceback" in done.stderr:
        return f"{what} a traceback: {done.stderr[-300:]}"
    named = (
        (Path(tampering.file).name, "/policy") if tampering.file.startswith("policy/") else (Path(tampering.file).name,)
    )
    if done.returncode and not any(name in done.stderr.replace("\n", "") for name in named):
        return f"{what} exit code {done.returncode}, and no word of {tampering.file}: {done.stderr[-300:]}"
    return None


@pytest.fixture
def folders(finished_run: Path, tmp_path: Path, root: Path) -> Folders:
    """The stopped run is the finished one before it wrote its results: what a resume checks comes before it loads anything."""
    stopped = tmp_path / "stopped"
    shutil.copytree(finished_run, stopped)
    (stopped / "status.json").write_text('{"status": "interrupted"}')
    (tmp_path / "victim").write_text("precious")
    graph = tmp_path / "goals.yaml"
    shutil.copy(root / "graphs/parcels.yaml", graph)
    return Folders(finished_run, stopped, tmp_path, graph, tmp_path / "victim")


def test_damaged_folders_are_shown_or_refused_by_name(folders: Folders, run_cli: Cli) -> None:
    """One damage of each file that a command without a model reads, each time another."""
    by_file: dict[str, list[tuple[Tampering, str]]] = {}
    for one in whole_files():
        by_file.setdefault(one.file, []).extend((one, command) for command in one.commands if command in CHEAP)
    some = [pairs[5 * place % len(pairs)] for place, pairs in enumerate(filter(None, by_file.values()), 1)]
    assert len(some) == 14
    wrong = [said for one, command in some if (said := complaint(one, command, folders, run_cli))]
    assert not wrong, "\n".join(wrong)


def test_wrong_values_are_shown_or_refused_by_name(folders: Folders, run_cli: Cli) -> None:
    cheap = [one for one in wrong_values(folders.finished) if one.commands[0] in ("compare", "metric")]
    some = cheap[:: max(1, len(cheap) // 8)]
    wrong = [said for one in some if (said := complaint(one, one.commands[0], folders, run_cli))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_tamperings_of_every_kind(folders: Folders, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """160 of the more than 800. What a resume checks before it goes on; that it goes on is tried elsewhere."""
    monkeypatch.setattr("rag_graph.runs.stages.run_stages", lambda *_: None)
    every = [(one, command) for one in (*whole_files(), *wrong_values(folders.finished)) for command in one.commands]
    assert len(every) > 800
    chosen = random.Random(0).sample(every, 160)
    wrong = [said for one, command in chosen if (said := complaint(one, command, folders, run_cli))]
    assert not wrong, "\n".join(wrong)


def test_a_report_says_what_is_damaged_and_shows_the_rest(folders: Folders, run_cli: Cli) -> None:
    run = Path(shutil.copytree(folders.finished, folders.place / "run"))
    (run / "results.json").write_text("[]")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if '"update": 3' not in line))
    done = run_cli("report", run)
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text()
    assert "This run folder is damaged. The page shows what is whole." in page
    assert f"{run / 'results.json'}: input should be a valid dictionary" in page
    assert f"{run / 'metrics.jsonl'}: has no line of update 3" in page
    assert "No results yet" in page
    assert "Score of each node, as observed" in page


@pytest.mark.parametrize("name", ["config.yaml", "graph.yaml"])
def test_an_edited_config_or_graph_does_not_go_on_by_itself(folders: Folders, run_cli: Cli, name: str) -> None:
    run = folders.stopped
    text = (run / name).read_text()
    changed = text.replace("seed: 0", "seed: 1", 1) if name == "config.yaml" else f"{text}# a remark\n"
    assert changed != text
    (run / name).write_text(changed)
    done = run_cli("train", "--resume", run)
    assert done.returncode == 1
    assert f"{name} changed since the run began" in done.stderr.replace("\n", " ")
    assert f"--accept-changed {name}" in done.stderr


def test_nothing_is_written_through_a_link(folders: Folders, run_cli: Cli) -> None:
    for name in ("report.html", ".lock", "metrics.jsonl", "status.json", "episodes.jsonl"):
        run = folders.place / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(folders.stopped, run)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(folders.victim)
        run_cli(*(["report", run] if name == "report.html" else ["train", "--resume", run]))
        assert folders.victim.read_text() == "precious", name
    # The folder itself may be a link.
    (folders.place / "link").symlink_to(folders.finished)
    assert run_cli("report", folders.place / "link", "--out", folders.place / "page.html").returncode == 0


def test_a_run_that_was_killed_before_its_figures_gets_them(folders: Folders, run_cli: Cli) -> None:
    run = Path(shutil.copytree(folders.finished, folders.place / "run"))
    (run / "checkpoint-6").mkdir()
    done = run_cli("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "mean task score" in done.stdout
    assert {"curves.png", "diagnostics.png", "report.html"} <= {path.name for path in run.iterdir()}
    assert not (run / "checkpoint-6").exists()
    again = run_cli("train", "--resume", run)
    assert again.returncode == 1
    assert "has finished" in again.stderr
