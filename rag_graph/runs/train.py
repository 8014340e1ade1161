"""A run, from a config to a folder of results: started, locked against other processes, and resumed after a stop."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_graph.config import RunConfig, load_config
from rag_graph.errors import ConfigError, DataError
from rag_graph.graph.reader import load_graph
from rag_graph.runs.folder import claim_folder, locked
from rag_graph.runs.own_parts import OwnParts, Scorer
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.run import Run
from rag_graph.runtime import write_json

if TYPE_CHECKING:
    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout


def train(
    config: RunConfig | str | Path,
    overrides: Iterable[str] = (),
    *,
    scorers: Mapping[str, Scorer] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
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
    folder = claim_folder(config.output_dir, f"runs/{config.name}-seed{config.seed}")
    with _at_work(folder, progress) as shown:
        from rag_graph.runs.stages import run_stages  # loads torch: what is wrong with the input was said before

        run_stages(config, graph, folder, shown, list(command or sys.argv), own)
    return Run(folder, scorers=scorers, retriever=retriever, readout=readout)


def resume(
    path: str | Path,
    *,
    scorers: Mapping[str, Scorer] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Go on with a run that was stopped, from its warm-up or its newest whole checkpoint; it ends as if it had not been stopped.
    Arguments as of `train`; a run with parts of its own needs the same again.

    Raises:
        DataError: no run folder, a run that has finished, other parts than it began with, or data sets that have changed since.
    """
    run = Run(path, scorers=scorers, retriever=retriever, readout=readout)
    if run.status["status"] == "finished":
        raise DataError(f"{path}: this run has finished; its results are in {run.path / 'results.json'}.")
    manifest = run.manifest
    if not manifest:
        raise DataError(f"{path}: this run was stopped before it began. Start it again with its config.")
    run.own.check_same(manifest["own_parts"], str(path))
    with _at_work(run.path, progress) as shown:
        from rag_graph.runs.stages import run_stages

        run_stages(run.config, run.stated_graph, run.path, shown, list(command or sys.argv), run.own, manifest)
    return run


@contextlib.contextmanager
def _at_work(folder: Path, progress: StageProgress | None) -> Iterator[StageProgress]:
    """Lock the folder, and write down how the run ends where it does not end well."""
    with locked(folder), progress or StageProgress() as shown:
        try:
            yield shown
        except (KeyboardInterrupt, Exception) as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            write_json(folder / "status.json", {"status": status, "error": f"{type(error).__name__}: {error}"})
            raise
