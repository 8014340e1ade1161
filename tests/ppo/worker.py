"""A small PPO run as a process of its own: killed and resumed, or one of several under torchrun.

python worker.py FOLDER [--updates 8] [--resume] [--lora] [--top] [--separate] [--sgd] [--kill-after 3.2] [--stop-at 3]
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from rag_graph.config import LoraSettings, ScratchConfig
from rag_graph.generation.language_model import lora_config
from rag_graph.generation.scratch import make_model, make_tokenizer
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.checkpoints import list_checkpoints
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.state_file import save_state

WORDS = "red blue green yellow good bad kettle mixer from oslo lima where is it ? the a . topic kitchen audio"
BATCH = 8


class Learner:
    """A reward with a state, and with random numbers of its own from the global generators."""

    __name__ = "learner"
    progress = 0.0

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise
        self.mean = torch.zeros(1)
        self.seen: list[int] = []
        self.kept: list[Any] = []

    def __call__(self, completion_ids: list[list[int]], number: list[int], **_: Any) -> list[float]:
        noise = self.noise * torch.rand(()).item()
        self.kept += zip(completion_ids, number, strict=True)
        return [len(set(ids)) / len(ids) + noise - self.mean.item() for ids in completion_ids]

    def take_kept(self) -> list[Any]:
        kept, self.kept = self.kept, []
        return kept

    def learn(self, kept: list[Any]) -> None:
        self.mean = 0.9 * self.mean + 0.1 * torch.tensor([sum(len(set(ids)) for ids, _ in kept) / 50])
        self.seen = [*self.seen, *(number for _, number in kept)]

    def advance(self, progress: float, kl: float) -> None:
        self.progress = progress

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "seen": self.seen, "progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean, self.seen, self.progress = state["mean"], state["seen"], state["progress"]


class StopAt(TrainerCallback):  # type: ignore[misc]
    def __init__(self, update: int) -> None:
        self.update = update

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop |= state.global_step >= self.update
        return control


def make(
    folder: Path,
    updates: int = 8,
    lora: bool = False,
    separate: bool = False,
    stop_at: int | None = None,
    **changes: Any,
) -> GraphPPOTrainer:
    tokenizer = make_tokenizer([WORDS] * 20, 320)
    torch.manual_seed(1)
    shape = ScratchConfig(
        vocab_size=320, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_length=128
    )
    value: Any = "shared"
    model = make_model(shape, tokenizer)
    if separate:
        from transformers import LlamaForSequenceClassification

        config = make_model(shape, tokenizer).config
        config.num_labels = 1
        value = LlamaForSequenceClassification(config)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": BATCH // 2 // processes, "gradient_accumulation_steps": 2,
        "per_device_eval_batch_size": 4, "total_episodes": BATCH * updates, "num_ppo_epochs": 2, "response_length": 6, "temperature": 1.0,
        "learning_rate": 3e-3, "num_sample_generations": 2, "bf16": False, "use_cpu": True, "report_to": "none", "save_strategy": "steps",
        "save_steps": 1, "save_total_limit": 3, "eval_strategy": "steps", "eval_steps": 4, "disable_tqdm": True, "seed": 3,
    }  # fmt: skip
    rows = [{"prompt": " ".join(WORDS.split()[at : at + 1 + at % 4]), "number": at} for at in range(19)]
    return GraphPPOTrainer(
        model, Learner(0.1 if processes == 1 and not os.environ.get("TORCHELASTIC_RUN_ID") else 0.0), GraphPPOConfig(**{**settings, **changes}), rows, eval_dataset=rows[:5], processing_class=tokenizer, value_model=value,
        peft_config=lora_config(LoraSettings(r=4, alpha=8)) if lora else None, callbacks=[StopAt(stop_at)] if stop_at else None,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--top", action="store_true", help="train one layer of two")
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--sgd", action="store_true", help="so that weights tell gradients apart as they are")
    parser.add_argument("--kill-after", type=float, help="seconds of training before SIGKILL")
    parser.add_argument("--stop-at", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    changes: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.3} if options.sgd else {}
    changes |= {"train_layers": 1} if options.top else {}
    trainer = make(options.folder, options.updates, options.lora, options.separate, options.stop_at, **changes)
    if options.kill_after is not None:
        threading.Thread(target=_kill, args=(options.kill_after,), daemon=True).start()
    trainer.train(resume_from_checkpoint=options.resume and bool(list_checkpoints(options.folder)))
    if trainer.is_world_process_zero():
        weights = {name: p.detach() for name, p in trainer.engine.bare.named_parameters()}
        save_state(options.folder, "final", {"weights": weights, "rewards": trainer.rewards.state_dict()})
    trainer.save_model(str(options.folder / "policy"))


def _kill(after: float) -> None:
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
