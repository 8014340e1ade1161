"""`rag-graph train`: a whole run as a process, what it leaves, and Ctrl-C."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Cli = Callable[..., CompletedProcess[str]]


def test_dry_run_prints_and_writes_nothing(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    done = run_cli(
        "train", root / "experiments/quickstart/config.yaml", "--dry-run", "--set", "ppo.updates=7", cwd=tmp_path
    )
    assert done.returncode == 0
    assert "updates: 7" in done.stdout
    assert "7 PPO updates of" in done.stdout
    assert not list(tmp_path.iterdir())


def test_dry_run_says_on_which_share_goals_are_observed(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    """`observe` of a task is in place of reward.goal_observed."""
    graph = tmp_path / "g.yaml"
    lines = (root / "graphs/parcels.yaml").read_text()
    assert "    goal: " in lines
    graph.write_text(lines.replace("    goal: ", "    observe: 0.25\n    cost: 1.0\n    goal: "))
    config = root / "experiments/quickstart/config.yaml"
    said = run_cli("train", config, "--dry-run", "--set", f"graph={graph}", cwd=tmp_path).stdout
    assert "episodes, 25% with an observed goal" in said
    limited = ("--set", "reward.budget.per_update=5")
    said = run_cli("train", config, "--dry-run", "--set", f"graph={graph}", *limited, cwd=tmp_path).stdout
    assert "episodes, at most 25% with an observed goal" in said


def test_dry_run_refuses_a_limit_on_nothing(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    config = root / "experiments/quickstart/config.yaml"
    limited = run_cli("train", config, "--dry-run", "--set", "reward.budget.per_update=5", cwd=tmp_path)
    assert limited.returncode == 2
    assert (
        "reward.budget.per_update is 5 cost, and no node has a price. Write `cost` at a node of the graph"
        in limited.stderr
    )


def test_dry_run_warns_of_a_graph_without_effect(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    config, graph = root / "experiments/quickstart/config.yaml", tmp_path / "g.yaml"
    parcels = (root / "graphs/parcels.yaml").read_text().splitlines(keepends=True)
    graph.write_text("".join(line for line in parcels if "prerequisite" not in line))
    facts = ("train", config, "--dry-run", "--set", f"graph={graph}", "--set")
    assert (
        "# warning: this graph can have no effect" in run_cli(*facts, "reward.goal_observed=1.0", cwd=tmp_path).stdout
    )
    assert "# warning" not in run_cli(*facts, "reward.goal_observed=0.3", cwd=tmp_path).stdout


def test_dry_run_says_which_keys_a_run_needs(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    graph = tmp_path / "g.yaml"
    graph.write_text("format: 1\nname: g\ntasks:\n  a: {goal: 1}\n  b: {kind: generation}\n")
    config = root / "experiments/quickstart/config.yaml"
    for arguments in (["--dry-run"], ["--set", f"output_dir={tmp_path}/run"]):
        done = run_cli("train", config, "--set", f"graph={graph}", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "g.yaml:4:3: tasks.a: a run needs kind, dataset, fields, metrics and prompt" in done.stderr
        assert "g.yaml:5:3: tasks.b: a run needs dataset, fields, metrics and prompt" in done.stderr
        assert list(tmp_path.iterdir()) == [graph]


SCORED = """
format: 1
name: g
tasks:
  a:
    kind: generation
    goal: 1
    dataset: {path: a.jsonl, test: a.jsonl}
    fields: {input: text, reference: answer}
    prompt: "{input}"
criteria: {form: {}}
"""


def test_what_scores_each_node_is_known_before_a_run_begins(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(SCORED)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "answer": "b"}\n' * 70)
    (tmp_path / "mine.py").write_text("def half(episode):\n    return 0.5\n")
    config = tmp_path / "config.yaml"
    config.write_text("name: g\ngraph: g.yaml\nmodel: {source: scratch}\nscorers: {a: mine:half, form: mine:half}\n")
    done = run_cli("train", config, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "# scorer of a: half#" in done.stdout
    before = sorted(tmp_path.iterdir())
    for scorers, option, message in (
        ("{a: mine:half}", (), "nothing scores 'form'"),
        ("{a: mine:half}", ("--dry-run",), "nothing scores 'form'"),
        ("{a: mine:half, fromm: mine:half}", ("--dry-run",), "a scorer for 'fromm', which graph 'g' lacks. Did you"),
    ):
        config.write_text(f"name: g\ngraph: g.yaml\nmodel: {{source: scratch}}\nscorers: {scorers}\n")
        done = run_cli("train", config, *option, cwd=tmp_path)
        assert done.returncode != 0
        assert message in done.stderr
        assert "To go on" not in done.stderr
        assert sorted(tmp_path.iterdir()) == before


def test_dry_run_looks_at_the_model_of_a_folder(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config().save_pretrained(tmp_path)
    config = root / "experiments/quickstart/config.yaml"
    done = run_cli("train", config, "--set", f"model.source={tmp_path}", "--dry-run", cwd=tmp_path)
    assert done.returncode != 0
    assert "encoder-decoder model" in done.stderr


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
    assert all(episode["task"] not in episode["scores"] for episode in reserved)
    asked_for = yaml.safe_load((finished / "config.yaml").read_text())["reward"]
    known = asked_for["reserved"] + (1 - asked_for["reserved"]) * asked_for["goal_observed"]
    assert {episode["goal_probability"] for episode in episodes} == {known}, "shown to the reward, or reserved"


def test_ctrl_c_says_so_and_keeps_what_was_written(
    run_cli: Cli, rag_graph_script: str, root: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    import signal

    # A warm-up without an end: the run cannot finish before the interrupt, however slow the machine is.
    settings = [*small, "sft.steps=1000000", f"output_dir={tmp_path / 'r'}"]
    command = [rag_graph_script, "train", str(root / "experiments/quickstart/config.yaml")]
    command += [part for one in settings for part in ("--set", one)]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A job started in the background of a script ignores the interrupt, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not (tmp_path / "r/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.2)  # the time limit of the test ends a run that never begins
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 1
    assert (
        f"interrupted. What was written so far stays. To go on: rag-graph train --resume {tmp_path / 'r'}\n" in errors
    )
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "r/status.json").read_text())["status"] == "interrupted"
    assert all(json.loads(line) for line in (tmp_path / "r/metrics.jsonl").read_text().splitlines())
    unfinished = run_cli("ask", tmp_path / "r", "x")
    assert unfinished.returncode == 1
    assert "this run has no policy yet" in unfinished.stderr


def test_train_takes_a_config_or_a_run(run_cli: Cli) -> None:
    for arguments, message in (
        (["train"], "give a CONFIG to start a run, or --resume RUN to resume one"),
        (["train", "a.yaml", "--resume", "runs/x"], "give a CONFIG to start a run, or --resume RUN"),
        (["train", "--resume", "runs/x", "--set", "seed=1"], "--set and --dry-run do not apply"),
        (["train", "a.yaml", "--accept-changed", "polite"], "--accept-changed and --code are for --resume"),
    ):
        done = run_cli(*arguments)
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())
