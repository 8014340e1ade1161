"""`GraphPPOConfig`: every setting of a PPO run, with the field names, meanings and defaults of TRL 1.12's `PPOConfig`.

TRL 1.12 is the last release that has PPO, so its settings live here. What a field does is in the field's `help`, which
`transformers.HfArgumentParser` shows on the command line.
"""

from __future__ import annotations

import copy
import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from rag_graph.display import settings_line
from rag_graph.errors import TrainingError


def _says(default: Any, text: str) -> Any:
    """A field of a dataclass with its help."""
    return field(default=default, metadata={"help": text})


@dataclass
class GraphPPOConfig(TrainingArguments):  # type: ignore[misc]
    """Settings of `GraphPPOTrainer`: transformers' `TrainingArguments`, the fields of TRL 1.12's `PPOConfig`, and a few of our own.

    Not taken over from `PPOConfig`, because PPO reads none of them: `dataset_num_proc`, `sft_model_path`, `reward_model_path`. The sizes
    that follow from other fields (`batch_size`, `local_batch_size`, `micro_batch_size`, `mini_batch_size`, `local_mini_batch_size`,
    `num_total_batches`) are properties.

    Where a field does more than in TRL: `max_grad_norm` clips (0 switches clipping off), and `bf16`, `activation_checkpointing`,
    `eval_strategy`, `eval_on_start`, `save_strategy`, `save_total_limit`, `max_steps`, `load_best_model_at_end` and `report_to` are
    acted on. Every update is logged. Without a `stop_token_id` every end token that the tokenizer or the model's configs
    declare stops an answer. A mini-batch is one optimizer step, however it is cut into micro-batches.

    Defaults that differ from TRL's: `activation_checkpointing` is off, and `bf16` is on only where there is a GPU that has it, so
    `GraphPPOConfig()` works on every machine.
    """

    learning_rate: float = _says(3e-6, "Initial learning rate of the optimizer.")
    logging_steps: float = _says(10, "What `eval_steps` is where evaluation goes by steps and names none.")
    bf16: bool | None = _says(None, "bfloat16 autocast. None: on a GPU that has it.")
    ddp_find_unused_parameters: bool | None = _says(
        False, "Several processes: look for weights that a pass does not use. PPO uses all of them in every pass."
    )
    total_episodes: int | None = _says(
        None, "Episodes of the training. None: num_train_epochs times the rows (times samples_per_prompt)."
    )
    num_ppo_epochs: int = _says(4, "Times that an update goes over its episodes.")
    num_mini_batches: int = _says(1, "Mini-batches of an update, each one optimizer step.")
    local_rollout_forward_batch_size: int = _says(64, "Episodes in one forward pass without gradients, per process.")
    num_sample_generations: int = _says(10, "Tables of completions, spread over the training. 0: none.")
    response_length: int = _says(53, "Longest response, in tokens.")
    stop_token: Literal["eos"] | None = _says(
        None, "'eos', like None: the end tokens of tokenizer and model stop an answer. Excludes stop_token_id."
    )
    stop_token_id: int | None = _says(
        None, "Id of the only token that stops an answer. None: every end token of tokenizer and model."
    )
    temperature: float = _says(0.7, "Sampling temperature, also of the log-probabilities.")
    missing_eos_penalty: float | None = _says(
        None, "Taken from the reward of an answer without a stop token; positive."
    )
    train_layers: int | None = _says(
        None,
        "Train only the top layers, this many; what the frozen layers below give is computed once for each token. None: all are trained.",
    )
    prompt_cache_gb: float = _says(
        0.5,
        "With train_layers: memory for what the frozen layers gave for prompts, in GB. A prompt that comes again in a later update is read by the top "
        "layers alone. Nothing is kept where prompts do not come twice on average, or with 0.",
    )
    model_adapter_name: str | None = _says(None, "Name of the adapter that is trained, where there are several.")
    ref_adapter_name: str | None = _says(None, "Name of the adapter that is the reference, where there are several.")
    whiten_rewards: bool = _says(False, "Scale the rewards of an update to variance 1.")
    kl_coef: float = _says(0.05, "Coefficient of the KL to the reference model.")
    kl_estimator: Literal["k1", "k3"] = _says("k1", "Estimator of the KL, see joschu.net/blog/kl-approx.html.")
    cliprange: float = _says(0.2, "Clip range of the ratio of probabilities.")
    vf_coef: float = _says(0.1, "Coefficient of the value loss.")
    cliprange_value: float = _says(0.2, "Clip range of the values.")
    gamma: float = _says(1.0, "Discount factor.")
    lam: float = _says(0.95, "Lambda of generalised advantage estimation.")
    ds3_gather_for_generation: bool = _says(
        True,
        "DeepSpeed ZeRO-3: gather the weights while sampling. Faster, but the whole policy must fit on one device.",
    )
    samples_per_prompt: int = _says(
        1, "Answers to each prompt of an update, side by side in the batch; the batch size counts them all."
    )
    length_bucketing: bool = _says(
        True,
        "Work on episodes of similar length together, and sample with random numbers that belong to the episode, not to the batch. "
        "False: the order and the random numbers of TRL 1.12, through transformers' generate.",
    )
    max_prompt_length: int | None = _says(
        None,
        "Of a longer prompt the middle is left out; the metric prompts/cut counts such prompts. None: what the model has positions for.",
    )

    def __repr__(self) -> str:
        """What is not as its default; never a token of a service."""
        told = (
            found for found in fields(self) if found.default is not MISSING and not found.name.endswith("hub_token")
        )
        changed = {found.name: getattr(self, found.name) for found in told}
        defaults = {found.name: found.default for found in fields(self)}
        return settings_line(
            "GraphPPOConfig", {name: value for name, value in changed.items() if value != defaults[name]}
        )

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = not self.fp16 and not self.use_cpu and is_torch_bf16_gpu_available()
        super().__post_init__()

    @property
    def local_batch_size(self) -> int:
        """Episodes of an update on one process."""
        return int(self.per_device_train_batch_size * self.gradient_accumulation_steps)

    @property
    def batch_size(self) -> int:
        """Episodes of an update."""
        return self.local_batch_size * int(self.world_size)

    @property
    def prompts_per_batch(self) -> int:
        """Prompts of an update."""
        return self.batch_size // self.samples_per_prompt

    @property
    def micro_batch_size(self) -> int:
        """Episodes of a forward pass of the update, over all processes."""
        return int(self.per_device_train_batch_size * self.world_size)

    @property
    def local_mini_batch_size(self) -> int:
        """Episodes of an optimizer step on one process."""
        return self.local_batch_size // self.num_mini_batches

    @property
    def mini_batch_size(self) -> int:
        """Episodes of an optimizer step."""
        return self.local_mini_batch_size * int(self.world_size)

    @property
    def num_total_batches(self) -> int:
        """Updates of the training; `total_episodes` must be known, as it is in a trainer's `args`."""
        if self.max_steps > 0:
            return int(self.max_steps)
        assert self.total_episodes is not None
        return math.ceil(self.total_episodes / self.batch_size)

    def prompt_bytes(self, num_rows: int) -> int:
        """What is kept of prompts from update to update, for a data set of `num_rows` rows: nothing where they do not come twice on average, because
        a prompt that is kept is read by itself, which takes longer than in a batch."""
        comes = self.num_total_batches * self.prompts_per_batch / num_rows
        return int(self.prompt_cache_gb * 1e9) if comes >= 2 else 0

    def resolved(self, num_rows: int) -> GraphPPOConfig:
        """A copy in which `total_episodes` is known, for a data set of `num_rows` rows.

        Raises:
            TrainingError: two fields contradict each other.
        """
        if self.num_mini_batches < 1 or self.local_batch_size % self.num_mini_batches:
            raise TrainingError(
                f"num_mini_batches {self.num_mini_batches} does not divide the {self.local_batch_size} episodes of an update on a process "
                "(per_device_train_batch_size times gradient_accumulation_steps)."
            )
        if self.samples_per_prompt < 1 or self.local_batch_size % self.samples_per_prompt:
            raise TrainingError(
                f"samples_per_prompt {self.samples_per_prompt} does not divide the {self.local_batch_size} episodes of an update on a process "
                "(per_device_train_batch_size times gradient_accumulation_steps)."
            )
        if self.stop_token is not None and self.stop_token_id is not None:
            raise TrainingError("stop_token and stop_token_id are both set. Set one of them.")
        for name, known in (
            ("stop_token", (None, "eos")),
            ("kl_estimator", ("k1", "k3")),
        ):
            if getattr(self, name) not in known:
                raise TrainingError(
                    f"{name} is {getattr(self, name)!r}: one of {', '.join(map(repr, known))} is expected."
                )
        args = copy.copy(self)
        if args.total_episodes is None:
            args.total_episodes = int(args.num_train_epochs * num_rows) * args.samples_per_prompt
        return args
