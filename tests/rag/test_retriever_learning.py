"""The retriever beside PPO: what it is taught by, what never enters the policy's loss, and that a stopped run goes on the same."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rag_graph import Run
from rag_graph.config import RewardConfig, RunConfig, load_config
from rag_graph.data.load import load_data
from rag_graph.errors import DataError, TrainingError
from rag_graph.graph import load_graph
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.rag import passage_weights
from rag_graph.rag.choice import distillation_loss
from rag_graph.rag.retriever_learning import RetrieverTraining, draw_one, task_advantages
from rag_graph.records import Episode
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.reward import GraphReward
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.rag_ppo import RagPPOTrainer
from rag_graph.runs.train import resume, train
from rag_graph.runs.warm_up import warm_up
from rag_graph.runs.workbench import Workbench

SMALL = [
    "sft.steps=10", "sft.batch_size=4", "ppo.updates=6", "ppo.batch_size=8", "ppo.num_mini_batches=2", "ppo.checkpoint_every=2", "data.train=24",
    "data.test=8", "model.scratch.hidden_size=32", "model.scratch.intermediate_size=64", "model.scratch.num_layers=1", "model.scratch.num_heads=2",
    "retrieval.learn.queries=4", "retrieval.learn.candidates=4", "retrieval.learn.warm_up_steps=3", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def task(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("experiments/cotrain/task.py")


@pytest.fixture(scope="module")
def corpus_folder(root: Path, task: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cotrain")
    task.make(folder, 0, train_items=12, test_items=4)
    shutil.copy(root / "experiments/cotrain/graph.yaml", folder / "graph.yaml")
    return folder


@pytest.fixture
def config(root: Path, corpus_folder: Path) -> Any:
    def make(*overrides: str) -> RunConfig:
        settings = [f"graph={corpus_folder / 'graph.yaml'}", *SMALL, *overrides]
        return load_config(root / "experiments/cotrain/config.yaml", settings)

    return make


def build(config: RunConfig, folder: Path) -> tuple[RagPPOTrainer, RetrieverTraining]:
    """A trainer whose reward pays for the passage that is shown, and the training of its retriever."""
    graph = load_graph(config.graph)
    torch.manual_seed(config.seed)
    bench = Workbench(config, graph, OwnParts(), load_data(graph, config.data, config.seed))
    encoders, pipeline, builder = bench.encoders, bench.pipelines["train"], bench.builder
    assert encoders is not None

    class Reward:
        """Pays for the passage that is shown: 1 where it is a ledger."""

        __name__ = "ledger"

        def __call__(self, **columns: Any) -> list[float]:
            episodes = builder(**columns)
            return [
                float(e.evidence[-1].context.local_id.startswith("ledger")) if e.evidence else 0.0 for e in episodes
            ]

    arguments = GraphPPOConfig(
        output_dir=str(folder), total_episodes=48, per_device_train_batch_size=8, gradient_accumulation_steps=1, num_mini_batches=1,
        num_ppo_epochs=1, learning_rate=1e-3, response_length=4, max_prompt_length=96, max_grad_norm=0.0, vf_coef=0.0, report_to="none",
        use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True, seed=config.seed,
    )  # fmt: skip
    retriever = RetrieverTraining(
        pipeline, encoders.queries, bench.model, bench.tokenizer, 96, 16, lambda episodes, seen: torch.tensor([1.0 if "ledger" in e.evidence[0].context.id else 0.0 for e in episodes]), config.seed
    )  # fmt: skip
    trainer = RagPPOTrainer(
        pipeline=pipeline,
        builder=builder,
        retriever=retriever,
        goals_shown=lambda episodes: [True] * len(episodes),
        model=bench.model,
        reward_funcs=Reward(),
        args=arguments,
        train_dataset=[{"prompt": "", "example_id": example.id} for example in bench.examples],
        processing_class=bench.tokenizer,
    )
    return trainer, retriever


def test_retrieved_tokens_never_enter_the_policy_loss(config: Any, tmp_path: Path) -> None:
    """The gradient of the first step equals that of -A log pi over response tokens alone, by plain forward passes."""
    trainer, _ = build(config("retrieval.learn.method=none", "retrieval.k=2"), tmp_path)
    before = {name: p.detach().clone() for name, p in trainer.policy_model.named_parameters()}
    seen: dict[str, torch.Tensor] = {}

    def spy(*_: Any, **__: Any) -> None:
        seen.update({n: p.grad.clone() for n, p in trainer.policy_model.named_parameters() if p.grad is not None})
        trainer.control.should_training_stop = True

    trainer.optimizer.step = spy  # type: ignore[method-assign]
    trainer.args.total_episodes = 8
    trainer.args.max_steps = 1
    trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    rows = rollout.episodes.rows
    assert all(len(row["evidence"]) == 2 for row in rows)
    assert all(piece.context.text in row["prompt"] for row in rows for piece in row["evidence"])
    policy = trainer.policy_model
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(before[name])
    policy.zero_grad()
    count = sum(map(len, rollout.episodes.completion_ids))
    loss = torch.zeros(())
    for row, (query, answer) in enumerate(
        zip(rollout.episodes.query_ids, rollout.episodes.completion_ids, strict=True)
    ):
        logits = policy(input_ids=torch.tensor([[*query, *answer]])).logits[0, len(query) - 1 : -1]
        chosen = (logits / trainer.engine.temperature).log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        loss = loss - (rollout.advantages[row, : len(answer)] * chosen).sum() / count
    loss.backward()
    for name, parameter in policy.named_parameters():
        assert torch.allclose(seen[name], parameter.grad, atol=1e-5), name


@pytest.mark.parametrize("method", ["policy_gradient", "reward"])
def test_the_retriever_moves_towards_what_is_paid(method: str, config: Any, tmp_path: Path) -> None:
    settings = [
        f"retrieval.learn.method={method}",
        "retrieval.learn.learning_rate=1e-3",
        "retrieval.learn.candidates=6",
    ]
    trainer, retriever = build(config(*settings, "retrieval.learn.queries=8"), tmp_path)
    examples = [trainer.builder.examples[row["example_id"]] for row in trainer.train_dataset]

    def ledgers() -> float:
        prepared = retriever.pipeline.prepare(examples)
        return sum(one.evidence[0].context.local_id.startswith("ledger") for one in prepared) / len(prepared)

    before = ledgers()
    passages = retriever.pipeline.pool.vectors("answer", retriever.pipeline.prepare(examples[:1])[0].evidence)  # type: ignore[union-attr]
    state = {name: value.clone() for name, value in retriever.learner.encoder.model.state_dict().items()}
    for update in range(25):
        batch = examples[update % 3 * 8 : update % 3 * 8 + 8]
        draw = retriever.choose(update) if method == "policy_gradient" else None
        prepared = retriever.pipeline.prepare(batch, draw, 6)
        paid = [float(one.evidence[0].context.local_id.startswith("ledger")) for one in prepared]
        metrics = retriever.update(prepared, paid, [True] * len(prepared), update)
        assert metrics.get("retriever/queries", 0) > 0 or len(set(paid)) == 1
    assert ledgers() > before + 0.2
    retriever.learner.encoder.model.load_state_dict(state)
    again = retriever.pipeline.pool.vectors("answer", retriever.pipeline.prepare(examples[:1])[0].evidence)  # type: ignore[union-attr]
    assert (again == passages).all(), "the passages keep their vectors"


def test_nothing_is_taught_by_a_reference_that_was_not_observed(config: Any, tmp_path: Path) -> None:
    trainer, retriever = build(config("retrieval.learn.method=perplexity"), tmp_path)
    prepared = retriever.pipeline.prepare(
        [trainer.builder.examples[row["example_id"]] for row in trainer.train_dataset][:6]
    )
    before = retriever.learner.encoder.fingerprint()
    assert retriever.update(prepared, [1.0] * 6, [False] * 6, 0) == {}
    assert retriever.learner.encoder.fingerprint() == before
    assert retriever.update(prepared, [1.0] * 6, [True, *[False] * 5], 0)["retriever/queries"] == 1
    assert retriever.learner.encoder.fingerprint() != before


def test_draws_belong_to_the_update(config: Any, tmp_path: Path) -> None:
    trainer, retriever = build(config("retrieval.learn.method=policy_gradient", "retrieval.k=2"), tmp_path)
    examples = list(trainer.builder.examples.values())[:8]
    one, same, other = (retriever.pipeline.prepare(examples, retriever.choose(u), 6) for u in (3, 3, 4))
    assert [p.choice for p in one] == [p.choice for p in same]
    assert [p.choice for p in one] != [p.choice for p in other]
    for prepared in one:
        assert prepared.choice is not None
        taken = [prepared.choice.asked.candidates[place].context.id for place in prepared.choice.taken]
        assert [piece.context.id for piece in prepared.evidence] == taken
        assert len(set(taken)) == 2
        assert prepared.choice.log_prob < 0


def test_advantages_compare_within_a_task() -> None:
    found = task_advantages(["a", "a", "b", "b", "c"], [1.0, 0.0, 5.0, 5.0, 9.0])
    assert found[0] == -found[1] > 0
    assert found[2:].tolist() == [0.0, 0.0, 0.0]
    assert task_advantages(["a"], [3.0]).tolist() == [0.0]
    for count, value in ((7, 0.3), (10, 0.7)):
        assert not task_advantages(["a"] * count, [value] * count).any(), "rounding is no advantage"


def test_rewards_that_are_alike_move_nothing(config: Any, tmp_path: Path) -> None:
    for method in ("reward", "policy_gradient"):
        trainer, retriever = build(config(f"retrieval.learn.method={method}"), tmp_path)
        retriever.pay = lambda episodes, seen: torch.full((len(episodes),), 0.3)
        examples = list(trainer.builder.examples.values())[:7]
        before = retriever.learner.encoder.fingerprint()
        for update in range(3):
            draw = retriever.choose(update) if method == "policy_gradient" else None
            retriever.update(retriever.pipeline.prepare(examples, draw, 4), [0.3] * 7, [True] * 7, update)
        assert retriever.learner.encoder.fingerprint() == before


def test_what_the_budget_cut_teaches_nothing(config: Any, tmp_path: Path) -> None:
    settings = ["retrieval.learn.method=policy_gradient", "retrieval.k=2", "retrieval.token_budget=6"]
    trainer, retriever = build(config(*settings), tmp_path)
    examples = list(trainer.builder.examples.values())[:8]
    prepared = retriever.pipeline.prepare(examples, retriever.choose(0), 4)
    assert all(len(one.evidence) == 1 and one.choice is None for one in prepared)
    assert retriever.update(prepared, [float(row) for row in range(8)], [True] * 8, 0) == {}


def test_reward_mode_sees_a_goal_only_where_its_episode_did(config: Any, tmp_path: Path) -> None:
    trainer, retriever = build(config("retrieval.learn.method=reward", "retrieval.learn.queries=8"), tmp_path)
    graph, examples = retriever.pipeline.graph, list(trainer.builder.examples.values())[:8]
    scored: list[Episode] = []

    def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
        scored.append(episode)
        return {"brief": float(len(scored) % 2), **({"answer": 1.0} if episode.example.references else {})}

    settings = RewardConfig(readout="gated_fixed", goal_observed=0.5, reserved=0.0)
    reward = GraphReward(graph, score, settings, trainer.builder)
    retriever.pay = lambda episodes, seen: reward.node_rewards(reward.observe(episodes, seen)).total()
    observed = [row % 2 == 0 for row in range(8)]
    retriever.update(retriever.pipeline.prepare(examples), [0.0] * 8, observed, 0)
    shown = {example.id: seen for example, seen in zip(examples, observed, strict=True)}
    assert len(scored) == 32
    for episode in scored:
        assert bool(episode.example.references) == shown[episode.example.id]


def test_draws_of_marginalised_answers_follow_their_weights(config: Any, tmp_path: Path) -> None:
    trainer, retriever = build(
        config("retrieval.learn.method=none", "retrieval.fusion=rag_token", "retrieval.k=2"), tmp_path
    )
    pipeline = retriever.pipeline
    (example,) = list(trainer.builder.examples.values())[:1]
    (best,) = pipeline.prepare([example])
    weights = passage_weights(best.evidence, pipeline.config)
    drawn = [pipeline.prepare([example], draw_one(pipeline.config, 0, update), 2)[0].evidence for update in range(300)]
    assert {len(evidence) for evidence in drawn} == {1}
    share = sum(evidence[0].context.id == best.evidence[0].context.id for evidence in drawn) / 300
    assert share == pytest.approx(weights[0], abs=0.1)


def test_changed_passages_stop_a_resume(config: Any, stop_in: Any, tmp_path: Path, corpus_folder: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "passages.jsonl", "graph.yaml"):
        shutil.copy(corpus_folder / name, tmp_path / name)
    settings = [f"graph={tmp_path / 'graph.yaml'}", "ppo.updates=2", f"output_dir={tmp_path / 'run'}"]
    with pytest.raises(KeyboardInterrupt):
        train(config(*settings), progress=stop_in("PPO", 1))
    text = (tmp_path / "passages.jsonl").read_text()
    (tmp_path / "passages.jsonl").write_text(text.replace(" , say ", " , they say ", 1))
    with pytest.raises(DataError, match="data sets have changed since the run began: contexts/train, contexts/test"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("fusion", ["rag_sequence", "rag_token"])
def test_a_run_with_marginalised_answers(fusion: str, config: Any, tmp_path: Path) -> None:
    settings = [
        f"retrieval.fusion={fusion}",
        "retrieval.k=3",
        "retrieval.learn.method=policy_gradient",
        "ppo.updates=2",
    ]
    train(config(*settings, f"output_dir={tmp_path / 'run'}"))
    episodes = [json.loads(line) for line in (tmp_path / "run/episodes.jsonl").read_text().splitlines()]
    assert all(len(episode["evidence"]) == 1 for episode in episodes), "PPO shows one passage, drawn"
    held_out = [json.loads(x) for x in (tmp_path / "run/evaluation/after.episodes.jsonl").read_text().splitlines()]
    assert all(len(episode["evidence"]) == 3 for episode in held_out), "an answer is marginalised over k"
    report = json.loads((tmp_path / "run/evaluation/after.json").read_text())["retrieval"]
    assert report["episodes"] == len(held_out)
    assert report["retrieval/recall"] >= report["retrieval/hit@1"]


@pytest.mark.parametrize(
    ("method", "warm_up", "stage", "steps", "pretrained"),
    [
        ("perplexity", "contrastive", "PPO", 3, True),
        ("policy_gradient", "likelihood", "PPO", 3, False),
        ("reward", "likelihood", "warm-up of retriever", 2, False),
    ],
)
def test_stopped_and_resumed(
    method: str,
    warm_up: str,
    stage: str,
    steps: int,
    pretrained: bool,
    config: Any,
    stop_in: Any,
    outcome: Any,
    plain_bert: Path,
    tmp_path: Path,
) -> None:
    encoder = plain_bert if pretrained else "scratch"
    settings = [
        f"retrieval.encoder={encoder}",
        f"retrieval.learn.method={method}",
        f"retrieval.learn.warm_up={warm_up}",
        "ppo.updates=4",
    ]
    train(config(*settings, f"output_dir={tmp_path / 'plain'}"))
    with pytest.raises(KeyboardInterrupt):
        train(config(*settings, f"output_dir={tmp_path / 'run'}"), progress=stop_in(stage, steps))
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "plain")
    one, other = (SentenceEncoder(str(tmp_path / name / "retriever/queries")) for name in ("plain", "run"))
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != SentenceEncoder(str(tmp_path / "plain/retriever/passages")).fingerprint()
    results = Run(tmp_path / "run").results
    assert results is not None
    assert results["seconds"]["embedding"] > 0
    assert Run(tmp_path / "run").ask("bab color", task="answer").evidence, "a saved encoder answers"


def test_a_warm_up_without_what_it_needs_is_refused(config: Any, tmp_path: Path, corpus_folder: Path) -> None:
    text = (corpus_folder / "graph.yaml").read_text().replace(", supporting: ledger", "")
    (corpus_folder / "bare.yaml").write_text(text)
    with pytest.raises(TrainingError, match=r"warm_up=contrastive: no example of a grounded task.*fields: supporting"):
        train(
            config(
                "retrieval.learn.warm_up=contrastive",
                f"graph={corpus_folder / 'bare.yaml'}",
                f"output_dir={tmp_path / 'r'}",
            )
        )


def test_the_retrieval_report(config: Any, tmp_path: Path) -> None:
    train(config("retrieval.draft=true", "ppo.updates=1", f"output_dir={tmp_path / 'run'}"))
    report = json.loads((tmp_path / "run/evaluation/before.json").read_text())["retrieval"]
    drafted = [json.loads(x) for x in (tmp_path / "run/evaluation/before.episodes.jsonl").read_text().splitlines()]
    assert any(episode["draft"] for episode in drafted)
    gain = report["gain_of_draft"]["mean"]
    assert gain == pytest.approx(report["answer_in_evidence"]["mean"] - report["by_input_alone"]["mean"])
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert any("retriever/loss" in line and "seconds/retriever" in line for line in metrics)
    assert not any(math.isnan(line.get("retrieval/hit@1", 0.0)) for line in metrics)


@pytest.mark.parametrize("bf16", [False, True])
def test_likelihoods_are_computed_in_the_precision_of_the_policy(bf16: bool, config: Any) -> None:
    settings = config("retrieval.learn.method=perplexity", f"ppo.bf16={bf16}")
    graph = load_graph(settings.graph)
    data = load_data(graph, settings.data, settings.seed)
    bench = Workbench(settings, graph, OwnParts(), data)
    seen: list[bool] = []
    bench.model.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled(bench.model.device.type)))
    assert bench.retriever is not None
    prepared = bench.pipelines["train"].prepare(data.train[:4])
    bench.retriever.update(prepared, [0.0] * 4, [True] * 4, 0)
    bench.retriever._likelihood(data.train[:4])
    assert set(seen) == {bf16}


@pytest.mark.parametrize("anchored", [False, True])
def test_a_teacher_that_knows_nothing_leaves_a_pretrained_encoder_as_it_is(
    anchored: bool, config: Any, plain_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiniLM fell from .71 to .50 (recall@5 of multi-hop questions) when the likelihoods of a small model alone were its target."""
    learn = ["target_temperature=100", "queries=8", "learning_rate=0.0002"]
    settings = [f"retrieval.encoder={plain_bert}", "retrieval.temperature=0.005"]
    trainer, retriever = build(config(*settings, *(f"retrieval.learn.{one}" for one in learn)), tmp_path)
    assert retriever.reference is not None
    if not anchored:
        retriever.reference = None
    noise = torch.Generator().manual_seed(0)
    monkeypatch.setattr(retriever, "_likelihoods", lambda asked: -torch.rand(len(asked), 4, generator=noise))
    prepared = retriever.pipeline.prepare(list(trainer.builder.examples.values())[:8])
    candidates = retriever._candidates([one for _, one in retriever._ask(prepared)])
    before = retriever.learner.logits(candidates).softmax(1)
    for update in range(60):
        retriever.update(prepared, [0.0] * 8, [True] * 8, update)
    moved = (retriever.learner.logits(candidates).softmax(1) - before).abs().max().item()
    assert moved < 0.1 if anchored else moved > 0.2, moved


@pytest.mark.parametrize("pretrained", [False, True])
def test_what_distillation_is_given(
    pretrained: bool, config: Any, plain_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = plain_bert if pretrained else "scratch"
    trainer, retriever = build(config(f"retrieval.encoder={encoder}"), tmp_path)
    given: list[tuple[float, bool]] = []

    def spy(logits: torch.Tensor, targets: torch.Tensor, temperature: float, prior: torch.Tensor | None) -> Any:
        given.append((temperature, prior is not None))
        return distillation_loss(logits, targets, temperature, prior)

    monkeypatch.setattr("rag_graph.rag.retriever_learning.distillation_loss", spy)
    before = retriever.learner.encoder.fingerprint()
    prepared = retriever.pipeline.prepare(list(trainer.builder.examples.values())[:4])
    retriever.update(prepared, [0.0] * 4, [True] * 4, 0)
    assert set(given) == {(1.0, True) if pretrained else (0.2, False)}
    assert retriever.learner.encoder.fingerprint() != before, "the encoder of queries moves"
    assert (retriever.reference.fingerprint() if retriever.reference else None) == (before if pretrained else None)


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_reference_is_the_encoder_after_its_warm_up(
    pretrained: bool, config: Any, plain_bert: Path, tmp_path: Path
) -> None:
    encoder = plain_bert if pretrained else "scratch"
    settings = config(f"retrieval.encoder={encoder}", "retrieval.learn.warm_up=contrastive")
    graph = load_graph(settings.graph)
    data = load_data(graph, settings.data, settings.seed)
    for resumed in (None, {}):
        bench = Workbench(settings, graph, OwnParts(), data)
        with StageProgress(quiet=True) as progress:
            warm_up(bench, data, tmp_path, progress, resumed)
        assert bench.retriever is not None
        assert bench.retriever.reference is not None
        assert bench.encoders is not None
        reference, passages = bench.retriever.reference.fingerprint(), bench.encoders.passages.fingerprint()
        assert reference == bench.encoders.queries.fingerprint() != passages, resumed


def test_what_learns_by_no_target_has_no_reference(config: Any, plain_bert: Path, tmp_path: Path) -> None:
    settings = [f"retrieval.encoder={plain_bert}", "retrieval.learn.method=policy_gradient"]
    assert build(config(*settings), tmp_path)[1].reference is None
