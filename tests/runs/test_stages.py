"""What the stages of a run leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph import AuxiliaryGraph, Run, load_config, load_graph
from rag_graph.data.load import load_data
from rag_graph.errors import DataError
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.stages import run_stages


def test_results_agree_with_the_files_of_each_evaluation(finished_run: Path) -> None:
    results = Run(finished_run).results
    assert results is not None
    for part in ("before", "after"):
        written = json.loads((finished_run / f"evaluation/{part}.json").read_text())
        assert {name: written[name] for name in results[part]} == results[part]
    assert list(results["seconds"]) == ["sft", "evaluation_before", "ppo", "evaluation_after"]
    assert all(seconds > 0 for seconds in results["seconds"].values())
    assert results["without_retrieval"] is None
    assert results["peak_memory_bytes"] > 10**8


def test_what_prompts_left_out_is_in_every_update_and_evaluation(finished_run: Path) -> None:
    run = Run(finished_run)
    assert run.results is not None
    for part in ("before", "after"):
        assert run.results[part]["shown"] == {"without_evidence": 0.0, "cut_evidence": 0.0, "cut_prompts": 0.0}
    for name in ("retrieval/without_evidence", "retrieval/cut_evidence", "prompts/cut"):
        assert (run.metrics()[name].dropna() == 0.0).all()


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize(("observed", "rule", "warned"), [(1.0, False, True), (0.5, False, False), (1.0, True, False)])
def test_a_graph_that_can_have_no_effect_is_said_before_the_data_are_read(
    make_graph: Callable[..., AuxiliaryGraph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    observed: float,
    rule: bool,
    warned: bool,
) -> None:
    said: list[str] = []

    class Heard(StageProgress):
        def say(self, text: str) -> None:
            said.append(text)

    def stop(*_: object, **__: object) -> None:
        raise _StoppedError

    monkeypatch.setattr("rag_graph.runs.stages.load_data", stop)
    config = load_config(None, ["graph=g", f"reward.goal_observed={observed}", "reward.reserved=0.05"])
    graph = make_graph([("c0", "t", "bounds"), *([("c0", "t", "prerequisite")] if rule else [])])
    with pytest.raises(_StoppedError):
        run_stages(config, graph, tmp_path, Heard(quiet=True), [], OwnParts({}, None, None))
    warnings = [text for text in said if text.startswith("warning: ")]
    assert len(warnings) == warned
    if warned:
        assert warnings[0] == (
            "warning: this graph can have no effect, except on the 5% of the examples that are reserved: every goal is observed "
            "(reward.goal_observed: 1), and 'g' has no rule."
        )


UNLABELLED = """\
format: 1
name: g
tasks:
  t:
    kind: extraction
    goal: 1
    dataset: {path: train.jsonl, test: test.jsonl}
    fields: {input: text, reference: answer}
    metrics: {exact_match: 1}
    prompt: "{input} ?"
"""


@pytest.mark.parametrize(
    ("train", "test", "steps", "message"),
    [
        ([None] * 4, ["x"], 2, "no training example has a reference that may be shown, so the supervised warm-up has no demonstration"),
        ([None] * 4, ["x"], 0, ""),
        (["x", None, "y", None], [None], 2, "no held-out example has a reference"),
        (["x", None, "y", None], [None, "x"], 2, ""),
    ],
)  # fmt: skip
def test_missing_references_are_said_before_anything_is_trained(
    tmp_path: Path,
    train: list[str | None],
    test: list[str | None],
    steps: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, answers in (("train", train), ("test", test)):
        rows = [{"text": f"text {n}", "answer": answer} for n, answer in enumerate(answers)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "g.yaml").write_text(UNLABELLED)
    said: list[str] = []

    class Heard(StageProgress):
        def say(self, text: str) -> None:
            said.append(text)

    def stop(*_: object, **__: object) -> None:
        raise _StoppedError

    monkeypatch.setattr("rag_graph.runs.stages.warm_up", stop)
    sizes = ["ppo.batch_size=4", "ppo.num_mini_batches=1", f"sft.steps={steps}", "model.scratch.vocab_size=300"]
    config = load_config(None, [f"graph={tmp_path / 'g.yaml'}", "retrieval.method=none", *sizes])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError if message else _StoppedError, match=message or "^$"):
        run_stages(
            config, load_graph(tmp_path / "g.yaml"), tmp_path / "out", Heard(quiet=True), [], OwnParts({}, None, None)
        )
    told = [text for text in said if text.startswith("task 't': ")]
    assert told == load_data(load_graph(tmp_path / "g.yaml"), config.data, 0).notes
    assert f"{train.count(None)} of 4 training examples" in told[0]
