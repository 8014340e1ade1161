"""A run, from a config to a folder of results: started, held against other processes, and gone on with after a stop."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_graph.config import RunConfig, load_config
from rag_graph.errors import ConfigError, DataError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import load_graph
from rag_graph.rag.context_pool import MakeRetriever
from rag_graph.reward.readouts import OwnReadout
from rag_graph.runtime import RunFolder
from rag_graph.runs.own_parts import OwnParts, Scorer
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.stages import RunResult, RunStages


def train(
    config: RunConfig | str | Path,
    overrides: Iterable[str] = (),
    *,
    scorers: Mapping[str, Scorer] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Run a config. Everything lands in the run folder as it comes; an error or Ctrl-C leaves what was written whole, and `resume`
    goes on from there.

    Args:
        config: a config, or its file.
        overrides: of a file, such as "ppo.updates=20".
        scorers: your own functions of an episode, by node of the graph: a number in [0, 1], or None where there is nothing to observe.
        retriever: makes your own retriever from the passages that ground a task; `retrieval.method` is put aside.
        readout: your own function that pays: scores without gaps [B, N], the graph's tensors, task of each episode [B] -> [B, N].
        progress: where it is shown; default bars on stderr.

    Raises:
        RagGraphError: bad graph, config, data or model; training that cannot go on.
    """
    if not isinstance(config, RunConfig):
        config = load_config(config, overrides)
    elif tuple(overrides):
        raise ConfigError("overrides change what a file says; this config was loaded. Give them to load_config.")
    own = OwnParts(scorers or {}, retriever, readout)
    own.check(config.retrieval)
    graph = load_graph(config.graph)
    folder = RunFolder.create(config.output_dir, f"runs/{config.name}-seed{config.seed}")
    return _run(config, graph, folder, progress, command, own)


def resume(
    path: str | Path,
    *,
    scorers: Mapping[str, Scorer] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Go on with a run that was stopped, from its warm-up or its newest whole checkpoint; it ends as if it had not been stopped.
    Arguments as of `train`; a run with parts of its own needs the same again.

    Raises:
        DataError: no run folder, a run that has finished, other parts than it began with, or data sets that have changed since.
    """
    folder = RunFolder.open(path)
    if (folder.read_json("status.json") or {}).get("status") == "finished":
        raise DataError(f"{path}: this run has finished; its results are in {folder / 'results.json'}.")
    written = folder.read_json("manifest.json")
    if written is None:
        raise DataError(f"{path}: this run was stopped before it began. Start it again with its config.")
    graph = AuxiliaryGraph(load_graph(folder / "graph.yaml").spec, Path(written["graph_root"]))
    own = OwnParts(scorers or {}, retriever, readout)
    own.check_same(written["own_parts"], str(path))
    return _run(load_config(folder / "config.yaml"), graph, folder, progress, command, own, written)


def _run(
    config: RunConfig,
    graph: AuxiliaryGraph,
    folder: RunFolder,
    progress: StageProgress | None,
    command: Sequence[str],
    own: OwnParts,
    resumed: dict[str, Any] | None = None,
) -> RunResult:
    with folder.held(), progress or StageProgress() as shown:
        try:
            return RunStages(config, graph, folder, shown, list(command or sys.argv), own, resumed).run()
        except (KeyboardInterrupt, Exception) as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            folder.write_json("status.json", {"status": status, "error": f"{type(error).__name__}: {error}"})
            raise
