"""`GraphPPOTrainer` before its first update: settings checked, models, optimizer, data and engine made. And how its policy is saved."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
)

from rag_graph.errors import TrainingError
from rag_graph.generation.dropout import disable_dropout
from rag_graph.generation.end_tokens import declare_end_tokens, end_token_ids
from rag_graph.generation.pretrained import load_pretrained
from rag_graph.generation.trunk import Trunk, trained_part
from rag_graph.ppo.actor_critic import ActorCritic, SharedValueHead
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.callbacks import MetricsFile, ProgressBar
from rag_graph.ppo.checks import check_settings
from rag_graph.ppo.engine import Engine
from rag_graph.ppo.episode_order import EpisodeOrder, as_dataset
from rag_graph.ppo.models import (
    checkpoint_activations,
    freeze_value_trunk,
    in_float32,
    place_reference,
    reference_model,
    shared_trunk,
    starting_adapter,
)
from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.reward_protocols import RewardFunction, Row
from rag_graph.ppo.rollout import Rollout
from rag_graph.ppo.sharding import gathered
from rag_graph.ppo.trainer_state import save_policy


class PPOSetup(Trainer):  # type: ignore[misc]
    """What `GraphPPOTrainer` is made of; its arguments are explained there.

    Of transformers' Trainer it takes the accelerator, the optimizer and schedule, the callbacks and the log. The loop is not used.
    """

    control: Any  # these come from transformers, which has no types here
    optimizer: Any
    model_wrapped: Any

    def __init__(
        self,
        model: PreTrainedModel | str,
        reward_funcs: RewardFunction | Sequence[RewardFunction],
        args: GraphPPOConfig,
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
        if not isinstance(args, GraphPPOConfig):
            raise TrainingError(
                f"args is a {type(args).__name__}. Give a GraphPPOConfig: its fields have the names and meanings of TRL's PPOConfig."
            )
        if isinstance(model, str):
            model, own_tokenizer = load_pretrained(model)
            processing_class = processing_class or own_tokenizer
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
        args = args.resolved(len(train_dataset))
        ends = end_token_ids(model, processing_class)
        stop_ids = ends if args.stop_token_id is None else (args.stop_token_id,)
        declare_end_tokens(model, processing_class, tuple(dict.fromkeys([*stop_ids, *ends])))
        args.use_cache = getattr(
            model.config, "use_cache", True
        )  # transformers writes it into the config that is saved
        self.value_model = SharedValueHead(model) if value_model == "shared" else value_model
        self.policy_model = trained_part(model, peft_config, args.train_layers)
        freeze_value_trunk(self.policy_model, self.value_model, args.train_layers)
        in_float32(self.policy_model)
        if not isinstance(self.value_model, SharedValueHead):
            in_float32(self.value_model)
        for module in (self.policy_model, ref_model, self.value_model):
            if module is not None:
                disable_dropout(module)
        if args.gradient_checkpointing:
            checkpoint_activations((self.policy_model, self.value_model), args.gradient_checkpointing_kwargs)
        super().__init__(
            model=self.policy_model,
            args=args,
            data_collator=list,
            train_dataset=train_dataset,
            eval_dataset=held_out,
            processing_class=processing_class,
            callbacks=[MetricsFile(), *(callbacks or [])],
            optimizers=optimizers,
        )
        self.remove_callback(PrinterCallback)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(ProgressBar())
        self.ref_model = reference_model(self.policy_model, ref_model, share=self._whole_weights)
        self._prepare_models()
        process = (self.accelerator.process_index, self.accelerator.num_processes)
        self.order = EpisodeOrder(
            args.seed, len(train_dataset), args.local_batch_size, *process, args.samples_per_prompt
        )
        whole_weights = self._whole_weights
        self.engine = Engine(
            args, self.accelerator, self.model_wrapped, self.ref_model, self.optimizer, self._generating, processing_class.pad_token_id,
            stop_ids, whole_weights, starting_adapter(self.policy_model, self.ref_model, args, whole_weights), self.ref_trunk,
            args.prompt_bytes(len(train_dataset)),
        )  # fmt: skip
        if not self.engine.whole_weights and args.save_strategy != "no":
            raise TrainingError(
                "checkpoints of sharded engines (FSDP, DeepSpeed) cannot be resumed yet. Set save_strategy='no' and call save_model()."
            )
        if len(train_dataset) < args.prompts_per_batch:
            warnings.warn(
                f"train_dataset has {len(train_dataset)} rows, fewer than the {args.prompts_per_batch} prompts of one batch: prompts repeat within an update.",
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
        self._said_cut = False
        self._identity: dict[str, Any] | None = None

    def _prepare_models(self) -> None:
        """Policy and value model as one module, its optimizer and schedule, and all of them on what accelerate runs on."""
        own = value = reference = None
        if self.args.train_layers is not None and self._whole_weights:
            own = Trunk.of(self.policy_model, self.args.train_layers)
            value, reference = (
                shared_trunk(self.policy_model, other, self.args.train_layers)
                for other in (self.value_model, self.ref_model)
            )
        self.ref_trunk = reference
        self.model = ActorCritic(self.policy_model, self.value_model, self._whole_weights, own, value)
        self.create_optimizer_and_scheduler(self.args.num_total_batches)
        self.model_wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.ref_model = place_reference(self.ref_model, self.accelerator, self.is_deepspeed_enabled)
        self.callback_handler.optimizer, self.callback_handler.lr_scheduler = self.optimizer, self.lr_scheduler
        # For rewards that draw from the global generator: processes must not draw the same.
        torch.manual_seed(self.args.seed + 100003 * self.accelerator.process_index)

    @property
    def _whole_weights(self) -> bool:
        return not (self.is_deepspeed_enabled or self.is_fsdp_enabled)

    def create_optimizer(self, model: Any = None) -> Any:
        """As in transformers; an optimizer of the caller's also gets the weights that the caller could not know."""
        optimizer = super().create_optimizer(model)
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        missing = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        if missing:
            optimizer.add_param_group({"params": missing})
        return optimizer

    def _generating(self) -> AbstractContextManager[Any]:
        return gathered(self.model_wrapped, self.accelerator, self.args.ds3_gather_for_generation)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The policy (or its adapter) and the tokenizer, for `from_pretrained`."""
        state = None
        if not self.engine.whole_weights:
            whole = self.accelerator.get_state_dict(self.model_wrapped) or {}
            state = {k.removeprefix("policy."): v for k, v in whole.items() if k.startswith("policy.")}
        if self.is_world_process_zero():
            save_policy(self.policy_model, self.processing_class, Path(output_dir or self.args.output_dir), state)
        self.accelerator.wait_for_everyone()
