"""What a run, and `ask` and `evaluate` after it, make of a config: the text it uses, frozen classifiers, TRL's arguments."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rag_graph.config import RetrievalConfig, RunConfig
from rag_graph.data.load import RunData
from rag_graph.data.prompts import render_prompt
from rag_graph.evaluation.scorer import FrozenClassifier, NodeScorer
from rag_graph.generation.marginal import check_decoding
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Example
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.reward.text import HASHING, TextEmbeddings
from rag_graph.runtime import cache_folder
from rag_graph.ppo.arguments import GraphPPOConfig


def corpus(graph: AuxiliaryGraph, data: RunData) -> list[str]:
    """The text a run uses: prompts, references, contexts, labels. Trains or trims a tokenizer."""
    texts = [
        f"{render_prompt(graph.spec.tasks[e.task], e)} {' '.join(e.references)}" for e in [*data.train, *data.test]
    ]
    texts += [node.text for nodes in data.contexts.values() for node in nodes]
    return texts + [" ".join(task.label_words) for task in graph.spec.tasks.values()]


def classifiers(graph: AuxiliaryGraph, train: Sequence[Example], seed: int) -> dict[str, FrozenClassifier]:
    """A frozen classifier for every task whose label some criterion keeps."""
    return {
        task: FrozenClassifier([e for e in train if e.task == task], seed)
        for task in NodeScorer.classified_tasks(graph)
    }


def check_model(model: Any, retrieval: RetrievalConfig) -> None:
    """Raises ModelError where a model cannot do what the config's retrieval asks of it."""
    if retrieval.fusion != "concat":
        check_decoding(model, f"retrieval.fusion={retrieval.fusion}")
    if retrieval.learning == "perplexity" or retrieval.learn.warm_up == "likelihood":
        check_decoding(model, "a retriever that learns from likelihoods")


def ppo_arguments(config: RunConfig, folder: Path, device: str) -> GraphPPOConfig:
    """TRL's arguments of a run. One mini-batch is one micro-batch."""
    ppo = config.ppo
    micro = ppo.batch_size // ppo.num_mini_batches
    return GraphPPOConfig(
        output_dir=str(folder),
        total_episodes=ppo.updates * ppo.batch_size,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=ppo.num_mini_batches,
        num_mini_batches=ppo.num_mini_batches,
        local_rollout_forward_batch_size=ppo.batch_size,
        num_ppo_epochs=ppo.num_ppo_epochs,
        learning_rate=ppo.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(5, ppo.updates // 4),
        kl_coef=ppo.kl_coef,
        cliprange=ppo.cliprange,
        cliprange_value=ppo.cliprange_value,
        vf_coef=ppo.vf_coef,
        gamma=ppo.gamma,
        lam=ppo.lam,
        temperature=ppo.temperature,
        max_grad_norm=ppo.max_grad_norm,
        missing_eos_penalty=ppo.missing_eos_penalty,
        response_length=config.model.max_new_tokens,
        max_prompt_length=config.model.max_prompt_tokens,
        stop_token="eos",
        num_sample_generations=0,
        seed=config.seed,
        bf16=ppo.bf16,
        use_cpu=device == "cpu",
        report_to="none",
        save_strategy="steps" if ppo.checkpoint_every else "no",
        save_steps=ppo.checkpoint_every or 1,
        save_total_limit=1,
        logging_steps=1,
        disable_tqdm=True,
    )


def node_texts(config: RunConfig) -> TextEmbeddings:
    """The encoder of node texts that the config names; what it embedded of a graph before is in the cache."""
    name = config.reward.text_encoder
    if name == HASHING:
        return TextEmbeddings()
    encoder = SentenceEncoder(name)
    return TextEmbeddings(name, lambda texts: torch.from_numpy(encoder.encode(texts)), cache_folder() / "node_texts")


def peak_memory() -> int:
    """Bytes of this process at its largest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
