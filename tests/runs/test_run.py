"""`Run`: a run folder read as a researcher reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from rag_graph import Run
from rag_graph.errors import ConfigError, DataError


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
    assert at["well_formed", "topic"] == pytest.approx(record["graph/well_formed>topic:prerequisite"])
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
