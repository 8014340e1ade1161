"""Nothing that somebody wrote is markup, or steers the terminal."""

from __future__ import annotations

import ast
import io
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from rag_graph.cli.app import main
from rag_graph.graph import load_graph
from rag_graph.graph.picture import relation_table, task_tree
from rag_graph.runs.progress import StageProgress
from rag_graph.terminal import Terminal, echo, styled
from tests.conftest import Cli

PLANTED = "[/red] [bold :smile: [link=http://x]y \x1b[31mRED\x07 \u202e"
SHOWN = "[/red] [bold :smile: [link=http://x]y \\x1b[31mRED\\x07 \\u202e"


def test_every_place_of_a_text_shows_it_as_it_is() -> None:
    console = Terminal(file=io.StringIO(), width=200)
    table = Table(PLANTED, title=PLANTED, caption=PLANTED)
    table.add_row(PLANTED)
    tree = Tree(PLANTED)
    tree.add(PLANTED)
    for one in (PLANTED, table, tree, styled(PLANTED, (PLANTED, "bold"))):
        console.print(one)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count(SHOWN) == 1 + 4 + 2 + 2
    assert "\x1b" not in said


def test_what_is_styled_is_styled_by_us() -> None:
    console = Terminal(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    console.print(styled(("judge", "bold"), f" {PLANTED}"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith("\x1b[1mjudge\x1b[0m [/red]")
    assert said.count("\x1b") == 2


def test_lines_are_not_broken_and_echo_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console = Terminal(file=io.StringIO(), width=20)
    console.print("word " * 20)
    assert console.file.getvalue() == "word " * 20 + "\n"  # type: ignore[attr-defined]
    echo(PLANTED)
    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_a_command_shows_a_warning_as_one_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["rag-graph", "--version"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            main()
        warnings.warn(PLANTED, stacklevel=1)
    assert capsys.readouterr().err == f"warning: {SHOWN}\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_takes_any_name_and_any_message(terminal: bool) -> None:
    console = Terminal(file=io.StringIO(), width=400, force_terminal=terminal, color_system=None)
    with StageProgress(console) as shown:
        shown.stage(PLANTED, 2)
        shown.waiting(PLANTED, 1, 2)
        shown.say(PLANTED)
        shown.advance(2)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert SHOWN in said
    assert "\x07" not in said


def test_a_graph_shows_titles_with_markup(write_graph: Callable[..., Path], run_cli: Cli) -> None:
    title = "[/red] [bold :smile:"
    path = write_graph(
        f'format: 1\nname: g\ntitle: "{title}"\ntasks:\n  a: {{goal: 1, title: "{title}"}}\ncriteria:\n  c: {{title: "{title}"}}\n'
        "edges: [{source: c, target: a, relation: supports}]\n"
    )
    done = run_cli("graph", "show", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(title) == 2
    console = Console(file=io.StringIO(), width=100)
    for one in (task_tree(load_graph(path)), relation_table(load_graph(path))):
        console.print(one)  # whatever console shows it
    assert console.file.getvalue().count(title) == 2  # type: ignore[attr-defined]


def test_commands_on_a_run_show_planted_texts(run_cli: Cli, finished_run: Path, tmp_path: Path) -> None:
    asked = run_cli("ask", finished_run, PLANTED, "--task", "topic")
    assert asked.returncode == 0, asked.stderr
    rows = tmp_path / "[bold] rows [red].jsonl"
    rows.write_text(json.dumps({"text": PLANTED, "label": PLANTED}) + "\n")
    refused = run_cli("evaluate", finished_run, "--task", "topic", "--data", rows)
    assert refused.returncode == 1
    assert "[bold] rows [red].jsonl" in refused.stderr
    gone = run_cli("report", tmp_path / f"gone {PLANTED}".replace("//", ""))
    assert f"gone {SHOWN}".replace("//", "") in gone.stderr
    assert "\x1b" not in asked.stdout + asked.stderr + refused.stderr + gone.stderr


def test_nothing_prints_past_the_terminal(root: Path) -> None:
    """`Console(`, `print(`, `typer.echo`, `from_markup`, rich.console and rich.markup stand nowhere else."""
    past = []
    for path in (root / "rag_graph").rglob("*.py"):
        if path.name == "terminal.py" or "starter" in path.parts:  # the starter's files are the user's
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.markup", "rich.console"):
                past.append(f"{path.name}: from {node.module}")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("Console", "print", "typer.echo", "typer.secho") or called.endswith("from_markup"):
                    past.append(f"{path.name}: {called}")
                columns = called == "TextColumn" and not any(k.arg == "markup" for k in node.keywords)
                past += [f"{path.name}: TextColumn without markup=False"] if columns else []
    assert past == []
