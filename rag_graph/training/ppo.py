"""`GraphPPOTrainer`: TRL's PPO with text prompts and plain reward functions. The ONLY file that imports trl.

What it takes from TRL 1.12 (`trl.experimental.ppo`): the constructor's bookkeeping (batch sizes, accelerator, adapters, reference
model, callbacks), `PPOConfig`, and the algorithm step for step; `tests/training/test_ppo_parity.py` runs both trainers and compares
parameters. What it owns: the loop, because stock reads rewards from an nn.Module, needs tokenised prompts, keeps every generation
logit, and ignores clipping and precision (docs/decisions/0003-own-ppo-loop.md).

Shapes: B episodes of an update, P prompt tokens (left-padded), T response tokens, V vocabulary.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
)

from rag_graph.errors import DataError, TrainingError
from rag_graph.generation.generate import encode_prompts, pad_left
from rag_graph.training.actor_critic import ActorCritic, SharedValueHead, response_logits
from rag_graph.training.rollout import (
    RewardFunction,
    Rollout,
    Row,
    StageClock,
    as_dataset,
    columns_of,
    generalized_advantages,
    masked_mean,
    rollout_metrics,
    score_completions,
)

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*trl.experimental.*")
    from trl.experimental.ppo import PPOConfig, PPOTrainer
    from trl.experimental.ppo.ppo_trainer import INVALID_LOGPROB, masked_whiten, truncate_response
    from trl.experimental.utils import first_true_indices
    from trl.models.utils import unwrap_model_for_generation
    from trl.trainer.utils import selective_log_softmax

__all__ = ["GraphPPOTrainer", "PPOConfig", "PPOTrainer"]


def _keep_rows(rows: list[Row]) -> dict[str, list[Row]]:
    return {"rows": rows}


class GraphPPOTrainer(PPOTrainer):  # type: ignore[misc]
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) for language models, with KL to a reference model
    (Ziegler et al. 2019, arXiv 1909.08593).

    Args:
        model: a causal language model, or its id or folder.
        reward_funcs: one function or several, see `RewardFunction`.
        args: TRL's `PPOConfig`. Differences to stock: `max_grad_norm` clips (0 switches it off), `bf16` autocasts, no
            `stop_token` means the tokenizer's end token, `missing_eos_penalty` asks for the stop token, mini-batches and accumulation take one optimizer step per mini-batch.
        train_dataset: rows with a column `prompt` (text, or a list of chat messages); all other columns reach the reward.
        processing_class: the tokenizer; its pad token must differ from its end token.
        ref_model: reference of the KL; default a frozen copy, or, with an adapter, the model with the adapter switched off.
        value_model: "shared" (a head on the policy's backbone), or a model with `.score` such as AutoModelForSequenceClassification.
        reward_weights: one weight per reward function, default 1.
        peft_config: train an adapter instead of the model.
        callbacks, optimizers: as in transformers' Trainer.

    Raises:
        DataError: no `prompt` column, or fewer rows than one batch.
        TrainingError: pad equals end token; a reward of the wrong length; NaN in loss or reward.
    """

    control: Any  # transformers' TrainerControl, untyped there

    def __init__(
        self,
        model: PreTrainedModel | str,
        reward_funcs: RewardFunction | Sequence[RewardFunction],
        args: PPOConfig,
        train_dataset: Dataset | Sequence[Row],
        processing_class: PreTrainedTokenizerBase | None = None,
        ref_model: PreTrainedModel | None = None,
        value_model: PreTrainedModel | Literal["shared"] = "shared",
        reward_weights: Sequence[float] | None = None,
        peft_config: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        if isinstance(model, str):
            processing_class = processing_class or AutoTokenizer.from_pretrained(model)
            model = AutoModelForCausalLM.from_pretrained(model)
        if processing_class is None:
            raise TrainingError("processing_class: the tokenizer is needed where the model is not given by name.")
        if processing_class.pad_token_id is None or processing_class.pad_token_id == processing_class.eos_token_id:
            raise TrainingError(
                "the tokenizer's pad token must exist and differ from its end token, or the end of every answer would be masked. "
                "Set one: tokenizer.pad_token = an unused token, or add_special_tokens({'pad_token': '<pad>'}) and resize the model."
            )
        self.reward_funcs: list[RewardFunction] = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
        self.reward_weights = [1.0] * len(self.reward_funcs) if reward_weights is None else list(reward_weights)
        if len(self.reward_weights) != len(self.reward_funcs) or not self.reward_funcs:
            raise TrainingError(f"{len(self.reward_weights)} reward_weights for {len(self.reward_funcs)} reward_funcs.")
        train_dataset = as_dataset(train_dataset, "train_dataset")
        # A hub model's own defaults (repetition penalty, min_p, ...) would sample from another policy than the one that is scored.
        model.generation_config = GenerationConfig(
            eos_token_id=processing_class.eos_token_id, pad_token_id=processing_class.pad_token_id
        )
        if args.stop_token is None and args.stop_token_id is None:
            args.stop_token = "eos"
        batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
        if len(train_dataset) < batch:
            raise DataError(
                f"train_dataset has {len(train_dataset)} rows, fewer than one batch of {batch}. Lower the batch or add rows."
            )
        with warnings.catch_warnings():  # stock reads names that transformers has deprecated
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            super().__init__(
                args=args,
                processing_class=processing_class,
                model=model,
                ref_model=ref_model,
                reward_model=nn.Identity(),  # stock asks for a module; ours are the reward functions
                train_dataset=train_dataset,
                value_model=SharedValueHead(model) if value_model == "shared" else value_model,
                data_collator=_keep_rows,
                eval_dataset=None,
                optimizers=optimizers,
                callbacks=callbacks,
                peft_config=peft_config,
            )
        self.accelerator.gradient_accumulation_steps = 1  # the loop below accumulates by itself
        self.remove_callback(PrinterCallback)
        self.max_prompt_tokens: int | None = (
            None  # longer prompts lose their left end; None: what the model has positions for
        )
        self.last_rollout: Rollout | None = None

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Called inside stock's constructor, before `prepare`: the place to put our own module in."""
        self.model = ActorCritic(self.policy_model, self.value_model)
        super().create_optimizer_and_scheduler(num_training_steps)

    def prepare_batch(self, rows: list[Row]) -> list[Row]:
        """Hook: turn dataset rows into rows with the final `prompt`, by the current policy if need be (draft, retrieve)."""
        return rows

    # ------------------------------------------------------------------ the loop

    def train(self) -> None:
        """Run `args.total_episodes` episodes. One update: roll out, score, optimise, then let the rewards learn."""
        args = self.args
        self.model.train()
        self.state.global_step = self.state.episode = 0
        self.state.max_steps = args.num_total_batches
        self.state.num_train_epochs = args.total_episodes / self.train_dataset_len
        self.state.logging_steps, self.state.eval_steps, self.state.save_steps = (
            args.logging_steps,
            args.eval_steps,
            args.save_steps,
        )
        self.control = self.callback_handler.on_train_begin(args, self.state, self.control)
        batches = self._batches()
        started = time.time()
        for _ in range(args.num_total_batches):
            rollout = self._roll_out(self.prepare_batch(next(batches)["rows"]))
            self.last_rollout = rollout
            statistics = self._optimise(rollout)
            self.state.episode += args.batch_size
            self.state.global_step += 1
            self.state.epoch = self.state.episode / self.train_dataset_len
            for function in self.reward_funcs:
                if hasattr(function, "update"):
                    function.update(
                        completions=rollout.completions,
                        completion_ids=rollout.completion_ids,
                        **columns_of(rollout.rows),
                    )
            self.log(self._metrics(rollout, statistics, started))
            self.lr_scheduler.step()
            self.control = self.callback_handler.on_step_end(args, self.state, self.control)
            if self.control.should_training_stop:
                break
        self.control = self.callback_handler.on_train_end(args, self.state, self.control)

    def _batches(self) -> Iterator[dict[str, list[Row]]]:
        while True:
            yield from self.dataloader

    def _autocast(self) -> Any:
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=bool(self.args.bf16))

    def _prompt_text(self, prompt: Any) -> str:
        if isinstance(prompt, str):
            return prompt
        return str(self.processing_class.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))

    @torch.no_grad()
    def _generate(self, queries: Tensor) -> Tensor:
        """Sample responses [B, T] for queries [B, P]; T is the longest response of the update."""
        args, tokenizer = self.args, self.processing_class
        kwargs = {
            "max_new_tokens": args.response_length,
            "temperature": args.temperature + 1e-7,
            "top_k": 0,
            "top_p": 1.0,
            "do_sample": True,
        }
        config = GenerationConfig(**kwargs, eos_token_id=self.stop_token_id, pad_token_id=tokenizer.pad_token_id)
        chunks = []
        with (
            unwrap_model_for_generation(self.model, self.accelerator, generation_kwargs=kwargs) as unwrapped,
            self._autocast(),
        ):
            policy = unwrapped.policy
            policy.eval()
            for start in range(0, len(queries), args.local_rollout_forward_batch_size):
                query = queries[start : start + args.local_rollout_forward_batch_size]
                mask = query != tokenizer.pad_token_id
                output = policy.generate(
                    input_ids=query.masked_fill(~mask, 0), attention_mask=mask, generation_config=config
                )
                chunks.append(output[:, query.shape[1] :])
            policy.train()
        longest = max(chunk.shape[1] for chunk in chunks)
        pad = tokenizer.pad_token_id
        return torch.cat([nn.functional.pad(chunk, (0, longest - chunk.shape[1]), value=pad) for chunk in chunks])

    @torch.no_grad()
    def _roll_out(self, rows: list[Row]) -> Rollout:
        args, tokenizer, pad = self.args, self.processing_class, self.processing_class.pad_token_id
        clock = StageClock()
        texts = [self._prompt_text(row["prompt"]) for row in rows]
        positions_left = getattr(self.policy_model.config, "max_position_embeddings", 1 << 20) - args.response_length
        limit = min(self.max_prompt_tokens or positions_left, positions_left)
        queries, _ = pad_left(encode_prompts(tokenizer, texts, limit), pad, self.accelerator.device)
        responses = self._generate(queries)
        clock.lap("generation")
        finished = truncate_response(self.stop_token_id, pad, responses)
        completion_ids = [line[: line.index(pad)] if pad in line else line for line in finished.tolist()]
        ended = torch.tensor([self.stop_token_id in ids for ids in completion_ids], device=responses.device)
        completions = self._completions(rows, completion_ids)
        scores = self._score(rows, completions, completion_ids)
        if args.missing_eos_penalty is not None:
            scores = scores - args.missing_eos_penalty * (~ended)
        clock.lap("reward")

        query_responses = torch.cat([queries, responses], 1)
        logprobs, ref_logprobs, values = self._evaluate_tokens(query_responses, responses)
        lengths = first_true_indices(finished == pad) - 1  # [B] index of the last token of the response
        positions = torch.arange(responses.shape[1], device=responses.device)[None]
        unscored = scores.isnan()
        padding = (positions > lengths[:, None]) | unscored[:, None]
        padding_p1 = (positions > lengths[:, None] + 1) | unscored[:, None]
        logprobs, ref_logprobs = (x.masked_fill(padding, INVALID_LOGPROB) for x in (logprobs, ref_logprobs))
        values = values.masked_fill(padding_p1, 0)
        logr = ref_logprobs - logprobs
        kl = -logr if args.kl_estimator == "k1" else (logr.exp() - 1) - logr  # joschu.net/blog/kl-approx.html
        rewards = -args.kl_coef * kl
        # The score goes to the position after the response where there is one: stock's convention, kept for parity.
        end = torch.where(lengths + 1 < rewards.shape[1], lengths + 1, lengths)
        rewards[torch.arange(len(rows), device=rewards.device), end] += scores.nan_to_num(0)
        if args.whiten_rewards:
            rewards = masked_whiten(rewards, ~padding_p1, shift_mean=False).masked_fill(padding_p1, 0)
        advantages, returns = generalized_advantages(rewards, values, args.gamma, args.lam)
        if (~padding).sum() > 1:
            advantages = masked_whiten(advantages, ~padding)
        advantages = advantages.masked_fill(padding, 0)
        clock.lap("scoring")
        return Rollout(
            rows, query_responses, responses, completions, completion_ids, scores, ended, logprobs, ref_logprobs, values,
            padding, padding_p1, advantages, returns, kl.masked_fill(padding, 0), clock.seconds,
        )  # fmt: skip

    def _evaluate_tokens(self, query_responses: Tensor, responses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities under policy and reference, and values, each [B, T]."""
        args, pad, num = self.args, self.processing_class.pad_token_id, responses.shape[1]
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for start in range(0, len(responses), args.local_rollout_forward_batch_size):
            chunk = slice(start, start + args.local_rollout_forward_batch_size)
            with self._autocast():
                logits, value = self.model(query_responses[chunk], pad, num)
                if self.ref_model is not None:
                    ref_logits, _ = response_logits(self.ref_model, query_responses[chunk], pad, num)
                else:
                    with self.null_ref_context():
                        policy = self.accelerator.unwrap_model(self.model).policy
                        ref_logits, _ = response_logits(policy, query_responses[chunk], pad, num)
            parts.append(
                (
                    *(
                        selective_log_softmax(x / (args.temperature + 1e-7), responses[chunk])
                        for x in (logits, ref_logits)
                    ),
                    value,
                )
            )
        logprobs, ref_logprobs, values = (torch.cat(part) for part in zip(*parts, strict=True))
        return logprobs, ref_logprobs, values

    def _completions(self, rows: list[Row], completion_ids: list[list[int]]) -> list[Any]:
        texts = self.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        return [
            text if isinstance(row["prompt"], str) else [{"role": "assistant", "content": text}]
            for row, text in zip(rows, texts, strict=True)
        ]

    def _score(self, rows: list[Row], completions: list[Any], completion_ids: list[list[int]]) -> Tensor:
        scores, self._reward_means = score_completions(
            self.reward_funcs, self.reward_weights, rows, completions, completion_ids
        )
        return scores.to(self.accelerator.device)

    # ------------------------------------------------------------------ optimisation

    def _optimise(self, rollout: Rollout) -> dict[str, list[float]]:
        args = self.args
        statistics: dict[str, list[float]] = {}
        started = time.perf_counter()
        if not bool((~rollout.padding).any()):
            warnings.warn("no episode of this update has a reward: the update is skipped", RuntimeWarning, stacklevel=2)
            self.optimizer.step()  # without gradients: moves nothing, and keeps the schedule in step
            return statistics
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for _ in range(args.num_ppo_epochs):
            order = np.random.permutation(args.local_batch_size)
            for start in range(0, args.local_batch_size, args.local_mini_batch_size):
                mini = order[start : start + args.local_mini_batch_size]
                for micro_start in range(0, len(mini), args.per_device_train_batch_size):
                    micro = torch.from_numpy(mini[micro_start : micro_start + args.per_device_train_batch_size])
                    loss, measured = self._loss(rollout, micro)
                    if not torch.isfinite(loss):
                        raise TrainingError(
                            f"the loss is {loss.item()} at update {self.state.global_step + 1}; the policy keeps its last state. Lower the learning rate."
                        )
                    self.accelerator.backward(loss * (len(micro) / len(mini)))
                    for name, value in measured.items():
                        statistics.setdefault(name, []).append(value)
                if args.max_grad_norm:
                    norm = self.accelerator.clip_grad_norm_(parameters, args.max_grad_norm)
                    statistics.setdefault("grad_norm", []).append(float(norm))
                self.optimizer.step()
                self.optimizer.zero_grad()
        rollout.seconds["optimisation"] = time.perf_counter() - started
        return statistics

    def _loss(self, rollout: Rollout, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
        """PPO's clipped surrogate and clipped value loss (Schulman et al. 2017, eq. 7 and 9) on some rows of a rollout."""
        args = self.args
        responses, padding, padding_p1 = rollout.responses[rows], rollout.padding[rows], rollout.padding_p1[rows]
        with self._autocast():
            logits, values = self.model(
                rollout.query_responses[rows], self.processing_class.pad_token_id, responses.shape[1]
            )
        logits = logits / (args.temperature + 1e-7)
        logprobs = selective_log_softmax(logits, responses).masked_fill(padding, INVALID_LOGPROB)
        values = values.masked_fill(padding_p1, 0)
        old, returns, advantages = rollout.values[rows], rollout.returns[rows], rollout.advantages[rows]
        clipped = values.clamp(old - args.cliprange_value, old + args.cliprange_value)
        losses, clipped_losses = (values - returns).square(), (clipped - returns).square()
        value_loss = 0.5 * masked_mean(torch.max(losses, clipped_losses), ~padding_p1)
        log_ratio = logprobs - rollout.logprobs[rows]
        ratio = log_ratio.exp()
        surrogate, clipped_surrogate = (
            -advantages * ratio,
            -advantages * ratio.clamp(1 - args.cliprange, 1 + args.cliprange),
        )
        policy_loss = masked_mean(torch.max(surrogate, clipped_surrogate), ~padding)
        with torch.no_grad():
            entropy = torch.logsumexp(logits, -1) - (logits.softmax(-1) * logits).sum(-1)
            measured = {
                "policy/approxkl_avg": 0.5 * log_ratio.square().mean(),
                "policy/clipfrac_avg": masked_mean((clipped_surrogate > surrogate).float(), ~padding),
                "policy/entropy_avg": masked_mean(entropy, ~padding),
                "loss/policy_avg": policy_loss,
                "loss/value_avg": value_loss,
                "val/clipfrac_avg": masked_mean((clipped_losses > losses).float(), ~padding_p1),
                "val/ratio": ratio.mean(),
            }
        return policy_loss + args.vf_coef * value_loss, {name: value.item() for name, value in measured.items()}

    def _metrics(self, rollout: Rollout, statistics: dict[str, list[float]], started: float) -> dict[str, float]:
        metrics = {
            "eps": int(self.state.episode / (time.time() - started)),
            **rollout_metrics(rollout, self.args.kl_coef, self.processing_class.eos_token_id),
            **{name: float(np.mean(values)) for name, values in statistics.items()},
            "val/ratio_var": float(np.var(statistics.get("val/ratio", [0.0]))),
            "lr": self.lr_scheduler.get_last_lr()[0],
            "episode": self.state.episode,
            **{f"rewards/{name}": value for name, value in self._reward_means.items()},
        }
        for function in self.reward_funcs:
            if hasattr(function, "metrics"):
                metrics.update(function.metrics())
        return metrics
