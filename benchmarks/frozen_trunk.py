"""What `train_layers` saves: one PPO update of a model as large as SmolLM2-135M, all layers or the top four under an adapter.

    python benchmarks/frozen_trunk.py                                 # 3 interleaved repetitions, one thread: half an hour
    python benchmarks/frozen_trunk.py --threads 2 --repetitions 1
    python benchmarks/frozen_trunk.py --device cuda --bf16

32 prompts of 72 tokens, answers of 24, 2 epochs of 2 mini-batches, rank 8. The weights are random, because times do not depend on them. Every
measurement is a process of its own: its last update, in processor seconds (on a GPU: seconds with the device synchronised) by stage, and the peak
memory, whole and above what the process takes when its models are made. Arms alternate within a repetition, so that a slow minute of the
machine affects all of them. Writes `frozen_trunk.json` and prints a table of ratios to the arm `all`, with the smallest and largest pair.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARMS: dict[str, dict[str, Any]] = {
    "all": {},
    "top": {"train_layers": 4},
    "top_again": {"train_layers": 4, "updates": 2},  # the second of two updates with the same prompts
    "top_not_kept": {"train_layers": 4, "keep": False},  # frozen, and computed again in every pass
    "all_x4": {"samples": 4},  # 8 prompts, each answered four times
    "top_x4": {"train_layers": 4, "samples": 4},
}
EPISODES, PROMPT, RESPONSE = 32, 72, 24
STAGES = ("generate", "judge", "optimise")


def work(arm: str, device: str, bf16: bool, folder: Path) -> dict[str, float]:
    """Run the updates of an arm and say what the last one cost."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from rag_graph.config import LoraSettings
    from rag_graph.generation.language_model import lora_config
    from rag_graph.ppo.arguments import GraphPPOConfig
    from rag_graph.ppo.trainer import GraphPPOTrainer

    torch.manual_seed(0)
    settings = ARMS[arm]
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        tie_word_embeddings=True, max_position_embeddings=8192, pad_token_id=0, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    words = {"<pad>": 0, "<eos>": 1, **{f"w{i}": i for i in range(2, config.vocab_size)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    generator, samples = random.Random(0), settings.get("samples", 1)
    prompts = [" ".join(f"w{generator.randrange(2, 49152)}" for _ in range(PROMPT)) for _ in range(EPISODES // samples)]
    trainer = GraphPPOTrainer(
        LlamaForCausalLM(config),
        lambda completion_ids, **_: [len(set(ids)) / RESPONSE for ids in completion_ids],
        GraphPPOConfig(
            output_dir=str(folder), per_device_train_batch_size=EPISODES // 2, gradient_accumulation_steps=2, num_mini_batches=2,
            num_ppo_epochs=2, total_episodes=EPISODES * settings.get("updates", 1), response_length=RESPONSE, local_rollout_forward_batch_size=EPISODES, temperature=1.0,
            num_sample_generations=0, bf16=bf16, use_cpu=device == "cpu", report_to="none", save_strategy="no", disable_tqdm=True,
            train_layers=settings.get("train_layers"),
        ),
        [{"prompt": prompt} for prompt in prompts for _ in range(samples)],
        processing_class=tokenizer,
        peft_config=lora_config(LoraSettings(r=8)),
    )  # fmt: skip
    if not settings.get("keep", True):
        trainer.engine.memory = None
    cost: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    for stage in STAGES:
        setattr(trainer.engine, stage, _timed(getattr(trainer.engine, stage), stage, cost, device))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    base = _memory(device)
    trainer.train()
    return {**cost, "update": sum(cost.values()), "peak_bytes": _memory(device), "base_bytes": base}


def _timed(call: Callable[..., Any], stage: str, cost: dict[str, float], device: str) -> Callable[..., Any]:
    import torch

    def now() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(*given: Any, **named: Any) -> Any:
        began = now()
        result = call(*given, **named)
        cost[stage] = now() - began  # of the last update
        return result

    return timed


def _memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arm: str, options: argparse.Namespace) -> dict[str, float]:
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-W", "ignore", __file__, "--worker", arm, "--device", options.device]
    command += ["--bf16"] if options.bf16 else []
    environment = {**os.environ, **(threads if options.device == "cpu" else {}), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| arm | generation | scoring | optimisation | update, s | all / this (worst, best pair) | peak GB | above start, GB | of all's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    of = {arm: [row for row in results if row["arm"] == arm] for arm in ARMS}

    def above(rows: list[dict[str, Any]]) -> float:
        return max(float(row["peak_bytes"] - row["base_bytes"]) for row in rows)

    for arm, rows in of.items():
        if not rows:
            continue
        means = [sum(row[name] for row in rows) / len(rows) for name in (*STAGES, "update")]
        cells = [arm, *(f"{value:.2f}" for value in means)]
        pairs = [a["update"] / b["update"] for a, b in zip(of["all"], rows, strict=False)]
        whole = sum(row["update"] for row in of["all"]) / max(1, len(of["all"]))
        cells += [f"{whole / means[-1]:.2f} ({min(pairs):.2f}, {max(pairs):.2f})" if pairs else ""]
        cells += [f"{max(row['peak_bytes'] for row in rows) / 1e9:.2f}", f"{above(rows) / 1e9:.2f}"]
        cells += [f"{above(rows) / above(of['all']):.2f}" if of["all"] else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast; for processors and GPUs that have it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path("frozen_trunk.json"))
    parser.add_argument("--worker", metavar="ARM", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(work(options.worker, options.device, options.bf16, Path(folder))))
        return
    results: list[dict[str, Any]] = []
    for repetition in range(options.repetitions):
        for arm in options.arms:
            results.append({"arm": arm, "repetition": repetition, **measure(arm, options)})
            print(f"{repetition + 1}/{options.repetitions} {arm}: {results[-1]['update']:.2f} s", file=sys.stderr)
            options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
