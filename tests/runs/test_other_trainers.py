"""One graph reward, unchanged, in our PPO and in TRL's GRPO and RLOO, on text with retrieved evidence."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from rag_graph.config import DataConfig, RetrievalConfig, RewardConfig
from rag_graph.data.load import load_data
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.generation.generate import Response
from rag_graph.graph import load_graph
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.callbacks import LearningRewards
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.episode_builder import EpisodeBuilder, prepared_rows
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.records import Episode
from rag_graph.reward.reward import GraphReward

GRAPH = load_graph("parcels")
DATA = load_data(GRAPH, DataConfig(train=24, test=8), 0)


def silent(prompts: Sequence[str]) -> list[Response]:
    return [Response("", False) for _ in prompts]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    pool = ContextPool(GRAPH, DATA.contexts["train"], RetrievalConfig(draft=False))
    return prepared_rows(RagPipeline(GRAPH, pool, RetrievalConfig(draft=False), silent), DATA.train)


CALLS: Counter[str] = Counter()


def random_score(node: str, episode: Episode) -> float:
    """Another number at every call, so that a second scoring would show."""
    CALLS[node] += 1
    return CALLS.total() % 97 / 97


def make_reward() -> GraphReward:
    CALLS.clear()
    config = RewardConfig(goal_observed=0.5, reserved=0.3, fit_steps=2)
    scorers = {node: partial(random_score, node) for node in (*GRAPH.spec.tasks, "well_formed")}
    return GraphReward(GRAPH, NodeScorer(GRAPH, scorers=scorers).score, config, EpisodeBuilder(DATA.train), seed=0)


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "learning_rate": 1e-3, "bf16": False, "use_cpu": True,
        "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "activation_checkpointing": False, "seed": 1,
    }  # fmt: skip


def in_trl(kind: str, model: Any, tokenizer: Any, reward: GraphReward, rows: list[dict[str, Any]], folder: Path) -> Any:
    import trl

    config, trainer = getattr(trl, f"{kind}Config"), getattr(trl, f"{kind}Trainer")
    args = config(**settings(folder), num_generations=4, max_completion_length=6, max_steps=2)
    given = [LearningRewards(reward)] if kind == "GRPO" else []  # else the reward brings it
    return trainer(
        model=model, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=given,
    )  # fmt: skip


def gdpo(model: Any, tokenizer: Any, reward: GraphReward, rows: list[dict[str, Any]], folder: Path) -> Any:
    """Each node normalised within its group, then summed (arXiv 2601.05242)."""
    import trl

    args = trl.GRPOConfig(
        **settings(folder), num_generations=4, max_completion_length=6, max_steps=2, multi_objective_aggregation="normalize_then_sum"
    )  # fmt: skip
    return trl.GRPOTrainer(
        model=model, reward_funcs=reward.node_functions(), args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    )  # fmt: skip


def ppo(model: Any, tokenizer: Any, reward: GraphReward, rows: list[dict[str, Any]], folder: Path) -> Any:
    args = GraphPPOConfig(**settings(folder), gradient_accumulation_steps=1, total_episodes=16, response_length=6)
    return GraphPPOTrainer(model, reward, args, Dataset.from_list(rows), processing_class=tokenizer)


@pytest.mark.parametrize(
    "make_trainer",
    [ppo, partial(in_trl, "GRPO"), partial(in_trl, "RLOO"), gdpo],
    ids=["ppo", "grpo", "rloo", "gdpo, a function per node"],
)
def test_the_same_reward_trains_and_learns(
    tiny_model: Callable[[int], Any], tmp_path: Path, rows: list[dict[str, Any]], make_trainer: Any
) -> None:
    made, tokenizer = tiny_model(1)
    made.save_pretrained(tmp_path / "model")  # TRL loads its reference model from where the policy came from
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reward = make_reward()
    count = reward.model.moments.count.clone()
    with warnings.catch_warnings():  # TRL's own, of its trainers and of transformers
        warnings.simplefilter("ignore")
        trainer = make_trainer(model, tokenizer, reward, rows, tmp_path)
        trainer.train()
    assert trainer.state.global_step == 2
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert int((reward.model.moments.count - count).max()) in range(1, 17), (
        "it learned from both updates, each episode once"
    )
    assert len(reward.learning.memory) == 16
    assert reward.progress == 1
    assert reward.take_kept() == []
    assert CALLS["well_formed"] == 16, "each episode is scored once"
    assert sum(CALLS[task] for task in GRAPH.spec.tasks) <= 16
    assert {episode.round for episode in reward.last_episodes} == {2}
    grounded = [episode for episode in reward.last_episodes if episode.evidence]
    assert all(piece.context.text in episode.prompt for episode in grounded for piece in episode.evidence)
    logged = [row for row in trainer.state.log_history if any(name.startswith("nodes/") for name in row)]
    assert logged, "each trainer logs what each node paid"


QA = """
format: 1
name: qa
tasks: {correct: {kind: generation, goal: 1, metrics: {external: 1}, prompt: x}}
criteria: {form: {metric: external}, length: {metric: external}}
edges:
  - {from: form, to: correct, relation: prerequisite, strength: 0.9}
  - {from: length, to: correct, relation: conflicts, strength: 0.5}
"""


def exact_match(completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    return [float(text.strip() == wanted) for text, wanted in zip(completions, answer, strict=True)]


async def length(completions: list[str], **columns: Any) -> list[float]:
    return [min(len(text.split()) / 4, 1.0) for text in completions]


def test_functions_become_a_reward_in_one_line(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    """In TRL's GRPO: it learns without a callback that was given, forgets evaluations, and its state is in the checkpoints."""
    import trl

    (tmp_path / "goals.yaml").write_text(QA)
    calls: Counter[str] = Counter()

    def form(completions: list[str], log_metric: Any, trainer_state: Any, **columns: Any) -> list[float]:
        calls["form"] += len(completions)
        log_metric("words", 2.0)
        return [float(trainer_state.global_step < 9 and text.islower()) for text in completions]

    mine = {"correct": exact_match, "form": form, "length": length}
    reward = GraphReward(tmp_path / "goals.yaml", mine, {"fit_steps": 2}, reference="answer")
    model, tokenizer = tiny_model(1)
    model.save_pretrained(tmp_path / "model")
    rows = Dataset.from_list([{"prompt": f"where is it from {n} ?", "answer": "lima"} for n in range(8)])
    args = trl.GRPOConfig(**{
        **settings(tmp_path), "num_generations": 4, "max_completion_length": 4, "max_steps": 2, "save_strategy": "steps", "save_steps": 2,
        "eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8,
    })  # fmt: skip
    with warnings.catch_warnings():  # TRL's own, of its trainers and of transformers
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        evaluated = rows.select(range(2))
        trainer = trl.GRPOTrainer(model, reward, args, rows, evaluated, processing_class=tokenizer)
        trainer.train()
    assert reward.updates == 2
    assert len(reward.learning.memory) == 16, "two updates of 8, and no evaluation"
    assert calls["form"] == 16 + 16
    assert reward.progress == 1
    assert (tmp_path / "checkpoint-2" / "learning_rewards.json").is_file()
    logged = [row for row in trainer.state.log_history if "nodes/form/score" in row]
    assert all(row["words"] == 2.0 for row in logged)
    assert logged
    assert logged[0]["nodes/correct/failed"] == 0.0
    assert {episode.example.references for episode in reward.last_episodes} == {("lima",)}


def test_the_same_line_in_our_ppo(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    (tmp_path / "goals.yaml").write_text(QA)
    calls: list[int] = []

    def form(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        return [float(text.islower()) for text in completions]

    mine = {"correct": exact_match, "form": form, "length": length}
    reward = GraphReward(tmp_path / "goals.yaml", mine, {"fit_steps": 1}, reference="answer")
    model, tokenizer = tiny_model(1)
    rows = Dataset.from_list([{"prompt": f"where is it from {n} ?", "answer": "lima"} for n in range(8)])
    args = GraphPPOConfig(**settings(tmp_path), gradient_accumulation_steps=1, total_episodes=16, response_length=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GraphPPOTrainer(model, reward, args, rows, processing_class=tokenizer).train()
    assert calls == [8, 8], "once a batch"
    assert (reward.updates, reward.take_kept()) == (2, [])
    assert {episode.round for episode in reward.last_episodes} == {2}


def test_evidence_survives_a_data_set(rows: list[dict[str, Any]]) -> None:
    from rag_graph.rag.episode_builder import evidence_of

    pool = ContextPool(GRAPH, DATA.contexts["train"], RetrievalConfig(draft=False))
    prepared = RagPipeline(GRAPH, pool, RetrievalConfig(draft=False), silent).prepare(DATA.train)
    back = {row["example_id"]: tuple(map(evidence_of, row["evidence"])) for row in Dataset.from_list(rows)}
    assert any(one.evidence for one in prepared)
    assert all(back[one.example.id] == one.evidence for one in prepared)
