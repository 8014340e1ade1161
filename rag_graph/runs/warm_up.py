"""The supervised warm-up of a run: the policy learns from demonstrations, the encoder of queries from named passages or likelihoods.

References of reserved examples are in none of it (`rag_graph.data.reserved`). It is kept in the run's folder until the run has finished, so that a run that is stopped later does not repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rag_graph.data.load import RunData
from rag_graph.generation.adapters import merged
from rag_graph.generation.language_model import lora_config
from rag_graph.generation.sft import train_sft
from rag_graph.generation.trunk import trained_part
from rag_graph.ppo.checkpoints import newest_checkpoint, write_checkpoint
from rag_graph.ppo.trainer_state import load_weights
from rag_graph.runs.demonstrations import demonstration_batches
from rag_graph.runs.folder import WARM_UP
from rag_graph.runs.manifest import CONFIG
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.workbench import Workbench
from rag_graph.runtime import append_records
from rag_graph.state_file import load_state, save_state

LOG_EVERY = 10
"""Steps from one line in metrics.jsonl to the next."""


def warm_up(
    bench: Workbench, data: RunData, folder: Path, progress: StageProgress, resumed: Mapping[str, Any] | None
) -> None:
    """Warm up the policy, and the retriever where it learns; of a run that goes on, load what an earlier warm-up left.

    Args:
        resumed: the manifest of the run that goes on. A warm-up with settings that it was accepted to change stays done.

    Raises:
        TrainingError: no example is fit for the warm-up of the retriever.
    """
    config, retriever = bench.config, bench.retriever
    sft, lora = config.sft, config.model.lora
    warms = retriever is not None and config.retrieval.learn.warm_up != "none"
    if sft.steps == 0 and not warms:
        return
    edits = (resumed or {}).get("changed_parts", [])
    began = next((change["was"] for change in edits if change["part"] == CONFIG), config.fingerprint())
    about = {"config": began}
    kept = newest_checkpoint(folder / WARM_UP, about) if resumed is not None else None
    if kept is not None:
        load_weights(bench.model, kept)
        if retriever is not None:
            retriever.load_state_dict(load_state(kept, "retriever"))
            retriever.keep_reference()
        return
    (folder / "metrics.jsonl").unlink(missing_ok=True)  # of a warm-up that did not reach its end
    adapted = trained_part(bench.model, None if lora is None else lora_config(lora), config.model.train_layers)
    progress.stage("supervised warm-up", sft.steps)
    batches = demonstration_batches(
        bench.graph,
        data,
        bench.pools["train"],
        bench.tokenizer,
        sft.weak,
        sft.batch_size,
        config.model.max_prompt_tokens,
        config.seed,
    )
    train_sft(
        adapted,
        batches,
        sft.steps,
        sft.learning_rate,
        sft.warmup_steps,
        bench.tokenizer.pad_token_id,
        config.ppo.bf16,
        _log_to(folder, progress, "sft", smoothed_over=20),
    )
    if retriever is not None and warms:
        progress.stage("warm-up of retriever", config.retrieval.learn.warm_up_steps)
        retriever.warm_up(data.shown, sft.learning_rate, _log_to(folder, progress, "retriever"))
        retriever.keep_reference()
    # Folded in, so that PPO's fresh adapter, switched off, is the warmed-up model: the reference of the KL.
    merged(adapted)
    if config.ppo.checkpoint_every:

        def fill(inside: Path) -> None:
            bench.model.save_pretrained(inside)
            if retriever is not None:
                save_state(inside, "retriever", retriever.state_dict())

        write_checkpoint(folder / WARM_UP, sft.steps, fill, about)


def _log_to(folder: Path, progress: StageProgress, stage: str, smoothed_over: int = 1) -> Callable[[int, float], None]:
    """step, loss -> progress on the terminal, and a line in metrics.jsonl every ten steps."""
    losses: list[float] = []

    def on_step(step: int, loss: float) -> None:
        losses.append(loss)
        recent = losses[-smoothed_over:]
        mean = sum(recent) / len(recent)
        progress.advance(loss=mean)
        if step % LOG_EVERY == 0:
            append_records(folder / "metrics.jsonl", [{"stage": stage, "step": step, "loss": mean}])

    return on_step
