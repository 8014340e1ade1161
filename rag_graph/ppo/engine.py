"""The arithmetic of PPO on whatever accelerate runs on: sampling, forward passes, optimisation. Knows no data set, reward or log.

Shapes: B episodes of an update on this process, T response tokens (longest of the update, over all processes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from rag_graph.errors import TrainingError
from rag_graph.generation.half_weights import cast_once
from rag_graph.generation.sampling import generate_responses, sample_responses
from rag_graph.generation.steps import decodes_step_by_step
from rag_graph.generation.trunk import Trunk
from rag_graph.generation.trunk_memory import TrunkMemory
from rag_graph.generation.trunk_prompts import TrunkPrompts
from rag_graph.ppo.actor_critic import PolicyForward, Tokens
from rag_graph.ppo.models import StartingAdapter
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
        ref_model: None where the reference is the policy with another adapter, or with none.
        generating: gives the bare `ActorCritic`, its weights gathered, for sampling.
        pad_id, stop_ids: token ids; each of `stop_ids` ends an answer.
        starting_adapter: where the policy came with a trained adapter, that adapter is the reference.
        ref_trunk: the reference model's trunk, where it gives what the policy's gives.
        prompt_bytes: of what is kept of prompts from update to update, see `TrunkPrompts`.
    """

    args: Any
    accelerator: Accelerator
    model: nn.Module
    ref_model: PreTrainedModel | None
    optimizer: Any
    generating: Callable[[], AbstractContextManager[Any]]
    pad_id: int
    stop_ids: Sequence[int]
    whole_weights: bool
    starting_adapter: StartingAdapter | None
    ref_trunk: Trunk | None = None
    prompt_bytes: int = 0

    def __post_init__(self) -> None:
        self.samples_itself = bool(self.args.length_bucketing) and (
            not self.whole_weights or decodes_step_by_step(self.bare.policy)
        )
        if self.ref_model is not None:
            self.reference_forward = PolicyForward(self.ref_model, self.whole_weights, self.ref_trunk)
        trunk = self.bare.policy_forward.trunk
        self.memory = None
        if trunk is not None:
            most_bytes = self.prompt_bytes if self.samples_itself else 0
            self.memory = TrunkMemory(trunk, TrunkPrompts(trunk, self.bare.policy, most_bytes))
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
        """Responses, the token that ended them included; what the trunk gave for them is kept, unless they are `greedy`. `uniforms` [B, response_length] decide, where the model is not left to transformers'
        `generate` and its random numbers."""
        args, batch_size = self.args, self.args.local_rollout_forward_batch_size
        casting = cast_once(self.bare.policy) if self.whole_weights else nullcontext()
        with self.generating() as model, self.autocast(), casting:
            policy = model.policy
            policy.eval()
            memory = None if greedy else self.memory
            if memory is not None:
                memory.forget()
            if self.samples_itself:
                responses = sample_responses(
                    policy, queries, args.response_length, None if greedy else uniforms, self.temperature, self.stop_ids, self.pad_id, batch_size,
                    memory,
                )  # fmt: skip
            else:
                temperature = None if greedy else self.temperature
                responses = generate_responses(
                    policy, queries, args.response_length, temperature, self.stop_ids, self.pad_id, batch_size
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
            tokens = self.tokens(rows, queries, responses)
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
        if self.args.ref_adapter_name is not None:  # whose trunk may be another
            tokens = tokens._replace(below=None)
        with self._reference_adapter(bare.policy):
            logprobs: Tensor = bare.policy_forward(bare.policy, tokens, self.temperature)[0]
            return logprobs

    @contextmanager
    def _reference_adapter(self, policy: Any) -> Iterator[None]:
        if self.args.ref_adapter_name is None:
            with policy.disable_adapter() if self.starting_adapter is None else self.starting_adapter.in_place():
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

    def tokens(self, rows: Sequence[int], queries: Sequences, responses: Sequences) -> Tokens:
        """Some of the episodes as a block, with what the trunk gives for them where only the layers above are trained."""
        own, written = [queries[row] for row in rows], [responses[row] for row in rows]
        below = None
        if self.memory is not None:
            with self.autocast():
                below = self.memory.block(self.bare.policy, [[*q, *r] for q, r in zip(own, written, strict=True)])
        return Tokens.of(own, written, self.accelerator.device, below)

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
                        self.tokens(rows, rollout.episodes.query_ids, rollout.episodes.completion_ids),
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
