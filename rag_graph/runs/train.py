"""A run, from a config to a folder of results: started, locked against other processes, and resumed after a stop."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_graph.config import RunConfig, load_config
from rag_graph.errors import ConfigError, DataError
from rag_graph.evaluation.functions import Scorer
from rag_graph.graph.needs import check_for_run
from rag_graph.graph.reader import load_graph
from rag_graph.runs.folder import claim_folder, locked
from rag_graph.runs.own_parts import OwnParts
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
    scorers: Mapping[str, Scorer | None] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Run a config and return the run. Results are written to the run folder during the run. After an error or Ctrl-C the folder is
    complete so far, and `resume` continues from there.

    Args:
        config: a config, or a YAML file.
        overrides: changes of the file, such as "ppo.updates=20".
        scorers: your own functions by node of the graph, in TRL's signature or of one episode: scores in [0, 1], or None if there is nothing to observe.
        retriever: makes your own retriever from the passages that ground a task; it replaces `retrieval.method`.
        readout: your own function that pays: scores without gaps [B, N], the graph's tensors, task of each episode [B] -> [B, N].
        progress: shows the progress; default bars on stderr.

    Raises:
        RagGraphError: bad graph, config, data or model; training that cannot continue.
    """
    if not isinstance(config, RunConfig):
        config = load_config(config, overrides)
    elif tuple(overrides):
        raise ConfigError("overrides change what a file says; this config was loaded. Give them to load_config.")
    own = OwnParts(scorers or {}, retriever, readout)
    own.check(config.retrieval)
    graph = load_graph(config.graph)
    check_for_run(graph, own.scorers)
    folder = claim_folder(config.output_dir, f"runs/{config.name}-seed{config.seed}")
    with _at_work(folder, progress) as shown:
        from rag_graph.runs.stages import run_stages  # loads torch: what is wrong with the input was said before

        run_stages(config, graph, folder, shown, list(command or sys.argv), own)
    return Run(folder, scorers=scorers, retriever=retriever, readout=readout)


def resume(
    path: str | Path,
    *,
    scorers: Mapping[str, Scorer | None] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Continue a run that was stopped, from its warm-up or its newest complete checkpoint. The result is the same as without the stop.
    The arguments are those of `train`. A run with your own parts needs the same parts again.

    Raises:
        DataError: no run folder, a finished run, other parts than before, or data sets that have changed.
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
    """Lock the folder, and record an error or an interruption."""
    with locked(folder), progress or StageProgress() as shown:
        try:
            yield shown
        except (KeyboardInterrupt, Exception) as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            write_json(folder / "status.json", {"status": status, "error": f"{type(error).__name__}: {error}"})
            raise
