"""`GraphPPOTrainer`: PPO with text prompts and plain reward functions. The loop.

The algorithm is that of TRL 1.12, the last release that has PPO, step for step; `tests/ppo/test_parity.py` runs both and compares
parameters (docs/decisions/0003-own-ppo-loop.md). The parts are next door: settings in `arguments.py`, the constructor in
`setup.py`, adapter and reference in `models.py`, order and random numbers in `episode_order.py`, sampling, forward passes and optimisation in `engine.py`, rewards in
`reward_functions.py`, KL and advantages in `rollout.py`, the loss in `objective.py`, held-out prompts in `evaluation.py`, checkpoints
in `checkpoints.py` and `trainer_state.py`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers.trainer_utils import TrainOutput

from rag_graph.errors import TrainingError
from rag_graph.generation.chat import decode_responses, encode_rows
from rag_graph.generation.end_tokens import ended as has_ended
from rag_graph.ppo.callbacks import begin_folder, write_completions
from rag_graph.ppo.episode_order import as_dataset, rows_at
from rag_graph.ppo.evaluation import answer_held_out, is_best
from rag_graph.ppo.influence import influence
from rag_graph.ppo.reward_protocols import Row
from rag_graph.ppo.rollout import (
    Episodes,
    Rollout,
    StageClock,
    completion_table,
    rollout_metrics,
)
from rag_graph.ppo.setup import PPOSetup
from rag_graph.ppo.trainer_state import find_checkpoint, identity, load_policy, load_trainer, on_main, save_checkpoint


class GraphPPOTrainer(PPOSetup):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) for language models, with KL to a reference model
    (Ziegler et al. 2019, arXiv 1909.08593).

    Args:
        model: a causal language model, or its id or folder.
        reward_funcs: one function or several, see `RewardFunction`.
        args: the settings; they are copied.
        train_dataset: rows with a column `prompt` (text, or a list of chat messages, for whose
            template columns `tools` and `chat_template_kwargs` are); all other columns reach the reward. Epochs
            follow each other without a gap: every row is answered equally often, and none is dropped.
        eval_dataset: rows of the same kind, answered greedily by `evaluate`.
        processing_class: the tokenizer; its pad token must differ from its end token.
        ref_model: reference of the KL; default the model as it is given: a frozen copy, or its adapter as it was, or, under a fresh
            adapter, the model without it.
        value_model: "shared" (a head on the policy's backbone), or a model with `.score` such as AutoModelForSequenceClassification.
        reward_weights: one weight per reward function, default 1.
        peft_config: train an adapter instead of the model.
        callbacks, optimizers: as in transformers' Trainer; an optimizer also gets the value head and the adapter, with its defaults.

    Raises:
        DataError: no `prompt` column, no rows, or chat messages that the tokenizer's template refuses.
        ModelError: a model or tokenizer that cannot answer or be trained; says how to mend it.
        TrainingError: settings that cannot work; a reward of the wrong length, NaN or infinite; a gradient that is not finite.
    """

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
        self.model_wrapped.train()
        self.optimizer.zero_grad()  # what an earlier training left in the weights' gradients is not ours
        self.rewards.forget()  # nor what somebody scored before
        state.global_step, state.epoch = 0, 0.0
        state.max_steps = args.num_total_batches
        state.num_train_epochs = state.max_steps * args.prompts_per_batch / len(self.train_dataset)
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
        started, first = time.time(), state.global_step * args.batch_size
        while state.global_step < state.max_steps and not self.control.should_training_stop:
            self._update(started, first)
        if args.load_best_model_at_end and state.best_model_checkpoint:
            load_policy(self.policy_model, Path(state.best_model_checkpoint), args.model_adapter_name)
        self.control = self.callback_handler.on_train_end(args, state, self.control)
        return TrainOutput(state.global_step, self.last_metrics.get("loss/policy_avg", float("nan")), self.last_metrics)

    def _update(self, started: float, first_episode: int) -> None:
        args, state, update = self.args, self.state, self.state.global_step
        self.control = self.callback_handler.on_step_begin(args, state, self.control)
        began, clock = time.perf_counter(), StageClock()
        rows = self.prepare_batch(rows_at(self.train_dataset, self.order.rows(update)))
        clock.lap("preparation")
        rollout = self._roll_out(rows, clock)
        self.last_rollout = rollout
        self._move_graphs(rollout.episodes)
        clock.lap("reward_learning")
        statistics = self.engine.optimise(rollout, self.order.mini_batches(update))
        clock.lap("optimisation")
        if not statistics:
            warnings.warn("no episode of this update has a reward: the weights stay", RuntimeWarning, stacklevel=3)
        self._teach_rewards()
        clock.lap("reward_learning")
        beside = self.after_update(rollout)
        learning_rate = self.lr_scheduler.get_last_lr()[0]
        with warnings.catch_warnings():  # an update without any observed reward takes no optimizer step
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step")
            self.lr_scheduler.step()
        state.global_step += 1
        episode = state.global_step * args.batch_size
        epoch, state.epoch = int(state.epoch), state.global_step * args.prompts_per_batch / len(self.train_dataset)
        stop_ids = self.engine.stop_ids
        metrics = rollout_metrics(rollout, self.rewards.names, args.kl_coef, stop_ids, self.engine.reduce)
        seconds = time.perf_counter() - began
        self.last_metrics = {
            "eps": int((episode - first_episode) / (time.time() - started)),
            **metrics,
            **statistics,
            "lr": learning_rate,
            "episode": episode,
            "episodes_per_second": args.batch_size / seconds,
            "tokens_per_second": metrics["val/response_tokens"] * args.batch_size / seconds,
            "seconds/update": seconds,
            **self.rewards.metrics(),
            **beside,
        }
        self.log(dict(self.last_metrics))
        self.rewards.advance(state.global_step / max(1, state.max_steps - 1), metrics["objective/kl"])
        if args.num_sample_generations > 0 and update % max(1, state.max_steps // args.num_sample_generations) == 0:
            self._write_completions(f"update-{state.global_step:06d}", rollout)
        self.control = self.callback_handler.on_step_end(args, state, self.control)
        if int(state.epoch) > epoch:
            self.control = self.callback_handler.on_epoch_end(args, state, self.control)
        best = False
        if self.control.should_evaluate and self.eval_dataset is not None:
            held_out = self.evaluate()
            best = is_best(held_out, args, state)
            self.control.should_save |= best and args.save_strategy == "best"
        if self.control.should_save:
            if best:
                state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.save_checkpoint()
            self.control = self.callback_handler.on_save(args, state, self.control)

    @torch.no_grad()
    def _roll_out(self, rows: list[Row], clock: StageClock) -> Rollout:
        args, engine = self.args, self.engine
        episodes = self.answer(rows, self.order.uniforms(self.state.global_step, args.response_length))
        clock.lap("generation")
        num_tokens = engine.longest(episodes.completion_ids)
        scored = self.rewards.score(rows, episodes.completions, episodes.completion_ids, num_tokens, self.state)
        clock.lap("reward")
        judged = engine.judge(episodes.query_ids, episodes.completion_ids, num_tokens)
        clock.lap("scoring")
        ended = torch.tensor([has_ended(ids, engine.stop_ids) for ids in episodes.completion_ids])
        device = self.accelerator.device
        return Rollout.of(episodes, scored.to(device), judged, ended.to(device), args, engine.reduce, clock.seconds)

    def answer(self, rows: list[Row], uniforms: torch.Tensor | None = None, greedy: bool = False) -> Episodes:
        """The policy's answers to the prompts of `rows`."""
        queries = encode_rows(self.processing_class, rows, self.max_prompt_tokens)
        cut = [now or bool(row.get("prompt_cut")) for row, now in zip(rows, queries.cut, strict=True)]
        if any(queries.cut) and not self._said_cut:
            self._said_cut = True
            warnings.warn(
                f"{sum(queries.cut)} of {len(rows)} prompts are longer than {self.max_prompt_tokens} tokens: the middle of each is left out. The metric "
                "prompts/cut counts them. Raise max_prompt_length, or give shorter prompts.",
                RuntimeWarning,
                stacklevel=2,
            )
        responses = self.engine.generate(queries.ids, uniforms, greedy)
        completions = decode_responses(self.processing_class, rows, responses, self.engine.stop_ids)
        return Episodes(rows, queries.ids, completions, responses, cut)

    def _move_graphs(self, episodes: Episodes) -> None:
        """Rewards that learn by a meta-gradient are told how each episode bears on their held-out objective."""
        for reward in self.rewards.by_influence:
            reward.move(influence(self.engine, episodes.query_ids, episodes.completion_ids, reward.held_out()))

    def _teach_rewards(self) -> None:
        """Every process teaches its copy of the rewards with what was scored on all, in the order of the global batch."""
        self.rewards.learn(gather_object)

    def _write_completions(self, name: str, rollout: Rollout) -> None:
        names, stop = self.rewards.names, self.engine.stop_ids
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
        """Answer held-out prompts greedily and score them: the mean reward in all and per function, share cut short, length, and
        what the rewards measure (`ScoringReward`; of a `GraphReward` `eval_score`, `eval_score/TASK` and `eval_nodes/NODE/score`).

        Logged under `eval_...`; the answers go to `completions/eval-UPDATE.jsonl`. Rewards do not learn from them.
        """
        rows = self.eval_dataset
        if eval_dataset is not None:
            rows = as_dataset(eval_dataset, "eval_dataset", self.processing_class)
        if rows is None:
            raise TrainingError("evaluate: there is no eval_dataset. Give one here or to the constructor.")
        metrics = answer_held_out(self, rows, metric_key_prefix)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self) -> Path:
        """Write `checkpoint-UPDATE` in the output folder, whole or not at all; called on every process. `trainer_state.py` says
        what it holds."""
        return save_checkpoint(self)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.save_checkpoint()

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be taken."""
        if self._identity is None:
            self._identity = identity(self)
        return self._identity
