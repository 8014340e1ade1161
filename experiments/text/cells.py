"""One cell of the experiment: an arm with one seed. All arms of a seed start from one policy, which a few demonstrations warmed up.

Arms, at equal episodes:

    random, goal_only, flat, ridge, gated_fixed, expected_goal    PPO; the readout of the reward is all that differs
    supervised         training on the references of all prompts, with the compute of PPO
    supervised_seen    the same on as many references as the other arms see goals
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scorers import SCORERS
from settings import DEMONSTRATIONS, KL_TARGET, PPO, SEQUENCES_PER_EPISODE, SUPERVISED, config_of, steered
from supervised import train_supervised
from transformers import TrainerCallback

from rag_graph.config import RunConfig
from rag_graph.data.load import RunData, load_data
from rag_graph.evaluation.evaluate import scored
from rag_graph.generation.adapters import merged
from rag_graph.generation.end_tokens import end_token_ids
from rag_graph.generation.generate import Response, decode_response
from rag_graph.generation.half_weights import cast_once
from rag_graph.generation.sampling import sample_responses
from rag_graph.generation.tokens import encode_prompts
from rag_graph.graph import load_graph
from rag_graph.records import Example
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.recording import RunRecorder
from rag_graph.runs.stages import Stages
from rag_graph.runs.warm_up import warm_up
from rag_graph.runs.workbench import Workbench
from rag_graph.runtime import seed_everything, write_json

SAMPLES = 2
"""Answers to each held-out example."""


def of_arm(config: RunConfig, arm: str, policy: Path) -> RunConfig:
    """The settings of an arm, which starts from the policy of its seed."""
    model = config.model.model_copy(update={"source": str(policy), "trim_vocabulary": False})
    reward = config.reward.model_copy(update={"readout": arm} if arm in PPO else {})
    return config.model_copy(
        update={"model": model, "reward": reward, "sft": config.sft.model_copy(update={"steps": 0})}
    )


def bench_of(task: str, config: RunConfig) -> tuple[Workbench, RunData]:
    graph = load_graph(config.graph)
    data = load_data(graph, config.data, config.seed)
    return Workbench(config, graph, OwnParts(scorers=SCORERS[task]), data), data


def few(data: RunData, number: int) -> RunData:
    """The data with the demonstrations of the first examples of each task only."""
    kept: dict[str, list[Any]] = {}
    for group in data.groups:
        kept.setdefault(group[0][0].task, []).append(group)
    return replace(data, groups=[group for groups in kept.values() for group in groups[:number]])


def warmed(task: str, seed: int, part: str, folder: Path, changes: Iterable[str]) -> dict[str, Any]:
    """Warm up the policy of a seed, once, and evaluate it; its folder is `folder`."""
    done = folder / "before.json"
    if not done.is_file():
        config = config_of(task, seed, part, changes)
        seed_everything(seed)
        bench, data = bench_of(task, config)
        folder.mkdir(parents=True, exist_ok=True)
        warm_up(bench, few(data, DEMONSTRATIONS[task]), folder, StageProgress(quiet=True), resumed=False)
        bench.model.save_pretrained(folder / "policy")
        bench.tokenizer.save_pretrained(folder / "policy")
        write_json(done, measured(bench, data.test, seed))
    return dict(json.loads(done.read_text(encoding="utf-8")))


def measured(bench: Workbench, examples: Sequence[Example], seed: int) -> dict[str, Any]:
    """Mean goal of sampled answers (what the rewards are about), of greedy ones, and every metric of these."""
    evaluation = bench.evaluate(examples)
    greedy = [score for scores in evaluation.task_scores.values() for score in scores]
    metrics = {f"{found.task}/{found.metric}": round(found.value, 4) for found in evaluation.results}
    sampled = sampled_goals(bench, examples, seed)
    return {
        "score": round(sum(sampled) / len(sampled), 5),
        "greedy": round(sum(greedy) / len(greedy), 5),
        "metrics": metrics,
    }


@torch.no_grad()
def sampled_goals(bench: Workbench, examples: Sequence[Example], seed: int) -> list[float]:
    """Goals of `SAMPLES` answers to each example, drawn at the temperature of training; the same random numbers for every arm of a seed."""
    config, model, tokenizer = bench.config, bench.model, bench.tokenizer
    most, stops = config.model.max_new_tokens, end_token_ids(model, tokenizer)

    def write(prompts: Sequence[str]) -> list[Response]:
        queries = encode_prompts(tokenizer, prompts, config.model.max_prompt_tokens)
        uniforms = torch.rand(len(queries), most, generator=torch.Generator().manual_seed(seed))
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=config.ppo.bf16), cast_once(model):
            answers = sample_responses(
                model, queries, most, uniforms, config.ppo.temperature, stops, tokenizer.pad_token_id, config.evaluation.batch_size
            )  # fmt: skip
        return [decode_response(tokenizer, ids, stops) for ids in answers]

    model.eval()
    pipeline = copy.copy(bench.pipelines["test"])
    pipeline.write = write
    episodes = scored(bench.scorer, pipeline.answer([example for example in examples for _ in range(SAMPLES)]))
    return [e.scores[e.example.task] for e in episodes if e.example.task in e.scores]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Steers the coefficient of the KL, and keeps the true goal and the KL of every update. The KL is over all answers, paid or not. `trainer` is set once
    it is made."""

    trainer: Any = None

    def __init__(self, bench: Workbench, target: float) -> None:
        self.bench, self.target = bench, target
        self.examples = {example.id: example for example in bench.examples}
        self.curve: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        kl = kl_of(self.trainer.last_rollout)
        answered = [replace(e, example=self.examples[e.example.id]) for e in self.bench.reward.last_episodes]
        goals = [
            scores.get(e.example.task)
            for e, scores in zip(answered, self.bench.scorer.score_all(answered), strict=True)
        ]
        known = [goal for goal in goals if goal is not None]
        self.curve.append({
            "kl": round(kl, 4), "goal": round(sum(known) / len(known), 4), "kl_coef": round(args.kl_coef, 5),
            "seconds": round((logs or {}).get("seconds/update", 0.0), 2),
        })  # fmt: skip
        args.kl_coef = steered(args.kl_coef, kl, self.target)


def kl_of(rollout: Any) -> float:
    """Nats per answer to the reference, mean of log ratios over all answers of a rollout."""
    import torch

    lengths = torch.tensor([len(ids) for ids in rollout.episodes.completion_ids])[:, None]
    inside = torch.arange(rollout.judged.logprobs.shape[1])[None] < lengths
    return float(((rollout.judged.logprobs - rollout.judged.ref_logprobs) * inside).sum(1).mean())


def train_cell(
    task: str, arm: str, seed: int, part: str, warm: Path, folder: Path, changes: Iterable[str]
) -> dict[str, Any]:
    """Train an arm with a seed from the policy in `warm`, and evaluate it."""
    config = of_arm(config_of(task, seed, part, changes), arm, warm / "policy")
    bench, data = bench_of(task, config)
    episodes = config.ppo.updates * config.ppo.batch_size
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(seed)
    started, processor = time.perf_counter(), time.process_time()
    curve: list[dict[str, float]] = []
    if arm in SUPERVISED:
        seen = round(config.reward.goal_observed * episodes / len(bench.graph.spec.tasks))
        shown = few(data, seen) if arm == "supervised_seen" else data
        train_supervised(bench, shown, episodes * SEQUENCES_PER_EPISODE)
    else:
        watch = Watch(bench, KL_TARGET[task])
        stages = Stages(bench, data, folder, StageProgress(quiet=True))
        trainer = bench.trainer(folder, [RunRecorder(folder, stages.progress, bench.reward), watch])
        watch.trainer = trainer
        stages._calibrate(trainer.pipeline)
        trainer.train()
        merged(trainer.policy_model.eval())
        curve = watch.curve
    trained = time.perf_counter() - started, time.process_time() - processor
    return {
        "task": task, "arm": arm, "seed": seed, "part": part, "episodes": episodes, "seconds": round(trained[0], 1),
        "processor_seconds": round(trained[1], 1), **measured(bench, data.test, seed), "curve": curve,
        "kl": round(sum(one["kl"] for one in curve[-5:]) / len(curve[-5:]), 4) if curve else None,
        "settings": config.fingerprint(),
    }  # fmt: skip
