"""The arguments of the PPO trainer that follow from a run's config."""

from __future__ import annotations

import os
from pathlib import Path

from rag_graph.config import RunConfig
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.runs.trackers import PROJECT, run_name


def ppo_arguments(config: RunConfig, folder: Path, device: str) -> GraphPPOConfig:
    """One mini-batch is one micro-batch."""
    ppo = config.ppo
    micro = ppo.batch_size // ppo.num_mini_batches
    return GraphPPOConfig(
        output_dir=str(folder),
        total_episodes=ppo.updates * ppo.batch_size,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=ppo.num_mini_batches,
        num_mini_batches=ppo.num_mini_batches,
        local_rollout_forward_batch_size=ppo.batch_size,
        samples_per_prompt=ppo.samples_per_prompt,
        num_ppo_epochs=ppo.num_ppo_epochs,
        learning_rate=ppo.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(5, ppo.updates // 4),
        kl_coef=ppo.kl_coef,
        vf_coef=ppo.vf_coef,
        gamma=ppo.gamma,
        lam=ppo.lam,
        temperature=ppo.temperature,
        missing_eos_penalty=ppo.missing_eos_penalty,
        train_layers=config.model.train_layers,
        prompt_cache_gb=config.model.prompt_cache_gb,
        response_length=config.model.max_new_tokens,
        max_prompt_length=config.model.max_prompt_tokens,
        stop_token="eos",
        num_sample_generations=0,
        seed=config.seed,
        bf16=ppo.bf16,
        use_cpu=device == "cpu",
        report_to=list(config.report_to) or "none",
        run_name=run_name(folder),
        project=os.environ.get("TRACKIO_PROJECT", PROJECT),
        save_strategy="steps" if ppo.checkpoint_every else "no",
        save_steps=ppo.checkpoint_every or 1,
        save_total_limit=1,
        logging_steps=1,
        disable_tqdm=True,
    )
