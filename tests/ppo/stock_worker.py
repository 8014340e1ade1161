"""One update of TRL 1.12's `PPOTrainer` and one of ours, from the same weights and the same random state, in float64.

Run in a process of its own that finds TRL 1.12 first: `PYTHONPATH=.stock_trl:. python tests/ppo/stock_worker.py OUT.json`. What it finds
is written to OUT.json: for each case how far stock moved the weights and how far ours are from stock's, and the names of stock's metrics.

What makes it float64 throughout: torch's default dtype, so that new tensors and rewards have it; weights of that dtype; GPT-2, whose
layers keep the dtype (a Llama's norm casts to float32); and inside transformers' `generate`, which casts logits to float32, the name
`torch.float32` stands for float64. Nothing else of the trainers is touched.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel
from transformers.modeling_outputs import BaseModelOutput

from rag_graph.generation.scratch import make_tokenizer
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.episode_order import EpisodeOrder
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import BATCH, PROMPTS, settings

END = 69
"""An end token that this random state does sample: some answers end with it, the others are cut."""
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "k3, penalty, temperature": {"kl_estimator": "k3", "missing_eos_penalty": 0.5, "temperature": 1.0},
    "large steps": {"learning_rate": 1e-2},
    "whitened rewards": {"whiten_rewards": True},
}


class TokenSumReward(torch.nn.Module):
    """Stock's kind of reward model: a backbone whose hidden state is the sum of the token ids so far, a head that takes its sine."""

    base_model_prefix = "backbone"

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.score = _IdBackbone(), _Sine()


class _IdBackbone(torch.nn.Module):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        total = (input_ids * attention_mask).cumsum(1).double()[..., None]
        return BaseModelOutput(last_hidden_state=total, hidden_states=(total,))


class _Sine(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.sin(hidden)


def reward_like_stock(tokenizer: Any) -> Any:
    """The same numbers for our trainer: sin of the sum of all token ids up to the last token of the response."""

    def token_sum(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        encoded = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        return [
            torch.sin(torch.tensor(float(sum(p) + sum(c)))).item() for p, c in zip(encoded, completion_ids, strict=True)
        ]

    return token_sum


def make_model(kind: type, seed: int, tokenizer: Any) -> Any:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_inner=64, n_positions=128, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, num_labels=1, initializer_range=0.2,
    )  # fmt: skip
    return kind(config).double()


def sampling_from_seed(model: Any) -> Any:
    """The model, sampling from a known random state however much was drawn before, and from float64 logits."""
    generate = model.generate

    def generate_from_seed(*args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(8)
        narrow = torch.float32
        torch.float32 = torch.float64
        try:
            return generate(*args, **kwargs)
        finally:
            torch.float32 = narrow

    model.generate = generate_from_seed
    return model


@cache
def tokenizer_of(ends: bool) -> Any:
    tokenizer = make_tokenizer([" ".join(PROMPTS)] * 20, 320)
    if ends:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(END)
    return tokenizer


def parts(ends: bool) -> dict[str, Any]:
    tokenizer = tokenizer_of(ends)
    return {
        "processing_class": tokenizer,
        "model": sampling_from_seed(make_model(GPT2LMHeadModel, 1, tokenizer)),
        "ref_model": make_model(GPT2LMHeadModel, 2, tokenizer),
        "value_model": make_model(GPT2ForSequenceClassification, 3, tokenizer),
    }


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    states = {f"policy.{name}": value for name, value in trainer.policy_model.state_dict().items()}
    return states | {f"value.{name}": value for name, value in trainer.value_model.state_dict().items()}


def stock(folder: Path, ends: bool, **changes: Any) -> Any:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    given, args = parts(ends), PPOConfig(**settings(folder, **changes))
    texts = [PROMPTS[row] for row in EpisodeOrder(args.seed, len(PROMPTS), BATCH).rows(0)]  # the same order for both
    ids = given["processing_class"](texts, add_special_tokens=False)["input_ids"]
    rows = Dataset.from_list([{"input_ids": line} for line in ids])
    trainer = PPOTrainer(**given, args=args, reward_model=TokenSumReward(), train_dataset=rows, eval_dataset=rows)
    trainer.dataloader = DataLoader(rows, BATCH, collate_fn=trainer.data_collator)
    trainer.train()
    return trainer


def ours(folder: Path, ends: bool, **changes: Any) -> Any:
    given, args = parts(ends), GraphPPOConfig(**settings(folder, length_bucketing=False, **changes))
    rows = [{"prompt": text} for text in PROMPTS]
    reward = reward_like_stock(given["processing_class"])
    trainer = GraphPPOTrainer(**given, args=args, reward_funcs=reward, train_dataset=rows)
    trainer.train()
    return trainer


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def compare(folder: Path, ends: bool, changes: dict[str, Any]) -> dict[str, Any]:
    theirs, trainer = stock(folder / "stock", ends, **changes), ours(folder / "ours", ends, **changes)
    rollout = trainer.last_rollout
    numbers = (*rollout.judged, rollout.scored.total, rollout.kl, rollout.advantages, rollout.returns)
    start = {f"policy.{name}": value for name, value in parts(ends)["model"].state_dict().items()}
    reached = weights(theirs)
    return {
        "moved": furthest(start, {name: reached[name] for name in start}),
        "apart": furthest(reached, weights(trainer)),
        "dtypes": sorted({str(n.dtype) for n in (*numbers, *reached.values(), *weights(trainer).values())}),
        "ended": rollout.ended.tolist(),
    }


def main(out: Path) -> None:
    import trl

    assert trl.__version__ == "1.12.0", f"{trl.__file__} is TRL {trl.__version__}"
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, changes in CASES.items():
            for ends in (False, True):
                found[f"{name}, {'some end' if ends else 'none ends'}"] = compare(folder, ends, changes)
        plain = stock(folder, False)
        names = sorted(set(plain.state.log_history[0]) - {"step"})
        other = furthest(weights(plain), weights(ours(folder, False, lam=0.9)))
    out.write_text(json.dumps({"cases": found, "other lambda": other, "metrics": names}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
