"""Cost of one PPO update: TRL 1.12's PPO trainer and `GraphPPOTrainer`, on the same work.

    python benchmarks/ppo_vs_trl.py                        # both sizes, 4 interleaved repetitions, one thread: about 25 minutes
    python benchmarks/ppo_vs_trl.py --sizes tiny --repetitions 1 --arms stock shared
    python benchmarks/ppo_vs_trl.py --device cuda --sizes large --arms stock shared shared_bf16

Every measurement is a process of its own. It measures the processor seconds (on a GPU: seconds with the device synchronised) of UPDATES
updates after one warm-up update, and the peak memory. Arms alternate within a repetition, so a slow minute of the machine affects all of
them. The policy is warmed up first, once per size, so answers end at random lengths; the table shows the lengths. With `--full-length`
there is no warm-up, and every answer has 53 tokens. Nothing is learned during the measurement (learning rate 1e-9). The arm `stock` needs
TRL 1.12, the last release with PPO, in `.stock_trl` (`make .stock_trl/trl`). Writes `ppo_vs_trl.json` and prints a table of ratios to stock
with the smallest and largest repetition.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4},
    "mid": {"vocab_size": 32768, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 8},
    "large": {"vocab_size": 49152, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16},
}  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {
    "stock": {},
    "separate": {"value": "separate"},
    "separate_bf16": {"value": "separate", "bf16": True},
    "shared": {"value": "shared"},
    "shared_bf16": {"value": "shared", "bf16": True},
    # one step taken back each, from `shared`
    "shared_unbucketed": {"value": "shared", "bucketing": False},
    "shared_unfused": {"value": "shared", "fused": False},
}
STOCK = Path(__file__).parent.parent / ".stock_trl"
UPDATES = {"tiny": 3, "mid": 1, "large": 2}
BATCH = {"tiny": 64, "mid": 32, "large": 64}
MICRO, PROMPT, RESPONSE = 16, (8, 64), 53
EOS, PAD = 1, 0
END = 1 / 12  # probability of the end token, on average over positions, that the warm-up aims at


def llama_config(size: str) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **SIZES[size], max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=PAD, bos_token_id=None, eos_token_id=EOS
    )  # fmt: skip


def prepare(size: str, folder: Path, full_length: bool) -> None:
    """A policy whose answers end at random lengths (or never), and its tokenizer of words w0, w1, ..."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = llama_config(size)
    words = {"<pad>": PAD, "<eos>": EOS, **{f"w{i}": i for i in range(2, config.vocab_size)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(0 if full_length else 500):
        ids = torch.randint(2, config.vocab_size, (8, 64))
        ids[torch.rand(ids.shape) < 1.5 * END] = EOS
        output = model(input_ids=ids, labels=ids)
        if output.logits.softmax(-1)[..., EOS].mean() > END:
            break
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompts(size: str) -> list[str]:
    import random

    generator = random.Random(0)
    vocabulary = SIZES[size]["vocab_size"]
    return [
        " ".join(f"w{generator.randrange(2, vocabulary)}" for _ in range(generator.randint(*PROMPT)))
        for _ in range(BATCH[size])
    ]


def work(arm: str, size: str, folder: Path, device: str) -> dict[str, float]:
    """Run one arm and say what it cost."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification
    from transformers import logging as transformers_logging

    from rag_graph.ppo.arguments import GraphPPOConfig
    from rag_graph.ppo.trainer import GraphPPOTrainer

    transformers_logging.set_verbosity_error()
    settings = ARMS[arm]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    updates = UPDATES[size]
    config: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": MICRO,
        "gradient_accumulation_steps": BATCH[size] // MICRO,
        "total_episodes": BATCH[size] * (updates + 1),
        "num_ppo_epochs": 4,
        "num_mini_batches": 1,
        "response_length": RESPONSE,
        "local_rollout_forward_batch_size": BATCH[size] // 2,
        "stop_token": "eos",
        "temperature": 1.0,
        "learning_rate": 1e-9,
        "num_sample_generations": 0,
        "bf16": settings.get("bf16", False),
        "use_cpu": device == "cpu",
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": int(time.time() * 1000) % 2**31,
    }
    common: dict[str, Any] = {"processing_class": tokenizer, "model": policy, "ref_model": reference}
    if arm == "stock":
        from datasets import Dataset
        from trl.experimental.ppo import PPOConfig, PPOTrainer

        rows = Dataset.from_list([{"input_ids": ids} for ids in tokenizer(prompts(size))["input_ids"]])
        trainer = PPOTrainer(
            args=PPOConfig(**config), reward_model=_constant_reward(), train_dataset=rows, eval_dataset=rows,
            value_model=LlamaForSequenceClassification(_one_label(size)), **common,
        )  # fmt: skip
    else:
        value = "shared" if settings["value"] == "shared" else LlamaForSequenceClassification(_one_label(size))
        trainer = GraphPPOTrainer(
            args=GraphPPOConfig(**config, length_bucketing=settings.get("bucketing", True)),
            reward_funcs=lambda prompts, **_: [0.5] * len(prompts),
            train_dataset=[{"prompt": text} for text in prompts(size)], value_model=value, **common,
        )  # fmt: skip
        trainer.engine.bare.policy_forward.fused &= settings.get("fused", True)
        if trainer.engine.ref_model is not None:
            trainer.engine.reference_forward.fused &= settings.get("fused", True)
    clock = _clock(device)
    trainer.add_callback(clock)
    base = peak_memory(device)
    with contextlib.redirect_stdout(io.StringIO()):  # stock prints
        trainer.train()
    tokens = [row["val/response_tokens"] for row in trainer.state.log_history if "val/response_tokens" in row]
    if device == "cuda":
        torch.cuda.synchronize()
    return {
        "seconds": (clock.laps[-1] - clock.laps[0]) / updates,
        "peak_bytes": peak_memory(device),
        "base_bytes": base,
        "response_tokens": sum(tokens[1:]) / len(tokens[1:]) if tokens else float("nan"),
    }


def _one_label(size: str) -> Any:
    config = llama_config(size)
    config.num_labels = 1
    return config


def _constant_reward() -> Any:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Backbone(torch.nn.Module):
        def forward(self, input_ids: Any, **_: Any) -> Any:
            states = torch.full((*input_ids.shape, 1), 0.5, device=input_ids.device)
            return BaseModelOutput(last_hidden_state=states, hidden_states=(states,))

    model: Any = torch.nn.Module()
    model.base_model_prefix = "backbone"
    model.backbone, model.score = Backbone(), torch.nn.Identity()
    return model


def _clock(device: str) -> Any:
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.laps: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            self.laps.append(time.perf_counter() if device == "cuda" else time.process_time())

    return Clock()


def peak_memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arm: str, size: str, folder: Path, device: str) -> dict[str, float]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if device == "cpu" else {}
    path = os.environ.get("PYTHONPATH", "")
    if arm == "stock":
        path = f"{STOCK}{os.pathsep}{path}"
    environment = {**os.environ, **threads, "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", __file__, "--worker", arm, size, str(folder), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{arm} {size}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| size | arm | tokens an answer | seconds / update | speed x stock (worst, best pair) | peak GB | peak x stock | above start x stock |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in dict.fromkeys(row["size"] for row in results):
        of = {arm: [row for row in results if (row["size"], row["arm"]) == (size, arm)] for arm in ARMS}
        stock = of["stock"]
        for arm, rows in of.items():
            if not rows:
                continue
            seconds, peak = mean(rows, "seconds"), max(row["peak_bytes"] for row in rows)
            tokens = mean(rows, "response_tokens")  # stock does not say
            cells = [size, arm, "" if math.isnan(tokens) else f"{tokens:.0f}", f"{seconds:.2f}"]
            if stock:
                pairs = [a["seconds"] / b["seconds"] for a, b in zip(stock, rows, strict=False)]
                reference = max(row["peak_bytes"] for row in stock)
                above = max(row["peak_bytes"] - row["base_bytes"] for row in rows)
                above_stock = max(row["peak_bytes"] - row["base_bytes"] for row in stock)
                cells += [
                    f"{mean(stock, 'seconds') / seconds:.2f} ({min(pairs):.2f}, {max(pairs):.2f})",
                    f"{peak / 1e9:.2f}",
                ]
                cells += [f"{peak / reference:.2f}", f"{above / above_stock:.2f}"]
            else:
                cells += ["", f"{peak / 1e9:.2f}", "", ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] for row in rows) / len(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "mid"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--full-length", action="store_true", help="answers that never end by themselves")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path("ppo_vs_trl.json"))
    parser.add_argument("--worker", nargs=3, metavar=("ARM", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        arm, size, folder = options.worker
        warnings.simplefilter("ignore")
        print(json.dumps(work(arm, size, Path(folder), options.device)))
        return
    if "stock" in options.arms and not (STOCK / "trl").is_dir():
        raise SystemExit(f"{STOCK} is missing, and the arm stock needs TRL 1.12 there. Run: make .stock_trl/trl")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for size in options.sizes:
            folder = Path(temporary) / size
            prepare(size, folder, options.full_length)
            for repetition in range(options.repetitions):
                for arm in options.arms:
                    result = measure(arm, size, folder, options.device)
                    results.append({"size": size, "arm": arm, "repetition": repetition, **result})
                    print(
                        f"{size} {repetition + 1}/{options.repetitions} {arm}: {result['seconds']:.2f} s",
                        file=sys.stderr,
                    )
                    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
