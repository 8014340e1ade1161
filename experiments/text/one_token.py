"""Tasks whose answers are one token, so that an update costs a second on one core: the frozen layers give the same for a prompt each time it is asked.

What they give for every prompt is computed once and kept in a file. Then the policy of a prompt is one pass through the top layers, whatever the number of
answers that are drawn from it, and its expected goal and its KL to the reference are exact sums over the vocabulary: nothing is sampled in an evaluation.

The update is the first step of PPO, which is a step of policy gradient: the reward times the gradient of the log-probability, less the gradient of the
(exact) KL. Shapes: b prompts, K answers to each, V tokens.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from scorers import SCORERS
from settings import steered
from torch import Tensor

from rag_graph.config import RunConfig
from rag_graph.data.load import load_data
from rag_graph.data.prompts import render_prompt
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.generation.language_model import load_language_model
from rag_graph.generation.tokens import answer_ids, encode_prompts
from rag_graph.generation.trunk import Trunk, trained_part
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.rag.episode_builder import EpisodeBuilder
from rag_graph.records import Example
from rag_graph.reward import GraphReward

ANSWERS = 4
"""Answers that are drawn to each prompt of an update."""
TOGETHER = 8
"""Prompts that are padded to one length."""
LOOKED_AT = (0.25, 0.5, 0.75, 1.0)
"""Shares of the updates after which the policy is evaluated."""


@dataclass(frozen=True)
class Prompts:
    """Examples as token ids, each with the token that answers it. The training examples are the same for all seeds."""

    train: list[Example]
    test: list[Example]
    ids: dict[str, list[int]]
    right: dict[str, int]


def prompts_of(config: RunConfig, graph: AuxiliaryGraph, tokenizer: Any) -> Prompts:
    data = load_data(graph, config.data, seed=0)
    every = [*data.train, *data.test]
    texts = [render_prompt(graph.spec.tasks[example.task], example) for example in every]
    ids = dict(
        zip((e.id for e in every), encode_prompts(tokenizer, texts, config.model.max_prompt_tokens), strict=True)
    )
    right = {}
    for example in every:
        ((token, *rest),) = answer_ids(tokenizer, [example.references[0]])
        assert rest == [tokenizer.eos_token_id], f"{example.references[0]!r} is more than one token"
        right[example.id] = token
    return Prompts(data.train, data.test, ids, right)


class Policy:
    """A language model whose top layers are trained.

    Args:
        kept: the file of the activations; made where it is missing or lacks a prompt.
    """

    def __init__(self, config: RunConfig, kept: Path) -> None:
        assert config.model.train_layers is not None
        self.graph = load_graph(config.graph)
        self.model, self.tokenizer = load_language_model(config.model, device="cpu")
        self.model = trained_part(
            self.model, None, config.model.train_layers
        ).eval()  # no dropout, the gradients are the same
        trunk = Trunk.of(self.model, config.model.train_layers)
        assert trunk is not None
        self.trunk = trunk
        self.backbone = getattr(self.model, self.model.base_model_prefix)
        self.prompts = prompts_of(config, self.graph, self.tokenizer)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.reference = [weight.detach().clone() for weight in self.trained]
        self.before: Tensor | None = None
        """Log-probabilities of the held-out prompts by the reference, once they were computed."""
        self.activations = self._activations(kept)

    def _activations(self, kept: Path) -> dict[str, Tensor]:
        known: dict[str, Tensor] = torch.load(kept) if kept.is_file() else {}
        missing = sorted((e for e in self.prompts.ids if e not in known), key=lambda e: len(self.prompts.ids[e]))
        for start in range(0, len(missing), 32):
            names = missing[start : start + 32]
            with torch.no_grad(), self.trunk.alone(), self.trunk.heard() as heard:
                self.backbone(input_ids=self._padded(names), use_cache=False)
            for name, found in zip(names, heard[-1], strict=True):
                known[name] = found[: len(self.prompts.ids[name])].clone()
        if missing:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(known, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
        return known

    def _padded(self, names: Sequence[str]) -> Tensor:
        """[b, L], padded on the right, where no token of the prompt sees it."""
        length = max(len(self.prompts.ids[name]) for name in names)
        return torch.tensor([self.prompts.ids[name] + [0] * (length - len(self.prompts.ids[name])) for name in names])

    def logprobs(self, names: Sequence[str]) -> Tensor:
        """Log-probabilities of the answer's token, [b, V]. Prompts of like length go through the layers together."""
        by_length = sorted(range(len(names)), key=lambda row: len(self.prompts.ids[names[row]]))
        found: dict[int, Tensor] = {}
        for start in range(0, len(names), TOGETHER):
            rows = by_length[start : start + TOGETHER]
            found |= zip(rows, self._logprobs([names[row] for row in rows]), strict=True)
        return torch.stack([found[row] for row in range(len(names))])

    def _logprobs(self, names: Sequence[str]) -> Tensor:
        ids = self._padded(names)
        rows = [self.activations[name] for name in names]
        given = torch.stack([F.pad(row, (0, 0, 0, ids.shape[1] - len(row))) for row in rows])
        with self.trunk.given(given):
            hidden = self.backbone(input_ids=ids, use_cache=False)[0]
        last = torch.tensor([len(row) - 1 for row in rows])
        return self.model.get_output_embeddings()(hidden[torch.arange(len(rows)), last]).log_softmax(-1)

    def take(self, weights: Sequence[Tensor], before: Tensor | None = None) -> None:
        """These weights of the top layers, as policy and as reference; `before`: what `before` said after they were taken last."""
        self.reference, self.before = [weight.clone() for weight in weights], before
        for weight, taken in zip(self.trained, weights, strict=True):
            weight.data.copy_(taken)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """The policy as it was when it was taken; no gradients inside."""
        now = [weight.data for weight in self.trained]
        for weight, then in zip(self.trained, self.reference, strict=True):
            weight.data = then
        try:
            with torch.no_grad():
                yield
        finally:
            for weight, data in zip(self.trained, now, strict=True):
                weight.data = data

    def step(self, optimizer: Any, loss: Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def measured(self) -> dict[str, Any]:
        """On the held-out prompts: the expected goal (probability of the right label) in the mean over tasks, accuracy of the likeliest answer, KL to
        the reference in nats."""
        test = self.prompts.test
        logs = self.logprobs([example.id for example in test])
        if self.before is None:
            with self.as_reference():
                self.before = self.logprobs([example.id for example in test])
        kl = (logs.exp() * (logs - self.before)).sum(-1)
        right = torch.tensor([self.prompts.right[example.id] for example in test])
        each = torch.stack([logs.exp().gather(1, right[:, None])[:, 0], (logs.argmax(-1) == right).float(), kl], 1)
        tasks = sorted({example.task for example in test})
        means = torch.stack([each[[example.task == task for example in test]].mean(0) for task in tasks])
        expected, greedy, nats = means.mean(0).tolist()
        shown = {task: [round(float(value), 4) for value in row[:2]] for task, row in zip(tasks, means, strict=True)}
        return {"score": round(expected, 5), "greedy": round(greedy, 5), "kl": round(nats, 4), "tasks": shown}


def order(examples: Sequence[Example], number: int, seed: int) -> Iterator[list[Example]]:
    """Batches of examples without end; every example comes equally often."""
    rng, waiting = random.Random(f"order/{seed}"), list[Example]()
    while True:
        while len(waiting) < number:
            waiting += rng.sample(list(examples), len(examples))
        yield waiting[:number]
        del waiting[:number]


def chosen(examples: Sequence[Example], number: int, seed: int) -> list[Example]:
    """`number` examples of each task, drawn by the seed."""
    rng, kept = random.Random(f"chosen/{seed}"), list[Example]()
    for task in dict.fromkeys(example.task for example in examples):
        mine = [example for example in examples if example.task == task]
        kept += rng.sample(mine, min(number, len(mine)))
    return kept


def learn_references(
    policy: Policy, examples: Sequence[Example], steps: int, batch: int, rate: float, seed: int
) -> Iterator[int]:
    """Supervised: cross-entropy of the right label. AdamW; the rate falls linearly to 0. Yields the number of steps that are done."""
    optimizer = torch.optim.AdamW(policy.trained, lr=rate, weight_decay=0.01)
    batches = order(examples, batch, seed)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 4) * (1 - step / steps)
        names = [example.id for example in next(batches)]
        right = torch.tensor([policy.prompts.right[name] for name in names])
        policy.step(optimizer, F.nll_loss(policy.logprobs(names), right))
        yield step + 1


def learn_rewards(
    policy: Policy, config: RunConfig, target: float, seed: int, curve: list[dict[str, float]]
) -> Iterator[int]:
    """Policy gradient on a `GraphReward`; the coefficient of the KL is steered to `target`. Yields the number of updates that are done; a line of each
    goes to `curve`: the KL on its prompts, the true goal of its answers, the coefficient."""
    scorer = NodeScorer(policy.graph, scorers=SCORERS["labels"])
    reward = GraphReward(policy.graph, scorer, config.reward, EpisodeBuilder(policy.prompts.train), seed)
    optimizer = torch.optim.AdamW(policy.trained, lr=config.ppo.learning_rate, weight_decay=0.0)
    batches = order(policy.prompts.train, config.ppo.batch_size // ANSWERS, seed)
    draws = torch.Generator().manual_seed(seed)
    coefficient, updates = config.ppo.kl_coef, config.ppo.updates
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = config.ppo.learning_rate * min(1.0, (update + 1) / 4) * (1 - update / updates)
        names = [example.id for example in next(batches)]
        with policy.as_reference():
            reference = policy.logprobs(names)
        logs = policy.logprobs(names)
        kl = (logs.exp() * (logs - reference)).sum(-1).mean()
        tokens = torch.multinomial(logs.detach().exp(), ANSWERS, replacement=True, generator=draws)  # [b, K]
        asked = [name for name in names for _ in range(ANSWERS)]
        texts = [policy.tokenizer.decode([token], skip_special_tokens=True) for token in tokens.flatten().tolist()]
        state = SimpleNamespace(global_step=update, max_steps=updates)
        paid = reward(
            [""] * len(asked),
            texts,
            [[token] for token in tokens.flatten().tolist()],
            example_id=asked,
            trainer_state=state,
        )
        reward.learn()
        values = torch.tensor([float("nan") if value is None else value for value in paid])
        observed = ~values.isnan()
        said = logs.gather(1, tokens).flatten()
        gain = (values.nan_to_num() * said * observed).sum() / max(1, int(observed.sum()))
        policy.step(optimizer, coefficient * kl - gain)
        right = [
            token == policy.prompts.right[name] for token, name in zip(tokens.flatten().tolist(), asked, strict=True)
        ]
        curve.append({
            "kl": round(float(kl.detach()), 4), "goal": round(sum(right) / len(right), 4), "kl_coef": round(coefficient, 5),
            "observed": round(float(observed.float().mean()), 3),
        })  # fmt: skip
        coefficient = steered(coefficient, float(kl.detach()), target)
        yield update + 1


class Cells:
    """The cells of one process: the model is loaded once."""

    def __init__(self, config: RunConfig, place: Path, demonstrations: int, target: float) -> None:
        self.policy, self.config = Policy(config, place / "trunk.pt"), config
        self.fresh = [weight.detach().clone() for weight in self.policy.trained]
        self.demonstrations, self.target = demonstrations, target
        self._warm: dict[int, tuple[list[Tensor], Tensor | None, dict[str, Any]]] = {}

    def warmed(self, seed: int) -> tuple[list[Tensor], Tensor | None, dict[str, Any]]:
        """The weights from which all arms of a seed start, what they say of the held-out prompts, and their score."""
        if seed not in self._warm:
            policy, sft = self.policy, self.config.sft
            policy.take(self.fresh)
            shown = chosen(policy.prompts.train, self.demonstrations, seed)
            for _ in learn_references(policy, shown, sft.steps, sft.batch_size, sft.learning_rate, seed):
                pass
            policy.take([weight.detach().clone() for weight in policy.trained])
            score = policy.measured()
            self._warm = {seed: (policy.reference, policy.before, score)}
        return self._warm[seed]

    def train(self, arm: str, seed: int) -> dict[str, Any]:
        """Train an arm, and look at it on the way."""
        weights, logs, before = self.warmed(seed)
        policy, ppo = self.policy, self.config.ppo
        policy.take(weights, logs)
        torch.manual_seed(seed)
        started, processor = time.perf_counter(), time.process_time()
        training: list[dict[str, float]] = []
        if arm.startswith("supervised"):
            tasks = len(policy.graph.spec.tasks)
            seen = round(self.config.reward.goal_observed * ppo.updates * ppo.batch_size / tasks)
            shown = chosen(policy.prompts.train, seen, seed) if arm == "supervised_seen" else policy.prompts.train
            steps = learn_references(policy, shown, ppo.updates, ppo.batch_size // ANSWERS, ppo.learning_rate, seed)
        else:
            reward = self.config.reward.model_copy(update={"readout": arm})
            config = self.config.model_copy(update={"reward": reward})
            steps = learn_rewards(policy, config, self.target, seed, training)
        looks = {max(1, round(share * ppo.updates)) for share in LOOKED_AT}
        curve = [{"update": 0, **before}]
        for done in steps:
            if done in looks:
                curve.append({"update": done, **policy.measured()})
        return {
            "episodes": ppo.updates * ppo.batch_size, "seconds": round(time.perf_counter() - started, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "before": before["score"], **{name: curve[-1][name] for name in ("score", "greedy", "kl", "tasks")},
            "curve": [{name: one[name] for name in ("update", "score", "greedy", "kl")} for one in curve],
            "training": training,
        }  # fmt: skip
