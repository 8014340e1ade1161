"""The arithmetic of PPO on whatever accelerate runs on: sampling, forward passes, optimisation. Knows no data set, reward or log.

Shapes: B episodes of an update on this process, T response tokens (longest of the update, over all processes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.errors import TrainingError
from rag_graph.generation.sampling import decodes_step_by_step, generate_responses, sample_responses
from rag_graph.ppo.actor_critic import PolicyForward, Tokens
from rag_graph.ppo.objective import ClipRanges, ppo_loss
from rag_graph.ppo.rollout import Judgement, Rollout
from rag_graph.ppo.token_logprobs import at_least_float32

Sequences = Sequence[Sequence[int]]


@dataclass
class Engine:
    """What PPO does with its models.

    Attributes:
        args: a `GraphPPOConfig`.
        model: the prepared `ActorCritic`.
        ref_model: None where the reference is the policy with its adapter switched off (or with `args.ref_adapter_name`).
        generating: gives the bare `ActorCritic`, its weights gathered, for sampling.
        pad_id, stop_id: token ids.
    """

    args: Any
    accelerator: Accelerator
    model: nn.Module
    ref_model: PreTrainedModel | None
    optimizer: Any
    generating: Callable[[], AbstractContextManager[Any]]
    pad_id: int
    stop_id: int | None
    whole_weights: bool

    def __post_init__(self) -> None:
        self.samples_itself = bool(self.args.length_bucketing) and (
            not self.whole_weights or decodes_step_by_step(self.bare.policy)
        )
        if self.ref_model is not None:
            self.reference_forward = PolicyForward(self.ref_model, self.whole_weights)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def bare(self) -> Any:
        """The `ActorCritic` without the wrapper of the parallel engine."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def temperature(self) -> float:
        return float(self.args.temperature) + 1e-7  # as stock: never 0

    @property
    def precision(self) -> torch.dtype:
        """Of log-probabilities, values and rewards: float32, or float64 where the policy is."""
        return at_least_float32(self.bare.policy.dtype)

    def autocast(self) -> Any:
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=bool(self.args.bf16))

    def reduce(self, value: Tensor) -> Tensor:
        """Sum over processes."""
        summed: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return summed

    def longest(self, sequences: Sequences) -> int:
        """T: over all processes, at least 1."""
        own = torch.tensor([max(1, *map(len, sequences))], device=self.accelerator.device)
        return int(self.accelerator.gather(own).max())

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def generate(self, queries: Sequences, uniforms: Tensor | None, greedy: bool = False) -> list[list[int]]:
        """Responses, the stop token included. `uniforms` [B, response_length] decide, where the model is not left to transformers'
        `generate` and its random numbers."""
        args, batch_size = self.args, self.args.local_rollout_forward_batch_size
        with self.generating() as model, self.autocast():
            policy = model.policy
            policy.eval()
            if self.samples_itself:
                responses = sample_responses(
                    policy, queries, args.response_length, None if greedy else uniforms, self.temperature, self.stop_id, self.pad_id, batch_size
                )  # fmt: skip
            else:
                temperature = None if greedy else self.temperature
                responses = generate_responses(
                    policy, queries, args.response_length, temperature, self.stop_id, self.pad_id, batch_size
                )
            policy.train()
        return responses

    # ------------------------------------------------------------------ forward passes

    @torch.no_grad()
    def judge(self, queries: Sequences, responses: Sequences, num_tokens: int) -> Judgement:
        """Score responses by policy, reference and value model; `num_tokens` is T."""
        shape = (4, len(queries), num_tokens)
        result = Judgement(*torch.zeros(shape, dtype=self.precision, device=self.accelerator.device).unbind())
        size = self.args.local_rollout_forward_batch_size
        order = self._by_length(range(len(queries)), queries, responses)
        # A parallel wrapper may talk to its peers in forward; where weights are whole there is no need.
        model = self.bare if self.whole_weights else self.model
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            tokens = self._tokens(rows, queries, responses)
            with self.autocast():
                scores = model(tokens, self.temperature, entropy=True)
                reference = self._reference_logprobs(tokens)
            width = scores.logprobs.shape[1]
            result.logprobs[rows, :width] = scores.logprobs
            result.ref_logprobs[rows, :width] = reference.to(self.precision)
            result.entropy[rows, :width] = scores.entropy
            value_width = min(width + 1, num_tokens)
            result.values[rows, :value_width] = scores.values[:, :value_width].to(self.precision)
        return result

    def _reference_logprobs(self, tokens: Tokens) -> Tensor:
        if self.ref_model is not None:
            return self.reference_forward(self.ref_model, tokens, self.temperature)[0]
        bare = self.bare
        with self._reference_adapter(bare.policy):
            logprobs: Tensor = bare.policy_forward(bare.policy, tokens, self.temperature)[0]
            return logprobs

    @contextmanager
    def _reference_adapter(self, policy: Any) -> Iterator[None]:
        if self.args.ref_adapter_name is None:
            with policy.disable_adapter():
                yield
        else:
            policy.set_adapter(self.args.ref_adapter_name)
            try:
                yield
            finally:
                policy.set_adapter(self.args.model_adapter_name or "default")

    def _by_length(self, rows: Sequence[int], queries: Sequences, responses: Sequences) -> list[int]:
        if not self.args.length_bucketing:
            return list(rows)
        return sorted(rows, key=lambda row: len(queries[row]) + len(responses[row]))

    def _tokens(self, rows: Sequence[int], queries: Sequences, responses: Sequences) -> Tokens:
        return Tokens.of([queries[row] for row in rows], [responses[row] for row in rows], self.accelerator.device)

    # ------------------------------------------------------------------ optimisation

    def optimise(self, rollout: Rollout, generator: np.random.Generator) -> dict[str, float]:
        """The epochs of an update: one optimizer step per mini-batch that has an observed episode.

        Raises:
            TrainingError: the loss has no finite gradient; the weights are those of the step before.
        """
        args = self.args
        totals: dict[str, float] = {}
        ratios: list[float] = []
        norms: list[float] = []
        for _ in range(args.num_ppo_epochs):
            order = generator.permutation(args.local_batch_size)
            for start in range(0, args.local_batch_size, args.local_mini_batch_size):
                mini = order[start : start + args.local_mini_batch_size].tolist()
                statistics, norm = self._step(rollout, mini)
                if norm is None:
                    continue
                norms.append(norm)
                ratios.append(statistics["val/ratio"])
                for name, value in statistics.items():
                    totals[name] = totals.get(name, 0.0) + value
        if not norms:
            return {}
        means = {name: total / len(norms) for name, total in totals.items()}
        return {**means, "val/ratio_var": float(np.var(ratios)), "grad_norm": float(np.mean(norms))}

    def _step(self, rollout: Rollout, mini: list[int]) -> tuple[dict[str, float], float | None]:
        """One optimizer step; (statistics, norm of the gradient before clipping), ({}, None) where nothing was observed."""
        args, micro_size = self.args, self.args.per_device_train_batch_size
        counts = torch.stack([(~rollout.padding[mini]).sum(), (~rollout.padding_p1[mini]).sum()])
        num_tokens, num_values = self.reduce(counts).unbind()
        if num_tokens == 0:
            return {}, None
        clip = ClipRanges(args.cliprange, args.cliprange_value, args.vf_coef)
        sums: dict[str, Tensor] = {}
        if self.accelerator.num_processes == 1:  # several processes must take the same number of steps
            observed = (~rollout.padding_p1).any(1).tolist()
            mini = [row for row in mini if observed[row]]
        mini = self._by_length(mini, rollout.episodes.query_ids, rollout.episodes.completion_ids)
        for start in range(0, len(mini), micro_size):
            rows = mini[start : start + micro_size]
            last = start + micro_size >= len(mini)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.autocast():
                    scores = self.model(
                        self._tokens(rows, rollout.episodes.query_ids, rollout.episodes.completion_ids),
                        self.temperature,
                    )
                index = torch.tensor(rows, device=self.accelerator.device)
                loss, measured = ppo_loss(scores, rollout, index, clip, num_tokens, num_values)
                # Parallel engines average gradients over processes; the loss is already a share of the whole mini-batch.
                self.accelerator.backward(loss * self.accelerator.num_processes)
            for name, value in measured.items():
                sums[name] = sums[name] + value if name in sums else value
        norm = float(self.accelerator.clip_grad_norm_(self.parameters, args.max_grad_norm or torch.inf))
        if not np.isfinite(norm):
            self.optimizer.zero_grad()
            raise TrainingError(
                f"the loss or its gradient is not finite (norm {norm}); the weights are those of the last good step. "
                "Lower the learning rate or the size of the rewards, and resume from the last checkpoint."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        summed = self.reduce(torch.stack(list(sums.values()))).tolist()
        return dict(zip(sums, summed, strict=True)), norm


def check_settings(
    args: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    value_model: Any,
    peft_config: Any = None,
) -> int:
    """The longest prompt in tokens.

    Raises:
        TrainingError: settings that cannot work, or that PPO would not act on; says which and what to do.
    """
    if tokenizer is None:
        raise TrainingError("processing_class: the tokenizer is needed where the model is not given by name.")
    if tokenizer.eos_token_id is None:
        raise TrainingError("the tokenizer has no end token, so no answer could end. Set tokenizer.eos_token.")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise TrainingError(
            "the tokenizer's pad token must exist and differ from its end token, or the end of every answer would be masked. "
            "Set one: tokenizer.pad_token = an unused token, or add_special_tokens({'pad_token': '<pad>'}) and resize the model."
        )
    size = model.get_input_embeddings().weight.shape[0]
    for name, token in (
        ("pad token", tokenizer.pad_token_id),
        ("end token", tokenizer.eos_token_id),
        ("stop_token_id", args.stop_token_id),
    ):
        if token is not None and not 0 <= token < max(size, 1):
            raise TrainingError(
                f"the {name} is {token}, and the model has {size} embeddings. Call model.resize_token_embeddings(len(tokenizer)) after adding tokens."
            )
    if args.stop_token_id is not None and args.stop_token_id == tokenizer.pad_token_id:
        raise TrainingError("stop_token_id is the pad token, which is never written. Name another.")
    for name in (
        "num_ppo_epochs",
        "local_rollout_forward_batch_size",
        "response_length",
        "max_prompt_length",
        "total_episodes",
    ):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise TrainingError(f"{name} is {getattr(args, name)}: at least 1 is expected.")
    if args.fp16:
        raise TrainingError("fp16: PPO's ratios do not survive its range without loss scaling. Use bf16=True.")
    if getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type) == "reduce_lr_on_plateau":
        raise TrainingError(
            "lr_scheduler_type reduce_lr_on_plateau: PPO steps its schedule without a metric. Use another."
        )
    unused = [
        name
        for name in ("neftune_noise_alpha", "label_smoothing_factor", "save_only_model", "data_seed")
        if getattr(args, name, None)
    ]
    if unused:
        warnings.warn(f"PPO does not act on: {', '.join(unused)}.", RuntimeWarning, stacklevel=4)
    adapters = [peft_config, *getattr(model, "peft_config", {}).values()]
    if any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters):
        raise TrainingError(
            "prompt learning (prompt, prefix or p-tuning) is not supported: use LoRA or another weight adapter."
        )
    if value_model != "shared" and (
        not hasattr(value_model, "score")
        or not hasattr(value_model, str(getattr(value_model, "base_model_prefix", "")))
        or getattr(value_model.score, "out_features", 1) != 1
    ):
        raise TrainingError(
            "value_model must be 'shared', or a model with a backbone and a head '.score' of one output, such as "
            "AutoModelForSequenceClassification.from_pretrained(..., num_labels=1)."
        )
    positions: int = getattr(model.config, "max_position_embeddings", 1 << 20)
    if positions <= args.response_length:
        raise TrainingError(
            f"response_length {args.response_length} leaves no position for a prompt: the model has {positions}."
        )
    left = positions - int(args.response_length)
    wanted: int | None = args.max_prompt_length
    return left if wanted is None else min(wanted, left)
