"""A run, from a config to a folder of results: started, locked against other processes, and resumed after a stop."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag_graph.config import RunConfig, load_config
from rag_graph.errors import TRAINING, ConfigError, DataError, TrainingError, need, redacted
from rag_graph.evaluation.functions import Scorer
from rag_graph.runs.before import check_before
from rag_graph.runs.folder import check_places, claim_folder, locked
from rag_graph.runs.manifest import CONFIG, GRAPH, check_asked, config_and_graph
from rag_graph.runs.named_scorers import named_scorers
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.run import Run
from rag_graph.runs.trackers import check_trackers
from rag_graph.runtime import write_json
from rag_graph.stored_file import check_regular

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout


def train(
    config: RunConfig | str | Path,
    overrides: Iterable[str] = (),
    *,
    scorers: Mapping[str, Scorer | None] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    callbacks: Sequence[TrainerCallback | type[TrainerCallback]] = (),
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Run a config and return the run. Results are written to the run folder during the run. After an error or Ctrl-C the folder is
    complete so far, and `resume` continues from there.

    Args:
        config: a config, or a YAML file.
        overrides: changes of the file, such as "ppo.updates=20".
        scorers: your own functions by node of the graph, in TRL's signature or of one episode: scores in [0, 1], or None if there is nothing to observe;
            beside those that the config names.
        retriever: makes your own retriever from the passages that ground a task; it replaces `retrieval.method`.
        readout: your own function that pays: scores without gaps [B, N], the graph's tensors, task of each episode [B] -> [B, N].
        callbacks: of transformers (`TrainerCallback`); they watch PPO.
        progress: shows the progress; default bars on stderr.

    Raises:
        RagGraphError: bad graph, config, data or model; training that cannot continue.
    """
    if not isinstance(config, RunConfig):
        config = load_config(config, overrides)
    elif tuple(overrides):
        raise ConfigError("overrides change what a file says; this config was loaded. Give them to load_config.")
    scorers = dict(scorers or {})
    own = OwnParts(scorers, retriever, readout, named_scorers(config, scorers), callbacks=tuple(callbacks))
    checked = check_before(config, own)
    folder = claim_folder(config.output_dir, f"runs/{config.name}-seed{config.seed}")
    with _at_work(folder, progress, own) as shown:
        from rag_graph.runs.stages import run_stages  # loads torch: what is wrong with the input was said before

        run_stages(config, checked.graph, folder, shown, list(command or sys.argv), own, data=checked.data)
    return Run(folder, scorers=scorers, retriever=retriever, readout=readout)


def resume(
    path: str | Path,
    *,
    scorers: Mapping[str, Scorer | None] | None = None,
    retriever: MakeRetriever | None = None,
    readout: OwnReadout | None = None,
    callbacks: Sequence[TrainerCallback | type[TrainerCallback]] = (),
    accept_changed: Collection[str] = (),
    code: str | Path | None = None,
    trust_remote_code: bool = False,
    progress: StageProgress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Continue a run that was stopped, from its warm-up or its newest complete checkpoint. The result is the same as without the stop.
    The arguments are those of `train`. A run with your own parts needs the same parts again.

    Args:
        accept_changed: parts (nodes of scorers, "retriever", "readout") whose code may be another than before, and "config.yaml" or "graph.yaml" if
            that file was edited. What changed is written into the manifest. What was done with the old settings stays done.
        code: the folder with the modules of the scorers that the config names; None: they are where they were.
        trust_remote_code: the Python code that came with the run's model may run; see `Run`.

    Raises:
        DataError: no run folder, a finished run, other parts than before, an edited config or graph, data sets that have changed, or a link in the folder.
        ConfigError: `accept_changed` names no part of the run; a tracker that is not installed.
    """
    parts = [part for part in accept_changed if part not in (CONFIG, GRAPH)]
    run = Run(
        path, scorers=scorers, retriever=retriever, readout=readout, code=code, accept_changed=parts,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    if run.status["status"] == "finished":
        raise DataError(f"{path}: this run has finished; its results are in {run.path / 'results.json'}.")
    if not check_regular(run.path / "manifest.json"):
        raise DataError(
            f"{path}: this run was stopped before it began (it has no manifest.json). Start it again with its config."
        )
    manifest = run.manifest
    check_places(run.path)
    edited = check_asked(run.path, run.config, manifest, accept_changed)
    own = replace(run.own, callbacks=tuple(callbacks))
    own.check_same(manifest["own_parts"], str(path), parts)
    run.check_trust()
    check_trackers(run.config.report_to)
    own.check(run.config.retrieval)
    need("training", *TRAINING)
    changed = [*own.changes_since(manifest["own_parts"]), *edited]
    if changed:
        asked = (
            {}
            if not edited
            else dict(zip(("config_hash", "graph_hash"), config_and_graph(run.path, run.config).values(), strict=True))
        )
        manifest = {
            **manifest,
            **own.in_manifest(),
            **asked,
            "changed_parts": [*manifest.get("changed_parts", []), *changed],
        }
    with _at_work(run.path, progress, own) as shown:
        from rag_graph.runs.stages import run_stages

        run_stages(run.config, run.stated_graph, run.path, shown, list(command or sys.argv), own, manifest)
    return run


@contextlib.contextmanager
def _at_work(folder: Path, progress: StageProgress | None, own: OwnParts) -> Iterator[StageProgress]:
    """Lock the folder. Record an error or an interruption, and add to it how the run goes on."""
    with locked(folder), progress or StageProgress() as shown:
        try:
            yield shown
        except (KeyboardInterrupt, Exception) as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(
                TrainingError
            ):  # the disk is full: the first error says so, and the run counts as stopped
                write_json(
                    folder / "status.json",
                    {"status": status, "error": redacted(f"{type(error).__name__}: {error}")},
                )
            if status == "interrupted" or (folder / "manifest.json").is_file():
                error.add_note(how_to_go_on(folder, own))
            raise


def how_to_go_on(folder: Path, own: OwnParts) -> str:
    """What to type so that a run that was stopped goes on."""
    if not (folder / "manifest.json").is_file():
        return f"{folder}: stopped before it began. Start it again with its config."
    given = {"scorers": own.scorers, "retriever": own.retriever, "readout": own.readout}
    again = ", ".join(f"{name}=..." for name, part in given.items() if part)
    if again:
        return f"What was written so far stays. To go on, in Python: rag_graph.resume({str(folder)!r}, {again})"
    return f"What was written so far stays. To go on: rag-graph train --resume {shlex.quote(str(folder))}"
