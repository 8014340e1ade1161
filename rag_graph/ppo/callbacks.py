"""What watches a PPO run: the metrics file, the table of completions, the progress bar, and rewards that learn in other trainers."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import TrainerCallback

from rag_graph.errors import TrainingError
from rag_graph.ppo.checkpoints import list_checkpoints, set_aside
from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.reward_protocols import LearningReward, has_part, layers_of, name_of
from rag_graph.runtime import append_records, to_json, write_atomically
from rag_graph.state_file import load_state, save_state
from rag_graph.stored_file import check_regular, read_records, using

METRICS = "metrics.jsonl"
ALARM = "alarms/"
"""Metrics that are 1 where something is wrong."""
LEARNED = "learning_rewards"
"""File of the rewards' state in checkpoints of trainers that do not know them."""


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """One line per update, and per evaluation, in `output_dir/metrics.jsonl`."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            stage = "evaluation" if any(name.startswith("eval_") for name in logs) else "ppo"
            append_records(Path(args.output_dir) / METRICS, [{"stage": stage, "update": state.global_step, **logs}])


def begin_folder(folder: Path, update: int, args: Any) -> None:
    """Ready a folder for training from `update` on: what an earlier training left there, beyond that point, is moved to `earlier-N/`
    (a whole other run, later checkpoints) or dropped (lines of metrics that will be written again). The arguments as resolved go to
    `ppo_arguments.json`; transformers leaves tokens of services out."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = folder / METRICS
    other = update == 0 and metrics.is_file() and any(row.get("update") for row in read_records(metrics))
    later = list_checkpoints(folder, after=update)
    if later or other:
        moved = set_aside(folder, [*later, *([metrics] if other else [])])
    if later:
        warnings.warn(
            f"{folder} holds checkpoints of an earlier training beyond update {update}: moved to {moved}.",
            RuntimeWarning,
            stacklevel=3,
        )
    keep_until(metrics, update)
    settings = json.dumps(args.to_dict(), indent=2, default=str, sort_keys=True)
    write_atomically(folder / "ppo_arguments.json", settings + "\n")


def keep_until(path: Path, update: int) -> None:
    """Drop the rows of a .jsonl file whose `update` is later: they will be written again."""
    if not check_regular(path):
        return
    with using(path):
        kept = [row for row in read_records(path) if row.get("update") is None or row["update"] <= update]
    write_atomically(path, "".join(to_json(row) + "\n" for row in kept))


def write_completions(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of completions as `folder/completions/NAME.jsonl`, one object per episode."""
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "completions" / f"{name}.jsonl", "".join(to_json(row) + "\n" for row in rows))


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """A bar of updates with score, reward, KL and the time left. The score is there where a reward reports one, as `GraphReward` does; so are the
    alarms that are on."""

    bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="PPO", unit="update", dynamic_ncols=True
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        shown = {"score": "score", "reward": "objective/scores", "kl": "objective/kl", "held-out score": "eval_score", "held-out reward": "eval_objective/scores"}  # fmt: skip
        numbers = {label: logs[name] for label, name in shown.items() if logs and name in logs}
        on = [name.removeprefix(ALARM) for name, value in (logs or {}).items() if name.startswith(ALARM) and value]
        if self.bar is not None and numbers:
            told = {label: f"{value:.3f}" for label, value in numbers.items() if not math.isnan(value)}
            self.bar.set_postfix({**({"alarm": ",".join(on)} if on else {}), **told})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class LearningRewards(TrainerCallback):  # type: ignore[misc]
    """Lets a reward learn in trainers that only call it, such as TRL's GRPOTrainer and RLOOTrainer.

        GRPOTrainer(..., reward_funcs=reward, callbacks=[LearningRewards(reward)])

    After every optimizer step the reward learns from what it scored since the last one, over all processes; what it scored for an
    evaluation is forgotten. The state of the reward is written into the trainer's checkpoints, and taken back when it resumes.
    `GraphPPOTrainer` does all this by itself, where it sees the reward. A `GraphReward` that is called by TRL's GRPOTrainer or RLOOTrainer adds this
    callback to the trainer by itself; it changes nothing to give it as well.

    Args:
        rewards: rewards that learn, such as `GraphReward`.

    Raises:
        TrainingError: a reward that does not learn, or that learns by a meta-gradient.
    """

    def __init__(self, *rewards: Any) -> None:
        self.kl = math.nan
        self._take(rewards)

    def _take(self, rewards: Sequence[Any]) -> None:
        for reward in rewards:
            if not any(has_part(layer, LearningReward) for layer in layers_of(reward)):
                raise TrainingError(
                    f"LearningRewards: {name_of(reward)} does not learn. Leave it out, or give it the methods take_kept() and learn(kept)."
                )
        self.rewards = Rewards(rewards)
        if self.rewards.by_influence:
            raise TrainingError(
                "reward.learn.method meta_gradient needs GraphPPOTrainer. Use alignment or none in other trainers."
            )

    @classmethod
    def join(cls, reward: Any, trainer: Any) -> None:
        """Let a reward learn in a trainer that has begun to call it. Where a callback of the trainer drives it already, nothing changes.

        Args:
            trainer: a `transformers.Trainer`.
        """
        callbacks = [one for one in trainer.callback_handler.callbacks if isinstance(one, cls)]
        if any(layer is reward for one in callbacks for layer in one.rewards.layers()):
            return
        if callbacks:
            callbacks[0]._take([*callbacks[0].rewards.functions, reward])
        else:
            callbacks = [cls(reward)]
            trainer.add_callback(callbacks[0])
        callbacks[0]._resume(trainer.args, trainer.state, only=reward)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._resume(args, state)

    def _resume(self, args: Any, state: Any, only: Any = None) -> None:
        """Take back the state of the rewards, or of one, where the trainer continues from a checkpoint."""
        if not state.global_step:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if (folder / f"{LEARNED}.json").is_file():
            self.rewards.load_state_dict(load_state(folder, LEARNED), only)
        else:
            warnings.warn(
                f"{folder}: no state of the reward ({LEARNED}.json): it starts from what it knows now. Resume in the output_dir of the first run.",
                RuntimeWarning,
                stacklevel=2,
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            save_state(folder, LEARNED, self.rewards.state_dict())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.kl = (logs or {}).get("kl", self.kl)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rewards.learn(gather_object)
        self.rewards.advance(state.global_step / max(1, state.max_steps - 1), self.kl)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rewards.forget()
