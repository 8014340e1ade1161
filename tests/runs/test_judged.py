"""A run whose goal a judge scores: against a server on this machine that does what servers do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run
from rag_graph.errors import ConfigError, TrainingError
from rag_graph.report.html import write_report
from rag_graph.report.summary import summary_tables
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.train import resume, train

GRAPH = """
format: 1
name: judged
tasks:
  reply:
    kind: generation
    goal: 1.0
    dataset: {path: rows.jsonl, test: test.jsonl}
    fields: {input: text}
    prompt: "{input} reply ?"
    metrics: {judge: 1.0}
    args: {question: "Does it help?"}
criteria:
  kind: {metric: judge, args: {question: "Is it kind?", scale: [0, 10]}}
  form: {metric: format}
edges:
  - {from: kind, to: reply, relation: supports, strength: 0.3}
"""
CONFIG = """
name: judged
graph: goals.yaml
device: cpu
model:
  max_new_tokens: 4
  scratch: {vocab_size: 300, hidden_size: 32, num_heads: 2, num_layers: 1, intermediate_size: 32}
retrieval: {method: none}
sft: {steps: 0}
ppo: {updates: 3, batch_size: 4, num_mini_batches: 1, checkpoint_every: 1}
reward: {goal_observed: 1.0, reserved: 0.0}
judges:
  careful: {model: m, base_url: URL, retries: 0, timeout: 5.0, price_in: 1.0, price_out: 10.0}
"""


@pytest.fixture
def config(tmp_path: Path, judge_server: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of a run of seconds; its judge marks each answer with 4."""
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    folder = tmp_path / "config"
    folder.mkdir()
    for name, count in (("rows", 8), ("test", 4)):
        rows = (json.dumps({"text": f"my parcel number {name} {n} is lost"}) + "\n" for n in range(count))
        (folder / f"{name}.jsonl").write_text("".join(rows))
    (folder / "goals.yaml").write_text(GRAPH)
    (folder / "config.yaml").write_text(CONFIG.replace("URL", judge_server.url))
    return folder / "config.yaml"


@pytest.fixture
def run_of(config: Path, tmp_path: Path) -> Callable[..., Run]:
    def make(*overrides: str) -> Run:
        return train(config, [f"output_dir={tmp_path / 'run'}", *overrides], progress=StageProgress(quiet=True))

    return make


def test_a_run_knows_what_its_judge_cost(
    run_of: Callable[..., Run], judge_server: Any, run_cli: Any, tmp_path: Path
) -> None:
    judge_server.behave = lambda number, prompt: '{"reason": "\\u001b[31mSo [red]it[/red] <b>is</b>.", "mark": 4}'
    run = run_of()
    metrics, episodes = run.metrics(), run.episodes()
    assert metrics["nodes/reply/score"].tolist() == pytest.approx([0.75] * 3)
    assert metrics["nodes/kind/score"].tolist() == pytest.approx([0.4] * 3)
    costs = run.judge_costs()
    asked = len(judge_server.prompts)
    assert costs["judge/requests"] == costs["nodes/kind/requests"] + costs["nodes/reply/requests"] == asked
    assert costs["judge/tokens_in"] == 100 * asked
    assert costs["judge/cost"] == pytest.approx((100 * 1.0 + 10 * 10.0) / 1e6 * asked)
    scores = 2 * (3 * 4 + 8 + 2 * 4)  # nodes times: updates, calibration (all rows), evaluations
    assert costs["judge/requests"] + costs["judge/cached"] == scores
    assert costs["judge/failed"] == 0
    first = episodes.iloc[0]
    assert set(first["asked"]) == {"reply", "kind"}
    assert first["rationales"]["reply"] == "So [red]it[/red] <b>is</b>."
    assert run.results is not None
    assert run.results["after"]["task_scores"] == {"reply": 0.75}
    assert [(r["metric"], r["n"]) for r in run.results["after"]["results"]] == [("judge", 4)]
    answer = Run(run.path).ask("my parcel is lost")
    assert answer.scores["reply"] == pytest.approx(0.75)
    assert answer.episode.rationales["reply"].startswith("So [red]")
    assert Run(run.path).evaluate().task_scores == {"reply": [0.75] * 4}
    shown = run_cli("ask", run.path, "my parcel is lost").stdout
    assert "reply: So [red]it[/red] <b>is</b>." in shown
    assert "\x1b" not in shown
    out = run_cli("evaluate", run.path).stdout
    assert "judges: 0 requests, 8 scores known" in out
    page = write_report(run).read_text()
    assert '<table id="judges">' in page
    assert "<b>is</b>" not in page
    assert any("Judges, over the whole run" in str(table.title) for table in summary_tables(run))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"very-secret" in path.read_bytes()]
    assert not [
        path for path in run.path.rglob("*.json*") if b"\\u001b" in path.read_bytes() or b"\x1b" in path.read_bytes()
    ]


def test_failures_are_missing_scores_by_kind_and_the_run_goes_on(run_of: Callable[..., Run], judge_server: Any) -> None:
    kinds = [
        ("status", 429),
        ("status", 500),
        "nonsense",
        "99",
        "",
        "I'm sorry, I cannot.",
        ("half", b"{"),
        ("body", b"{"),
    ]
    judge_server.behave = lambda number, prompt: kinds[number % 8] if "kind?" in prompt else '{"mark": 4}'
    run = run_of("reward.max_bad_episodes=1.0")
    costs = run.judge_costs()
    by_kind = {key.removeprefix("judge/failed/"): n for key, n in costs.items() if key.startswith("judge/failed/")}
    assert set(by_kind) <= {"rate_limit", "server_error", "unreadable", "out_of_scale", "empty", "refusal"}
    assert costs["judge/failed"] == sum(by_kind.values()) == costs["nodes/kind/requests"] > 0
    assert "nodes/kind/score" not in run.metrics()
    assert run.metrics()["nodes/kind/failed"].tolist() == [1.0] * 3
    for episode in run.episode_records():
        assert "kind" not in episode["scores"]  # missing, not 0
        assert episode["scores"]["reply"] == 0.75
        assert "kind" in episode["failed"]


def test_too_many_failures_stop_the_run_and_it_resumes_without_asking_twice(
    run_of: Callable[..., Run], judge_server: Any, tmp_path: Path
) -> None:
    down = {"from": 10**6}
    judge_server.behave = lambda number, prompt: ("status", 503) if number >= down["from"] else '{"mark": 4}'
    told = StageProgress(quiet=True)

    def advance(steps: int = 1, **numbers: float) -> None:
        if "kl" in numbers:  # after the first update the server goes down
            down["from"] = len(judge_server.prompts)

    told.advance = advance  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"server_error: HTTP 503: not now"):
        train(tmp_path / "config/config.yaml", [f"output_dir={tmp_path / 'run'}"], progress=told)
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "failed"
    known = set(judge_server.prompts[: down["from"]])
    before = len(judge_server.prompts)
    down["from"] = 10**6
    run = resume(tmp_path / "run", progress=StageProgress(quiet=True))
    assert run.status["status"] == "finished"
    assert len(run.records()) == 3
    assert not known & set(judge_server.prompts[before:])


def test_a_final_evaluation_without_a_judge_does_not_lose_the_run(
    run_of: Callable[..., Run], judge_server: Any, run_cli: Any
) -> None:
    def behave(number: int, prompt: str) -> Any:
        return ("sleep", 30, "") if "number test" in prompt and "help?" in prompt else '{"mark": 4}'

    judge_server.behave = behave
    run = run_of("judges.careful.timeout=0.2")
    assert run.status["status"] == "finished"
    assert run.results is not None
    assert run.results["after"]["missing"] == {"reply": 4}
    assert run.results["after"]["task_scores"] == {}
    assert run.gain is None
    assert len(summary_tables(run)) >= 3
    assert "without a score" in write_report(run).read_text()
    assert "no example" not in repr(run) + run._repr_html_()


def test_what_is_wrong_is_said_before_anything_is_loaded(config: Path, run_cli: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="node 'reply' asks a judge .* Name one in the config under `judges`"):
        train(config, ["judges={}"])
    config.parent.joinpath("mine.txt").write_text("{answer} {scale}")
    with pytest.raises(ConfigError, match=r"judges.careful.template: it lacks \{question\}"):
        train(config, ["judges.careful.template=mine.txt"])
    for arguments in (["--set", "judges={}"], ["--set", "judges.careful.template=none.txt"]):
        done = run_cli("train", config, "--dry-run", *arguments)
        assert done.returncode == 2
        assert "judge" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_shows_the_template_and_a_request(config: Path, run_cli: Any, judge_server: Any) -> None:
    import yaml

    config.parent.joinpath("mine.txt").write_text("Mine.\n{prompt}\n{answer}\n{question}\n{scale}\n")
    done = run_cli("train", config, "--dry-run", "--set", "judges.careful.template=mine.txt")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["judges"]["careful"]["template"].startswith("Mine.")
    assert "# node kind asks OpenAIJudge('careful', model 'm', http://127.0.0.1" in done.stdout
    assert "#   {answer}" in done.stdout
    assert "BEGINS]\n#   (input of an example) reply ?\n" in done.stdout
    assert "#   Question: Does it help?" in done.stdout
    assert judge_server.prompts == []
    assert "very-secret" not in done.stdout + done.stderr
