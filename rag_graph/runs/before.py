"""What can be wrong with a run, said before it begins. The run and `rag-graph train --dry-run` ask the same function, so what a dry run passes begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag_graph.config import RunConfig, ScratchConfig
from rag_graph.data.files import is_local
from rag_graph.data.load import RunData, load_data
from rag_graph.errors import TRAINING, ConfigError, DataError, need
from rag_graph.evaluation.functions import Scorer
from rag_graph.graph.needs import check_for_run
from rag_graph.graph.reader import load_graph
from rag_graph.retrieval_methods import DENSE_METHODS
from rag_graph.reward.budget import expected_price
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.start_from import check_start
from rag_graph.runs.trackers import check_trackers
from rag_graph.runtime import memory_bytes

if TYPE_CHECKING:
    from rag_graph.evaluation.scorer import NodeScorer
    from rag_graph.graph.auxiliary_graph import AuxiliaryGraph

BYTES_PER_WEIGHT = 16
"""The least that training needs: a weight, its gradient and the two averages of Adam, in float32."""


@dataclass(frozen=True, slots=True)
class Checked:
    """
    scoring: what scores, without frozen classifiers.
    price: what an update costs, as a sentence; empty where nothing has a price.
    data: None where they are on the hub and were not to be fetched.
    """

    graph: AuxiliaryGraph
    scoring: NodeScorer
    price: str
    data: RunData | None


def check_before(config: RunConfig, own: OwnParts, fetch: bool = True) -> Checked:
    """Check all that can be known without loading weights and without asking a server.

    Args:
        fetch: data sets of the hub are downloaded; a dry run does not.

    Raises:
        RagGraphError: bad graph or data; settings that do not fit to them, to the model or to this machine; says which.
    """
    check_trackers(config.report_to)
    own.check(config.retrieval)
    graph = load_graph(config.graph)
    check_start(config, graph)
    check_for_run(graph, {*own.scorers, *own.named})
    scoring = check_scoring(config, graph, own.functions())
    price = expected_price(graph, config.reward, scoring, config.ppo.batch_size)
    need("training", *TRAINING)
    if config.output_dir is not None:
        _check_folder(Path(config.output_dir))
    _check_model(config)
    _check_encoders(config, own)
    local = all(task.dataset is None or is_local(task.dataset, graph.root) for task in graph.spec.tasks.values())
    data = load_data(graph, config.data, config.seed, reserved=config.reward.reserved) if fetch or local else None
    if data is not None:
        check_fits(config, graph, data)
    return Checked(graph, scoring, price, data)


def check_scoring(config: RunConfig, graph: AuxiliaryGraph, scorers: Mapping[str, Scorer | None]) -> NodeScorer:
    """Check that every node is scored by something, before anything is loaded.

    Returns:
        What scores, without frozen classifiers.

    Raises:
        ConfigError: a node that nothing scores; a judge that is not there, or whose settings are wrong.
    """
    from rag_graph.evaluation.scorer import NodeScorer  # loads what the metrics need
    from rag_graph.judges import check_templates, make_judges

    judges = make_judges(config.judges)
    scorer = NodeScorer(graph, scorers=scorers, judges=judges)
    scorer.require_all()
    check_templates(scorer.judged, judges)
    return scorer


def check_fits(config: RunConfig, graph: AuxiliaryGraph, data: RunData) -> None:
    """Raises DataError where there are too few examples, or no reference where one is needed."""
    needed = config.ppo.batch_size // config.ppo.samples_per_prompt
    if len(data.train) < needed:
        raise DataError(
            f"{len(data.train)} training examples, fewer than one PPO batch of {needed} prompts. Lower ppo.batch_size or add data."
        )
    if config.sft.steps and not data.groups:
        raise DataError(
            "no training example has a reference that may be shown, so the supervised warm-up has no demonstration. Give some rows a reference, or set sft.steps=0."
        )
    tasks = graph.spec.tasks.values()
    if all("reference" in task.fields for task in tasks) and not any(e.references for e in data.test):
        raise DataError(
            "no held-out example has a reference: there would be nothing to compare the answers with. Give some held-out rows one."
        )


def _check_folder(path: Path) -> None:
    """What `claim_folder` would refuse, as far as it can be seen without making the folder."""
    try:
        if (path.is_symlink() or path.exists()) and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(
                f"output_dir {path}: exists already, and a run never writes over another. Choose a new folder or delete it."
            )
        above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise ConfigError(f"output_dir {path}: cannot be made: {above} is not a folder that you may write to.")
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise ConfigError(f"output_dir {path}: cannot be made: {getattr(error, 'strerror', None) or error}") from None


def _check_model(config: RunConfig) -> None:
    if config.device != "auto":
        from rag_graph.runtime import resolve_device

        resolve_device(config.device)
    if config.model.source != "scratch":  # the import takes seconds
        from rag_graph.generation.language_model import check_source

        check_source(config.model)
        return
    weights, there = weights_of(config.model.scratch), memory_bytes()
    if there is not None and weights * BYTES_PER_WEIGHT > there:
        raise ConfigError(
            f"model.scratch: {weights:,} weights need at least {weights * BYTES_PER_WEIGHT / 1e9:,.1f} GB in training, and this process may have "
            f"{there / 1e9:,.1f} GB. Lower hidden_size, intermediate_size, num_layers or vocab_size."
        )


def weights_of(scratch: ScratchConfig) -> int:
    """Weights of a policy from scratch, without its norms; exact where its tokenizer fills the vocabulary."""
    width = scratch.hidden_size
    return scratch.vocab_size * width + scratch.num_layers * (4 * width**2 + 3 * width * scratch.intermediate_size)


def _check_encoders(config: RunConfig, own: OwnParts) -> None:
    """Encoders in folders and packages are there, and so is what searches vectors; names on the hub are looked up when they are loaded."""
    names = [("reward.text_encoder", config.reward.text_encoder)] if config.reward.text_encoder != "hashing" else []
    if config.retrieval.method in DENSE_METHODS and own.retriever is None:
        names.append(("retrieval.encoder", config.retrieval.encoder))
        if config.retrieval.vectors == "faiss":
            need("retrieval.vectors=faiss", "faiss")
    if names:
        need("an encoder of passages", "sentence_transformers")
        from rag_graph.retrieval.encoder import check_encoder

        for setting, name in names:
            check_encoder(name, setting)
