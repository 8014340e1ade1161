"""`Run`: a run folder read as a researcher reads it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rag_graph import Run
from rag_graph.errors import ConfigError, DataError, ModelError, RagGraphError


def test_metrics_and_episodes_are_tables(finished_run: Path) -> None:
    run = Run(finished_run)
    metrics = run.metrics()
    assert list(metrics.index) == [1, 2, 3, 4, 5, 6]
    assert {"objective/scores", "objective/kl", "reward/utility", "nodes/topic/gated", "nodes/topic/weight"} <= set(
        metrics
    )
    assert len(run.metrics("sft")) == 1
    assert run.metrics("retriever").empty
    episodes = run.episodes()
    assert len(episodes) == 6 * 8
    assert {"prompt", "draft", "evidence", "response", "scores", "paid", "imputed", "gates", "reward"} <= set(episodes)
    assert len(run.episodes("after")) == 8 * 4
    with pytest.raises(DataError, match="no episodes 'later'. There are so far: train, after, before"):
        run.episodes("later")


def test_what_nodes_paid_adds_up_to_the_reward(finished_run: Path) -> None:
    for episode in Run(finished_run).episode_records():
        if episode["reward"] is not None:
            assert sum(episode["paid"].values()) == pytest.approx(episode["reward"], abs=1e-3)
            assert set(episode["paid"]) <= set(episode["scores"]) | set(episode["imputed"])
            assert not set(episode["scores"]) & set(episode["imputed"])


def test_the_graph_at_any_update(finished_run: Path) -> None:
    run = Run(finished_run)
    stated = run.graph(0)
    assert stated == run.stated_graph
    last, learned = run.graph(6), run.graph()
    assert [round(e.strength, 3) for e in last.spec.edges] == [round(e.strength, 3) for e in learned.spec.edges]
    record = run.records()[3]
    at = {(e.source, e.target): e.strength for e in run.graph(4).spec.edges}
    assert at["well_formed", "topic"] == pytest.approx(record["graph/well_formed>topic:bounds"])
    with pytest.raises(DataError, match="no update 7; there are 0 .the file. to 6"):
        run.graph(7)


def test_asking(finished_run: Path) -> None:
    run = Run(finished_run)
    answer = run.ask("where is it from ?", input="anna bought a red kettle .")
    assert answer.episode.example.task == "question"
    assert len(answer.evidence) == 2
    assert answer.text == str(answer) == answer.episode.response
    assert set(answer.paid) == set(answer.scores)
    assert answer.reward is not None
    assert sum(answer.paid.values()) == pytest.approx(answer.reward, abs=1e-4)
    assert torch.equal(
        run.ask("where is it from ?", input="anna bought a red kettle .").rewards.values, answer.rewards.values
    )
    with pytest.raises(ConfigError, match="task topik: no such task in this run. Did you mean 'topic'"):
        run.ask("x", task="topik")


def test_what_is_not_there_is_said(tmp_path: Path, finished_run: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        Run(tmp_path / "nothing")
    half = tmp_path / "half"
    shutil.copytree(
        finished_run,
        half,
        ignore=shutil.ignore_patterns("results.json", "graph_report.json", "strengths.yaml", "policy"),
    )
    (half / "status.json").write_text(json.dumps({"status": "running"}))
    run = Run(half)
    assert run.results is None
    assert run.graph_report == {"proposals": [], "alarms": []}
    assert run.graph() == run.graph(6)
    assert repr(run) == f"Run({str(half)!r}, running)"
    with pytest.raises(DataError, match="no policy yet"):
        run.ask("x")


def test_opening_loads_no_torch(finished_run: Path) -> None:
    code = f"import sys; from rag_graph import Run; run = Run({str(finished_run)!r}); run.gain, run.graph(), run.metrics(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_gain_is_that_of_the_results(finished_run: Path, tmp_path: Path) -> None:
    run = Run(finished_run)
    assert run.results is not None
    assert run.gain is not None
    assert run.gain._asdict() == run.results["gain"]
    before, after = (run.results[part]["mean_task_score"]["mean"] for part in ("before", "after"))
    assert run.gain.mean == pytest.approx(after - before, abs=1e-9)
    half = tmp_path / "half"
    shutil.copytree(finished_run, half, ignore=shutil.ignore_patterns("results.json", "policy"))
    assert Run(half).gain is None


def test_evaluating(finished_run: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished_run, tmp_path / "run"))
    found = run.evaluate()
    stored = json.loads((run.path / "evaluation/after.json").read_text())
    assert found.path == run.path / "evaluation/test-1.json"
    written = json.loads(found.path.read_text())
    assert {name: written[name] for name in stored} == stored, "the saved policy is the one that was measured"
    assert found.mean_task_score._asdict() == stored["mean_task_score"]
    assert (written["data"], written["with_retrieval"]) == ("held-out part", True)
    rows = [{"input": "ben chose a blue rake .", "reference": "garden"}, {"input": "x", "reference": "office"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = run.evaluate(
        tmp_path / "rows.jsonl",
        "topic",
        scorers={"topic": lambda episode: float(episode.example.references[0] == "office")},
        retrieval=False,
    )
    assert mine.path == run.path / "evaluation/rows-topic-no_retrieval-1.json"
    assert mine.task_scores == {"topic": [0.0, 1.0]}
    assert [episode.example.inputs["input"] for episode in mine.episodes] == [row["input"] for row in rows]
    assert run.evaluate(task="topic", out=tmp_path / "out.json").path == tmp_path / "out.json"
    assert {result.task for result in run.evaluate(task="topic").results} == {"topic"}
    with pytest.raises(ConfigError, match=r"data \(--data\) needs a task"):
        run.evaluate(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match="task topik: no such task in this run. Did you mean 'topic'"):
        run.evaluate(task="topik")


def test_an_evaluation_is_not_written_through_a_link(finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(run / "evaluation")
    (tmp_path / "elsewhere").mkdir()
    (run / "evaluation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="evaluation: a link, and a run writes only to files of its own folder"):
        Run(run).evaluate()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_data_that_have_changed_stop_an_evaluation_and_no_question(finished_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["topic/train"] = "other"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run = Run(folder)
    with pytest.raises(
        DataError,
        match=r"changed since the run began: topic/train \(their hashes are in manifest.json\)\. Restore them, or evaluate on a file",
    ):
        run.evaluate()
    assert run.ask("where is it from ?", input="anna bought a red kettle .").evidence


def test_code_in_a_run_folder_runs_only_where_the_user_allows_it(finished_run: Path, tmp_path: Path) -> None:
    """The folder's own config does not allow it, whatever it says: the folder may be anybody's."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "policy/evil.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nfrom transformers import LlamaConfig\nclass C(LlamaConfig):\n    pass\n"
    )
    policy = json.loads((run / "policy/config.json").read_text())
    (run / "policy/config.json").write_text(
        json.dumps({**policy, "model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}})
    )
    with pytest.raises(ModelError, match="comes with Python code of its own, which would run here"):
        Run(run).ask("where is it?")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("trust_remote_code: false", "trust_remote_code: true"))
    with pytest.raises(
        DataError, match="asks to run the Python code that came with its model .* give --trust-remote-code"
    ):
        Run(run).ask("where is it?")
    assert not (tmp_path / "ran").exists()
    with contextlib.suppress(RagGraphError):  # whether such a model can be used is another question
        Run(run, trust_remote_code=True).ask("where is it?")
    assert (tmp_path / "ran").exists(), "this test looks at the wrong place"
