"""`GraphPPOTrainer`: TRL's PPO with text prompts and plain reward functions. The ONLY file that imports trl.

What it takes from TRL 1.12 (`trl.experimental.ppo`): the constructor's bookkeeping (batch sizes, accelerator, adapters, reference
model, callbacks), `PPOConfig`, and the algorithm step for step; `tests/ppo/test_parity.py` runs both trainers and compares
parameters. What it owns: the loop (docs/decisions/0003-own-ppo-loop.md). Its parts are next door: order and random numbers in
`episode_order.py`, sampling, forward passes and optimisation in `engine.py`, rewards in `rewards.py`, KL and advantages in
`rollout.py`, the loss in `objective.py`, checkpoints in `checkpoints.py` and `resume.py`.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)
from transformers.trainer_utils import TrainOutput

from rag_graph.errors import TrainingError
from rag_graph.ppo.actor_critic import ActorCritic, SharedValueHead
from rag_graph.ppo.callbacks import MetricsFile, ProgressBar, begin_folder, write_completions
from rag_graph.ppo.engine import Engine, check_settings
from rag_graph.ppo.episode_order import EpisodeOrder, as_dataset, rows_at
from rag_graph.ppo.influence import influence
from rag_graph.ppo.reward_functions import RewardFunction, Rewards, Row
from rag_graph.ppo.rollout import (
    Episodes,
    Rollout,
    StageClock,
    completion_table,
    decode_responses,
    encode_rows,
    rollout_metrics,
    table_means,
)
from rag_graph.ppo.trainer_state import (
    find_checkpoint,
    identity,
    load_policy,
    load_trainer,
    on_main,
    save_checkpoint,
    save_policy,
)

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*trl.experimental.*")
    from trl.experimental.ppo import PPOConfig, PPOTrainer
    from trl.models.utils import unwrap_model_for_generation

__all__ = ["GraphPPOConfig", "GraphPPOTrainer", "PPOConfig", "PPOTrainer"]


@dataclass
class GraphPPOConfig(PPOConfig):  # type: ignore[misc]
    """TRL's `PPOConfig`, every field doing what it says, and two more.

    What stock ignores and we honour: `max_grad_norm` (0 switches clipping off), `bf16`, `gradient_checkpointing`, `eval_strategy`,
    `save_strategy`, `save_total_limit`, `max_steps`, `eval_on_start`, `load_best_model_at_end`, `report_to`. Every update is logged. No `stop_token` means the tokenizer's end token. `num_sample_generations`
    tables of completions are spread over the run. `missing_eos_penalty` is for answers without the stop token. A mini-batch is one optimizer step however it is cut into micro-batches.
    """

    length_bucketing: bool = field(
        default=True,
        metadata={
            "help": "Work on episodes of similar length together, and sample with random numbers that belong to the episode, not to "
            "the batch. False: the order and the random numbers of stock TRL, through transformers' generate."
        },
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={"help": "Longer prompts lose tokens at their left end. None: what the model has positions for."},
    )
    gradient_checkpointing: bool | None = field(
        default=None,
        metadata={"help": "Trade time for memory. Off, unlike TRL's default, which stock PPO never acted on."},
    )

    @classmethod
    def of(cls, args: PPOConfig) -> GraphPPOConfig:
        """A copy of `args`, with the fields that a plain `PPOConfig` lacks at their defaults."""
        copied = copy.copy(args)
        if not isinstance(copied, cls):
            copied.__class__ = cls
        return copied  # type: ignore[no-any-return]


class GraphPPOTrainer(PPOTrainer):  # type: ignore[misc]
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) for language models, with KL to a reference model
    (Ziegler et al. 2019, arXiv 1909.08593).

    Args:
        model: a causal language model, or its id or folder.
        reward_funcs: one function or several, see `RewardFunction`.
        args: `GraphPPOConfig`, or TRL's `PPOConfig`.
        train_dataset: rows with a column `prompt` (text, or a list of chat messages); all other columns reach the reward. Epochs
            follow each other without a gap: every row is answered equally often, and none is dropped.
        eval_dataset: rows of the same kind, answered greedily by `evaluate`.
        processing_class: the tokenizer; its pad token must differ from its end token.
        ref_model: reference of the KL; default a frozen copy, or, with an adapter, the model with the adapter switched off.
        value_model: "shared" (a head on the policy's backbone), or a model with `.score` such as AutoModelForSequenceClassification.
        reward_weights: one weight per reward function, default 1.
        peft_config: train an adapter instead of the model.
        callbacks, optimizers: as in transformers' Trainer; an optimizer also gets the value head and the adapter, with its defaults.

    Raises:
        DataError: no `prompt` column, or no rows.
        TrainingError: pad equals end token; a reward of the wrong length, NaN or infinite; a gradient that is not finite.
    """

    control: Any  # transformers' TrainerControl, untyped there

    def __init__(
        self,
        model: PreTrainedModel | str,
        reward_funcs: RewardFunction | Sequence[RewardFunction],
        args: PPOConfig,
        train_dataset: Dataset | Sequence[Row],
        eval_dataset: Dataset | Sequence[Row] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        ref_model: PreTrainedModel | None = None,
        value_model: PreTrainedModel | Literal["shared"] | None = "shared",
        reward_weights: Sequence[float] | None = None,
        peft_config: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = GraphPPOConfig.of(args)
        if isinstance(model, str):
            processing_class = processing_class or AutoTokenizer.from_pretrained(model)
            model = AutoModelForCausalLM.from_pretrained(
                model, dtype=torch.float32
            )  # small steps vanish in bf16 weights
        value_model = "shared" if value_model is None else value_model
        self.rewards = Rewards(reward_funcs, reward_weights)
        self.max_prompt_tokens = check_settings(args, model, processing_class, value_model, peft_config)
        assert processing_class is not None
        train_dataset = as_dataset(train_dataset, "train_dataset", processing_class)
        held_out = None if eval_dataset is None else as_dataset(eval_dataset, "eval_dataset", processing_class)
        if held_out is None and (args.eval_strategy != "no" or args.eval_on_start):
            raise TrainingError(
                f"eval_strategy '{args.eval_strategy.value}' without an eval_dataset. Give one, or switch it off."
            )
        # A hub model's own defaults (repetition penalty, min_p, ...) would sample from another policy than the one that is scored.
        model.generation_config = GenerationConfig(
            eos_token_id=processing_class.eos_token_id, pad_token_id=processing_class.pad_token_id
        )
        if args.stop_token is None and args.stop_token_id is None:
            args.stop_token = "eos"
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
                data_collator=list,
                eval_dataset=held_out,
                optimizers=optimizers,
                callbacks=[MetricsFile(), *(callbacks or [])],
                peft_config=peft_config,
            )
        self.accelerator.gradient_accumulation_steps = 1  # the engine accumulates by itself
        self.remove_callback(PrinterCallback)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(ProgressBar())
        process = (self.accelerator.process_index, self.accelerator.num_processes)
        self.order = EpisodeOrder(args.seed, len(train_dataset), args.local_batch_size, *process)
        self.engine = Engine(
            args, self.accelerator, self.model, self.ref_model, self.optimizer, self._generating, processing_class.pad_token_id,
            self.stop_token_id, not (self.is_deepspeed_enabled or self.is_fsdp_enabled),
        )  # fmt: skip
        if not self.engine.whole_weights and args.save_strategy != "no":
            raise TrainingError(
                "checkpoints of sharded engines (FSDP, DeepSpeed) cannot be resumed yet. Set save_strategy='no' and call save_model()."
            )
        if len(train_dataset) < args.batch_size:
            warnings.warn(
                f"train_dataset has {len(train_dataset)} rows, fewer than one batch of {args.batch_size}: prompts repeat within an update.",
                RuntimeWarning,
                stacklevel=2,
            )
        if self.rewards.by_influence and self.accelerator.num_processes > 1:
            raise TrainingError(
                "a meta-gradient takes the gradient of one process's policy. Train on one, or set reward.learn.method=alignment."
            )
        self.last_rollout: Rollout | None = None
        self.last_metrics: dict[str, float] = {}
        self._trained = False
        self._identity: dict[str, Any] | None = None
        self.control = self.callback_handler.on_init_end(args, self.state, self.control)

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Called inside stock's constructor, before `prepare`: the place to put our own module in."""
        args = self.args
        if args.max_steps > 0:
            args.num_total_batches = num_training_steps = args.max_steps
        if args.gradient_checkpointing:
            for module in (self.policy_model, self.value_model):
                if isinstance(module, PreTrainedModel) or hasattr(module, "get_base_model"):
                    enable = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
                    enable(args.gradient_checkpointing_kwargs)
        plugins = (getattr(self.accelerator.state, name, None) for name in ("deepspeed_plugin", "fsdp_plugin"))
        self.model = ActorCritic(self.policy_model, self.value_model, whole_weights=not any(plugins))
        if self.optimizer is not None:  # the caller could not know the value head, nor the adapter
            known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            missing = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
            if missing:
                self.optimizer.add_param_group({"params": missing})
        super().create_optimizer_and_scheduler(num_training_steps)

    def prepare_batch(self, rows: list[Row]) -> list[Row]:
        """Hook: turn dataset rows into rows with the final `prompt`, by the current policy if need be (draft, retrieve)."""
        return rows

    def after_update(self, rollout: Rollout) -> dict[str, float]:
        """Hook: what else learns from an update, after policy and rewards; what is returned is logged."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """Hook: what a checkpoint keeps of what learns in `after_update`: nested dicts and lists of tensors, numbers and texts."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Hook: take `extra_state` back."""

    # ------------------------------------------------------------------ the loop

    def train(self, resume_from_checkpoint: bool | str | Path | None = None) -> TrainOutput:
        """Run `args.total_episodes` episodes. One update: roll out, score, optimise, then let the rewards learn.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or True for the newest whole one in `args.output_dir`. The run then ends
                with the same weights and metrics as one that was never stopped.

        Raises:
            TrainingError: the checkpoint is torn or of another run; with True, there is none to use.
        """
        args, state, folder = self.args, self.state, Path(self.args.output_dir)
        if self._trained and not resume_from_checkpoint:
            raise TrainingError(
                "this trainer has trained already: its schedule and its rewards are used up. Make a new one, or resume_from_checkpoint."
            )
        self._trained = True
        self.model.train()
        self.optimizer.zero_grad()  # what an earlier training left in the weights' gradients is not ours
        self.rewards.forget()  # nor what somebody scored before
        state.global_step, state.episode, state.epoch = 0, 0, 0.0
        state.max_steps = args.num_total_batches
        state.num_train_epochs = state.max_steps * args.batch_size / self.train_dataset_len
        for name in ("logging_steps", "eval_steps", "save_steps"):
            steps = getattr(args, name)
            setattr(state, name, int(np.ceil(state.max_steps * steps)) if steps and steps < 1 else steps)
        if resume_from_checkpoint:
            load_trainer(self, find_checkpoint(self, resume_from_checkpoint))
        self.rewards.advance(state.global_step / max(1, state.max_steps - 1))
        on_main(self, lambda: begin_folder(folder, state.global_step, args))
        self.control = self.callback_handler.on_train_begin(args, state, self.control)
        if args.eval_on_start and state.global_step == 0:
            self.evaluate()
        started, first = time.time(), state.episode
        while state.global_step < state.max_steps and not self.control.should_training_stop:
            self._update(started, first)
        if args.load_best_model_at_end and state.best_model_checkpoint:
            load_policy(self.policy_model, Path(state.best_model_checkpoint), args.model_adapter_name)
        self.control = self.callback_handler.on_train_end(args, state, self.control)
        return TrainOutput(state.global_step, self.last_metrics.get("loss/policy_avg", float("nan")), self.last_metrics)

    def _update(self, started: float, first_episode: int) -> None:
        args, state, update = self.args, self.state, self.state.global_step
        self.control = self.callback_handler.on_step_begin(args, state, self.control)
        began = time.perf_counter()
        rollout = self._roll_out(self.prepare_batch(rows_at(self.train_dataset, self.order.rows(update))))
        self.last_rollout = rollout
        self._move_graphs(rollout.episodes)
        optimising = time.perf_counter()
        statistics = self.engine.optimise(rollout, self.order.mini_batches(update))
        rollout.seconds["optimisation"] = time.perf_counter() - optimising
        if not statistics:
            warnings.warn("no episode of this update has a reward: the weights stay", RuntimeWarning, stacklevel=3)
        self._teach_rewards()
        beside = self.after_update(rollout)
        learning_rate = self.lr_scheduler.get_last_lr()[0]
        with warnings.catch_warnings():  # an update without any observed reward takes no optimizer step
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step")
            self.lr_scheduler.step()
        state.episode += args.batch_size
        state.global_step += 1
        epoch, state.epoch = int(state.epoch), state.episode / self.train_dataset_len
        eos = self.processing_class.eos_token_id
        metrics = rollout_metrics(rollout, self.rewards.names, args.kl_coef, eos, self.engine.reduce)
        seconds = time.perf_counter() - began
        self.last_metrics = {
            "eps": int((state.episode - first_episode) / (time.time() - started)),
            **metrics,
            **statistics,
            "lr": learning_rate,
            "episode": state.episode,
            "episodes_per_second": args.batch_size / seconds,
            "tokens_per_second": metrics["val/response_tokens"] * args.batch_size / seconds,
            "seconds/update": seconds,
            **self.rewards.metrics(),
            **beside,
        }
        self.log(dict(self.last_metrics))
        self.rewards.advance(state.global_step / max(1, state.max_steps - 1), metrics["objective/kl"])
        if args.num_sample_generations > 0 and update % self.sample_generations_freq == 0:
            self._write_completions(f"update-{state.global_step:06d}", rollout)
        self.control = self.callback_handler.on_step_end(args, state, self.control)
        if int(state.epoch) > epoch:
            self.control = self.callback_handler.on_epoch_end(args, state, self.control)
        best = False
        if self.control.should_evaluate and self.eval_dataset is not None:
            held_out = self.evaluate()
            if args.metric_for_best_model is not None:
                best = bool(self._determine_best_metric(held_out, None))
                self.control.should_save |= best and args.save_strategy == "best"
        if self.control.should_save:
            if best:
                state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.save_checkpoint()
            self.control = self.callback_handler.on_save(args, state, self.control)

    @torch.no_grad()
    def _roll_out(self, rows: list[Row]) -> Rollout:
        args, engine, clock = self.args, self.engine, StageClock()
        episodes = self._answer(rows, self.order.uniforms(self.state.global_step, args.response_length))
        clock.lap("generation")
        num_tokens = engine.longest(episodes.completion_ids)
        scored = self.rewards.score(rows, episodes.completions, episodes.completion_ids, num_tokens, self.state)
        clock.lap("reward")
        judged = engine.judge(episodes.query_ids, episodes.completion_ids, num_tokens)
        clock.lap("scoring")
        ended = torch.tensor([engine.stop_id in ids for ids in episodes.completion_ids])
        device = self.accelerator.device
        return Rollout.of(episodes, scored.to(device), judged, ended.to(device), args, engine.reduce, clock.seconds)

    def _answer(self, rows: list[Row], uniforms: torch.Tensor | None = None, greedy: bool = False) -> Episodes:
        queries = encode_rows(self.processing_class, rows, self.max_prompt_tokens)
        responses = self.engine.generate(queries, uniforms, greedy)
        return Episodes(rows, queries, decode_responses(self.processing_class, rows, responses), responses)

    @contextmanager
    def _generating(self) -> Iterator[Any]:
        gather = self.args.ds3_gather_for_generation
        with unwrap_model_for_generation(self.model, self.accelerator, gather_deepspeed3_params=gather) as model:
            yield model

    def _move_graphs(self, episodes: Episodes) -> None:
        """Rewards that learn by a meta-gradient are told how each episode bears on their held-out objective."""
        for reward in self.rewards.by_influence:
            reward.move(influence(self.engine, episodes.query_ids, episodes.completion_ids, reward.held_out()))

    def _teach_rewards(self) -> None:
        """Every process teaches its copy of the rewards with what was scored on all, in the order of the global batch."""
        self.rewards.learn(gather_object)

    def _write_completions(self, name: str, rollout: Rollout) -> None:
        names, stop = self.rewards.names, self.engine.stop_id
        table = gather_object(completion_table(rollout.episodes, rollout.scored, names, stop, rollout.kl))
        if self.is_world_process_zero():
            write_completions(Path(self.args.output_dir), name, table)

    # ------------------------------------------------------------------ evaluation

    @torch.no_grad()
    def evaluate(
        self,
        eval_dataset: Dataset | Sequence[Row] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Answer held-out prompts greedily and score them: the mean reward in all and per function, share cut short, length.

        Logged under `eval_...`; the answers go to `completions/eval-UPDATE.jsonl`. Rewards do not learn from them.
        """
        rows = self.eval_dataset
        if eval_dataset is not None:
            rows = as_dataset(eval_dataset, "eval_dataset", self.processing_class)
        if rows is None:
            raise TrainingError("evaluate: there is no eval_dataset. Give one here or to the constructor.")
        index, count, size = self.accelerator.process_index, self.accelerator.num_processes, self.args.eval_batch_size
        mine, table = list(range(index, len(rows), count)), []
        for start in range(0, len(mine), size):
            batch = self.prepare_batch(rows_at(rows, mine[start : start + size]))
            episodes = self._answer(batch, greedy=True)
            longest = max(1, *map(len, episodes.completion_ids))
            scored = self.rewards.score(batch, episodes.completions, episodes.completion_ids, longest, self.state)
            table += completion_table(episodes, scored, self.rewards.names, self.engine.stop_id)
        self.rewards.forget()
        table = gather_object(table)
        metrics = table_means(table, self.rewards.names)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        if self.is_world_process_zero():
            write_completions(Path(self.args.output_dir), f"{metric_key_prefix}-{self.state.global_step:06d}", table)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def generate_completions(self, sampling: bool = False) -> None:
        """Stock's name for a table of answers to the held-out prompts: here `evaluate`, which writes one."""
        self.evaluate()

    # ------------------------------------------------------------------ saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The policy (or its adapter) and the tokenizer, for `from_pretrained`."""
        state = None
        if not self.engine.whole_weights:
            gathered = self.accelerator.get_state_dict(self.model)
            state = {k.removeprefix("policy."): v for k, v in (gathered or {}).items() if k.startswith("policy.")}
        if self.is_world_process_zero():
            save_policy(self.policy_model, self.processing_class, Path(output_dir or self.args.output_dir), state)
        self.accelerator.wait_for_everyone()

    def save_checkpoint(self) -> Path:
        """Write `checkpoint-UPDATE` in the output folder, whole or not at all; called on every process. `resume.py` says what it holds."""
        return save_checkpoint(self)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.save_checkpoint()

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be taken."""
        if self._identity is None:
            self._identity = identity(self)
        return self._identity
