"""The workbench: one model object through warm-up and PPO, one wiring for training and for what follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag_graph.config import LoraSettings, load_config
from rag_graph.data.load import load_data
from rag_graph.data.prompts import render_prompt
from rag_graph.errors import ConfigError
from rag_graph.evaluation.functions import Scorer
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.generation.adapters import merged, with_adapter
from rag_graph.generation.language_model import lora_config
from rag_graph.graph import load_graph
from rag_graph.rag.pipeline import Prepared
from rag_graph.records import Episode, Example
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.workbench import Workbench, _corpus

Make = Callable[..., Workbench]


@pytest.fixture
def make(root: Path, small: tuple[str, ...]) -> Make:
    def bench(*overrides: str, scorers: Mapping[str, Scorer] | None = None) -> Workbench:
        config = load_config(root / "experiments/quickstart/config.yaml", [*small, *overrides])
        graph = load_graph(config.graph)
        torch.manual_seed(0)
        return Workbench(config, graph, OwnParts(scorers or {}), load_data(graph, config.data, config.seed))

    return bench


def test_a_node_that_nothing_scores_stops_a_run_before_its_model_is_made(
    root: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rag_graph.runs.workbench as module

    def no_model(*_: object) -> None:
        raise RuntimeError("the model is made")

    shutil.copy(root / "graphs/parcels.yaml", tmp_path)
    (tmp_path / "g.yaml").write_text(
        "format: 1\nname: g\ninclude: [parcels.yaml]\ncriteria:\n  polite: {title: Polite, metric: external}\n"
        "edges:\n  - {from: polite, to: summary, relation: supports, strength: 0.5}\n"
    )
    graph = load_graph(tmp_path / "g.yaml")
    monkeypatch.setattr(module, "_language_model", no_model)
    config = load_config(root / "experiments/quickstart/config.yaml", list(small))
    data = load_data(graph, config.data, config.seed)
    with pytest.raises(ConfigError, match=r"graph 'g': nothing scores 'polite' \(metric: external\)"):
        Workbench(config, graph, OwnParts(), data)
    for scorer in (lambda completions, **columns: [1.0] * len(completions), None):
        with pytest.raises(RuntimeError, match="the model is made"):
            Workbench(config, graph, OwnParts({"polite": scorer}), data)


def disturb(model: torch.nn.Module) -> None:
    """Give every adapter weight a value that shows in the logits."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def logits(bench: Workbench) -> torch.Tensor:
    found: torch.Tensor = bench.model.eval()(input_ids=torch.arange(5, 15)[None]).logits
    return found


def test_an_adapter_is_put_into_the_same_model_and_folded_into_it(make: Make, tmp_path: Path) -> None:
    """So that the pipeline, the retriever's training and the writer, made before, always ask the current policy."""
    bench = make("model.lora={r: 4}")
    model, before = bench.model, logits(bench)
    adapted = with_adapter(model, lora_config(LoraSettings(r=4)))
    disturb(adapted)
    trained = logits(bench)
    assert (trained - before).abs().max() > 1e-2
    assert merged(adapted) is model
    assert torch.allclose(logits(bench), trained, atol=1e-4)
    assert not any("lora_" in name for name, _ in model.named_parameters())
    trainer = bench.trainer(tmp_path, [])
    assert trainer.policy_model.get_base_model() is model
    assert trainer.pipeline.write.model is model  # type: ignore[attr-defined]
    disturb(trainer.policy_model)
    assert (logits(bench) - trained).abs().max() > 1e-2
    assert merged(trainer.policy_model.eval()) is model


def test_the_parts_share_one_model_pool_and_scorer(make: Make, tmp_path: Path) -> None:
    bench = make()
    trainer = bench.trainer(tmp_path, [])
    assert trainer.policy_model is bench.model
    assert trainer.pipeline.pool is bench.pools["train"]
    assert trainer.builder is bench.builder
    assert trainer.retriever is bench.retriever is None, "bm25 does not learn"
    assert trainer.pipeline is bench.pipelines["train"]
    assert bench.pipelines["test"].pool is bench.pools["test"]
    assert bench.reward is bench.reward


def test_a_question_has_no_reference_and_a_function_that_looks_for_one_has_not_failed(make: Make) -> None:
    bench = make(
        scorers={"well_formed": lambda e: float(e.response == e.example.references[0]), "grounded": lambda e: 0.5}
    )
    given = bench.examples[0]
    asked = bench.answer(replace(given, references=()))
    assert asked.episode.failed == {}
    assert "well_formed" not in asked.episode.scores
    assert given.task not in asked.episode.scores
    assert asked.episode.example.references == ()
    assert "well_formed" in bench.answer(given).episode.scores


def test_scorers_of_an_evaluation_are_for_it_alone(make: Make) -> None:
    bench = make()
    example = bench.examples[0]
    other = bench.evaluate([example], scorers={example.task: lambda episode: 0.25})
    assert other.task_scores == {example.task: [0.25]}
    assert bench.evaluate([example]).task_scores != other.task_scores
    sizes: list[int] = []
    batched = bench.evaluate(bench.examples[:20], on_batch=sizes.append)
    assert sum(sizes) == 20
    assert [episode.example for episode in batched.episodes] == bench.examples[:20], "in the order of the examples"
    assert batched.retrieval is not None
    assert bench.evaluate(bench.examples[:4], retrieval=False).retrieval is None


def test_classifiers_and_tokenizer_see_no_reserved_reference(
    root: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(root / "experiments/quickstart/config.yaml", [*small, "data.train=60", "reward.reserved=0.3"])
    graph = load_graph(config.graph)
    data = load_data(graph, config.data, config.seed, reserved=config.reward.reserved)
    fitted: list[str] = []

    def classifier(examples: list[Example], seed: int) -> None:
        fitted.extend(example.id for example in examples)

    monkeypatch.setattr("rag_graph.runs.workbench.FrozenClassifier", classifier)
    Workbench(config, graph, OwnParts(), data)
    assert len(fitted) > 20
    assert not data.reserved & set(fitted)
    texts = set(_corpus(graph, data))

    def answered(example: Example) -> bool:
        return f"{render_prompt(graph.spec.tasks[example.task], example)} {example.references[0]}" in texts

    assert [example.id for example in data.train if answered(example)] == [example.id for example in data.shown]
    assert not any(map(answered, data.test))


def test_an_example_without_a_reference_is_paid_as_predicted(make: Make) -> None:
    bench = make("reward.reserved=0")
    labelled = next(example for example in bench.examples if example.task == "summary")
    answers = dict.fromkeys(("a", "b"), "good red kettle")
    episodes = [
        Episode(name, replace(labelled, id=name, references=() if name == "a" else labelled.references), "p", text)
        for name, text in answers.items()
    ]
    observed = bench.reward.observe(episodes, [True, True])
    assert ["summary" in episode.scores for episode in observed] == [False, True]
    assert observed[0].scores == {node: score for node, score in observed[1].scores.items() if node != "summary"}
    paid = bench.reward.node_rewards(observed)
    place = bench.graph.index["summary"]
    assert paid.observed[:, place].tolist() == [False, True]
    assert paid.paid.tolist() == [True, True]
    assert paid.total().isfinite().all()


def test_a_classifier_sees_only_examples_with_a_reference(
    root: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(root / "experiments/quickstart/config.yaml", [*small, "data.train=60"])
    graph = load_graph(config.graph)
    data = load_data(graph, config.data, config.seed)
    bare = {example.id for example in data.train[::3]}
    train = [replace(example, references=()) if example.id in bare else example for example in data.train]
    fitted: list[str] = []
    monkeypatch.setattr(
        "rag_graph.runs.workbench.FrozenClassifier",
        lambda examples, seed: fitted.extend(example.id for example in examples),
    )
    Workbench(config, graph, OwnParts(), replace(data, train=train))
    classified = {example.id for example in train if example.task in NodeScorer.classified_tasks(graph)}
    assert bare & classified
    assert set(fitted) == classified - bare


FILLER = [
    "river",
    "city",
    "bridge",
    "people",
    "century",
    "north",
    "south",
    "old",
    "great",
    "house",
    "water",
    "stone",
    "road",
    "market",
    "church",
    "king",
    "school",
    "year",
]


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_passages_of_a_hundred_words_are_evidence(tmp_path: Path, language: str) -> None:
    """As the usual corpora have them: two fit, counted in the tokens of the run's own tokenizer; longer ones are cut at a sentence end."""
    names = ["oslo", "paris", "berlin", "rome"] if language == "english" else ["奥斯陆", "巴黎", "柏林", "罗马"]
    end, space = (".", " ") if language == "english" else ("。", "")
    sentence = space.join(FILLER[:9]) if language == "english" else "是一座古老而伟大的城市"
    texts = [f"{name}{space}{space.join([sentence + end] * 11)}" for name in names]
    rows = [{"text": f"{name} ?", "answer": name, "gold": [str(i)]} for i, name in enumerate(names)]
    for file, content in (("p", [{"id": str(i), "title": "", "text": t} for i, t in enumerate(texts)]), ("d", rows)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (tmp_path / "g.yaml").write_text(
        "format: 1\nname: g\ntasks:\n  t: {kind: extraction, goal: 1, dataset: {path: d.jsonl, test: d.jsonl}, fields: {input: text, reference: answer, supporting: gold}, "
        'metrics: {exact_match: 1}, prompt: "{context} {input} answer"}\ncontexts:\n  p: {kind: passages, file: p.jsonl}\n'
        "edges:\n  - {from: p, to: t, relation: grounds, strength: 0.9}\n"
    )
    graph = load_graph(tmp_path / "g.yaml")

    def prepared(*settings: str) -> tuple[Workbench, list[Prepared]]:
        config = load_config(
            None, [f"graph={tmp_path / 'g.yaml'}", "retrieval.draft=false", "retrieval.k=1", *settings]
        )
        bench = Workbench(config, graph, OwnParts(), load_data(graph, config.data, 0))
        return bench, bench.pipelines["test"].prepare(
            sorted(bench.examples, key=lambda e: names.index(e.references[0]))
        )

    bench, whole = prepared()
    assert [one.evidence[0].context.text for one in whole] == texts
    (size, *_) = bench.room.count(texts)
    assert size < 384
    bench, cut = prepared(f"retrieval.token_budget={size // 2}")
    for one, text in zip(cut, texts, strict=True):
        (piece,) = one.evidence
        assert text.startswith(piece.context.text)
        assert piece.context.text.endswith(end)
        assert bench.room.count([piece.context.text])[0] <= size // 2
        assert bench.room.count([text[: len(piece.context.text) + 1 + len(sentence) + 1]])[0] > size // 2, (
            "no sentence less than fits"
        )
    _, short = prepared(f"model.max_prompt_tokens={max(16, size * 2 // 3)}")
    assert all(one.cut and one.evidence and one.prompt.endswith("? answer") for one in short)
    assert all(one.evidence[0].context.text in one.prompt for one in short)
