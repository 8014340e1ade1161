"""`Run`: the folder of a run as a researcher reads it: tables, the graph at any update, evaluations, questions to the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag_graph.config import RunConfig, read_config
from rag_graph.display import html_table, one_line
from rag_graph.errors import TRAINING, ConfigError, DamagedFileError, DataError, GraphFileError, need
from rag_graph.evaluation.statistics import Interval
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.graph.strengths import Key, Learned, key_of, read_strengths
from rag_graph.runs.files import GraphReport, Manifest, Part, Results, RunFiles, Status, check_model, missing_updates
from rag_graph.runs.folder import check_place, state_of
from rag_graph.runs.named_scorers import scorers_of_run
from rag_graph.runs.own_parts import OwnParts
from rag_graph.stored_file import check_regular, damaged, last_record, read_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from rag_graph.data.load import RunData
    from rag_graph.evaluation.evaluate import Evaluation
    from rag_graph.evaluation.functions import Scorer
    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout
    from rag_graph.runs.answer import Answer
    from rag_graph.runs.workbench import Workbench

T = TypeVar("T")


class Run:
    """The folder of a run: finished, still going, or stopped. Opening it loads no model; the first `ask` or `evaluate` does.

    Args:
        path: the folder, such as "runs/quickstart-seed0".
        scorers, retriever, readout: parts of your own that the run was made with; needed only for `ask` and `evaluate`. Scorers that the
            config names are found again by themselves.
        code: the folder with the modules of those scorers, if they are not where they were.
        accept_changed: parts (nodes of scorers, "retriever", "readout") whose code may be another than before.
        skip_damaged: leave out what is damaged, and say it in `damage`, where an error would be raised. A damaged config or graph then counts as
            an empty one.
        trust_remote_code: the Python code that came with the run's model may run; read it first. What the folder's own config says does not
            suffice: the folder may be anybody's.

    Raises:
        DataError: no run folder. Whatever reads a file of it raises `DamagedFileError` (a DataError), which names the file and says what can still be done.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        scorers: Mapping[str, Scorer | None] | None = None,
        retriever: MakeRetriever | None = None,
        readout: OwnReadout | None = None,
        code: str | Path | None = None,
        accept_changed: Collection[str] = (),
        trust_remote_code: bool = False,
        skip_damaged: bool = False,
    ) -> None:
        self.path = Path(path)
        self._files = RunFiles(self.path, skip_damaged)
        self.trust_remote_code = trust_remote_code
        self.given = OwnParts(dict(scorers or {}), retriever, readout)
        self.code, self.accept_changed = code, tuple(accept_changed)
        if not self.path.is_dir():
            raise DataError(f"{path}: no such run folder. `rag-graph train` makes one and says where.")
        if not any(
            (self.path / name).is_file() for name in ("config.yaml", *(("manifest.json",) if skip_damaged else ()))
        ):
            raise DataError(f"{path}: not a run folder, it has no config.yaml.")

    def __repr__(self) -> str:
        with suppress(DamagedFileError):
            return one_line("Run", f"{str(self.path)!r}", self.state)
        return one_line("Run", f"{str(self.path)!r}", "damaged")

    @property
    def damage(self) -> list[str]:
        """With `skip_damaged`: a sentence for each file that was met and is damaged."""
        return self._files.damage

    def _repr_html_(self) -> str:
        """State, results and how to read on; only small files are read."""
        last, results, gain = last_record(self.path / "metrics.jsonl"), self.results, self.gain
        rows = [("graph", self.stated_graph.name), ("update", last.get("update", "none yet"))]
        rows += [
            (name, f"{last[key]:.3f}")
            for name, key in (("reward", "objective/scores"), ("KL", "objective/kl"))
            if last.get(key) is not None
        ]
        for part in ("before", "after"):
            if results and part in results:
                mean = Interval(**results[part]["mean_task_score"])
                if mean.mean is None:  # written for NaN: no answer has a score
                    continue
                rows.append((f"mean task score {part} PPO", f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"))
        if gain:
            rows.append(("gain", f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"))
        notes = [str(self.status["error"])] if self.status.get("error") else []
        return html_table(f"run {self.path}: {self.state}", ("", "value"), rows, notes)

    # ------------------------------------------------------------------ what it was asked to do, and how it went

    @cached_property
    def config(self) -> RunConfig:
        """The settings of the run.

        Raises:
            DamagedFileError: config.yaml is no config.
        """
        return self._files.whole(partial(self._stored, "config.yaml", read_config), RunConfig)

    def _stored(self, name: str, read: Callable[[Path], T]) -> T:
        """What a YAML file of the folder holds."""
        try:
            return read(self.path / name)
        except (ConfigError, GraphFileError, OSError) as error:
            first = str(error).removeprefix(f"{self.path / name}:").strip().splitlines() or [""]
            raise damaged(self.path / name, first[0].rstrip(".")) from None

    @cached_property
    def own(self) -> OwnParts:
        """Your own parts: those that were given, and the scorers that the config names. Their code has not run yet.

        Raises:
            DataError: the code of a scorer is gone, or may not run unseen.
        """
        stated = self.config.scorers
        named = scorers_of_run(self.path, stated, self.given.scorers, self.code)
        return replace(self.given, named=named, by_file=tuple(stated))

    def check_trust(self) -> None:
        """Raises DataError where the config asks to run the code that came with the model, and the user has not allowed it."""
        if self.config.model.trust_remote_code and not self.trust_remote_code:
            raise DataError(
                f"{self.path}: this run asks to run the Python code that came with its model (model.trust_remote_code). Read that code. Then give "
                "--trust-remote-code, in Python trust_remote_code=True."
            )

    @property
    def status(self) -> dict[str, Any]:
        """`status` is running, finished, interrupted or failed; with `error` if it failed."""
        return self._files.json("status.json", Status) or {"status": "unknown"}

    @property
    def state(self) -> str:
        """`status["status"]`; "stopped" where it says running and its process is gone; "waiting" before it began."""
        return self._files.whole(lambda: state_of(self.path), lambda: "damaged")

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, git state, machine, command, hashes of config, graph and data."""
        return self._files.json("manifest.json", Manifest, needed=True) or {}

    @property
    def results(self) -> dict[str, Any] | None:
        """Evaluations before and after PPO, their paired difference, seconds and memory; None until the run has finished."""
        found: dict[str, Any] | None = self._files.json("results.json", Results)
        return found

    @property
    def gain(self) -> Interval | None:
        """Change of the mean task score from before PPO to after, paired by example, with its 95% interval; None until the run has finished, and
        where no example has a score in both."""
        if not self.results or self.results["gain"]["mean"] is None:  # no example has a score in both
            return None
        return Interval(**self.results["gain"])

    @property
    def graph_report(self) -> dict[str, list[dict[str, Any]]]:
        """`proposals` for the graph file, and `alarms` with the update of each; empty until training has ended."""
        return self._files.json("graph_report.json", GraphReport) or {"proposals": [], "alarms": []}

    # ------------------------------------------------------------------ tables

    def records(self, stage: str = "ppo") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of one stage: "ppo" (a line per update), "sft", "retriever".

        Raises:
            DamagedFileError: a line is damaged, or the line of an update is missing.
        """
        found = [record for record in self._files.metrics() if record["stage"] == stage]
        if stage == "ppo":
            self._files.whole(lambda: self._check_updates(found), lambda: None)
        return found

    def _check_updates(self, records: list[dict[str, Any]]) -> None:
        """Raises DamagedFileError where the updates do not follow each other, or a run that has finished lacks the last ones."""
        complete = self.state == "finished" and not self.manifest.get(
            "callbacks"
        )  # a callback may stop the training early
        problem = missing_updates(records, self.config.ppo.updates if complete else None)
        if problem:
            raise damaged(self.path / "metrics.jsonl", problem)

    def metrics(self, stage: str = "ppo") -> DataFrame:
        """One row per update (of "sft" and "retriever": every ten steps), one column per quantity; TRL's names and ours."""
        import pandas

        index = "update" if stage == "ppo" else "step"
        records = self.records(stage)
        return pandas.DataFrame(records).drop(columns="stage").set_index(index) if records else pandas.DataFrame()

    def judge_costs(self) -> dict[str, float]:
        """What it cost to ask judges: the sums over all updates, the calibration and the evaluations of the run (`rag_graph.evaluation.costs`);
        empty where none was asked."""
        from rag_graph.evaluation.costs import summed_costs

        updates = [record for record in self._files.metrics() if record["stage"] in ("ppo", "calibration")]
        names = ("before", "after", "without_retrieval")
        evaluations = [(self._files.json(f"evaluation/{name}.json", Part) or {}).get("judged", {}) for name in names]
        return summed_costs([*updates, *evaluations])

    def episodes(self, part: str = "train") -> DataFrame:
        """One row per episode; `scores`, `paid`, `imputed`, `gates` and `evidence` hold dicts and lists.

        Args:
            part: "train" (every episode of PPO), or an evaluation of the held-out part: "before", "after", "without_retrieval".

        Raises:
            DataError: the run has no such part, or not yet.
        """
        import pandas

        return pandas.DataFrame(self.episode_records(part))

    def episode_records(self, part: str = "train") -> list[dict[str, Any]]:
        """The same as plain records."""
        path = self.episode_file(part)
        if not path.exists():
            written = sorted(self.path.glob("evaluation/*.episodes.jsonl"))
            there = ["train"] if (self.path / "episodes.jsonl").is_file() else []
            there += [found.name.removesuffix(".episodes.jsonl") for found in written]
            raise DataError(f"{self.path}: no episodes '{part}'. There are so far: {', '.join(there) or 'none'}.")
        return self._files.episodes(path)

    def episode_file(self, part: str = "train") -> Path:
        """Where the episodes of a part are, or will be."""
        return self.path / ("episodes.jsonl" if part == "train" else f"evaluation/{part}.episodes.jsonl")

    def context_records(self, split: str = "test") -> list[dict[str, Any]]:
        """The passages that the run searched, as plain records: those of "train" or of "test".

        Raises:
            DamagedFileError: the file is missing, or a line is damaged.
        """
        return self._files.contexts(split)

    # ------------------------------------------------------------------ the graph

    @cached_property
    def stated_graph(self) -> AuxiliaryGraph:
        """The graph as the run began with it.

        Raises:
            DamagedFileError: graph.yaml is no graph.
        """
        stored = self._files.whole(partial(self._stored, "graph.yaml", load_graph), _empty_graph)
        return AuxiliaryGraph(stored.spec, Path(self.manifest.get("graph_root", stored.root)))

    @property
    def graph_text(self) -> str:
        """graph.yaml as it is."""
        return self._files.whole(lambda: read_text(self.path / "graph.yaml"), str)

    def graph(self, update: int | None = None) -> AuxiliaryGraph:
        """The graph with its strengths after an update of PPO; 0 as the file states it, None as it is now.

        Raises:
            DataError: an update that the run has not made.
        """
        stated, records = self.stated_graph, self.records()
        last = records[-1]["update"] if records else 0
        if update is not None and not 0 <= update <= last:
            raise DataError(f"{self.path}: no update {update}; there are 0 (the file) to {last}.")
        if update is None and (self.path / "strengths.yaml").exists():
            read = partial(self._stored, "strengths.yaml", read_strengths)
            stored: dict[Key, Learned] = self._files.whole(read, dict)
            learned = {key: found.strength for key, found in stored.items()}
            return stated.with_strengths([learned.get(key_of(edge), edge.strength) for edge in stated.spec.edges])
        known = [record for record in records if update is None or record["update"] <= update]
        return stated.with_strengths(self.strengths_in(known[-1] if known else {}))

    def strengths_in(self, record: Mapping[str, Any]) -> list[float]:
        """The strengths [E] of one line of the metrics; what is not in it is as the file states it."""
        edges = self.stated_graph.spec.edges
        known = [record.get(f"graph/{edge.source}>{edge.target}:{edge.relation}") for edge in edges]
        return [edge.strength if value is None else float(value) for edge, value in zip(edges, known, strict=True)]

    # ------------------------------------------------------------------ the model

    def ask(self, text: str, task: str | None = None, input: str | None = None) -> Answer:
        """Ask the run's model through its pipeline. The answer has `text`, `draft`, `evidence`, `scores`, `paid` and `reward`.

        Args:
            text: the question, or the text of a task that asks none.
            task: default the first that has a question, else the first.
            input: the passage that a question is about.

        Raises:
            ConfigError: no such task, or a passage for a task that asks no question.
            DataError: the run has no policy yet, or needs your own parts (scorers, retriever, readout), which were not given.
        """
        from rag_graph.runs.answer import asked_example

        return self._bench.answer(asked_example(self.stated_graph.spec.tasks, text, task, input))

    def evaluate(
        self,
        data: str | Path | None = None,
        task: str | None = None,
        *,
        scorers: Mapping[str, Scorer | None] | None = None,
        retrieval: bool = True,
        out: str | Path | None = None,
    ) -> Evaluation:
        """Measure the run's model: the metrics of each task, each with its 95% interval. The result is also written as JSON.

        Args:
            data: a jsonl, csv or parquet file with the fields of `task`; default the run's held-out part.
            task: evaluate this task only.
            scorers: functions for this evaluation, by node, beside those that the run was made with.
            retrieval: answer with evidence.
            out: where the JSON goes; default a new file in the folder `evaluation` of the run. It is the result's `path`.

        Raises:
            ConfigError: no such task, or a file and no task.
            DataError: a bad file; data sets that have changed since the run; no policy yet; your own parts are needed and were not given.
        """
        need("a run's model", *TRAINING)
        from rag_graph.data.examples import read_examples
        from rag_graph.runs.answer import check_task
        from rag_graph.runs.recording import write_evaluation

        tasks = self.stated_graph.spec.tasks
        if task is not None:
            check_task(tasks, task)
        if out is not None and not Path(out).parent.is_dir():
            raise ConfigError(f"out (--out) {out}: no such folder: {Path(out).parent}")
        if out is None:
            check_place(self.path / "evaluation")
        file = Path(data) if data is not None else None
        if file is None:
            examples = [example for example in self._data.test if task in (None, example.task)]
        elif task is None:
            raise ConfigError("data (--data) needs a task (--task): which task's fields does the file have?")
        else:
            examples = read_examples(file, task, self.stated_graph)
        found = self._bench.evaluate(examples, retrieval, scorers)
        return write_evaluation(found, self.path / "evaluation", file, task, retrieval, Path(out) if out else None)

    @cached_property
    def _data(self) -> RunData:
        """The run's data sets. Raises DataError where they have changed or are gone."""
        from rag_graph.data.load import load_data
        from rag_graph.runs.manifest import check_data

        data = load_data(self.stated_graph, self.config.data, self.config.seed, reserved=self.config.reward.reserved)
        check_data(self.path, self.manifest, data, "Restore them, or evaluate on a file of your own (--data).")
        return data

    @cached_property
    def _bench(self) -> Workbench:
        need("a run's model", *TRAINING)
        self._check_policy()
        self.check_trust()
        from rag_graph.evaluation.scorer import NodeScorer
        from rag_graph.runs.workbench import Workbench

        data = None
        if NodeScorer.classified_tasks(self.stated_graph):  # only a frozen classifier needs the data to answer
            with suppress(DataError):
                data = self._data
        return Workbench(self.config, self.stated_graph, self.own, data, saved=self.path)

    def _check_policy(self) -> None:
        """Raises DataError where the run has no policy, or was made with other parts than were given."""
        if not check_regular(self.path / "policy" / "config.json"):
            raise DataError(
                f"{self.path}: this run has no policy yet (policy/config.json): its training did not reach the end. See {self.path / 'status.json'}."
            )
        if not check_regular(self.path / "reward.json"):
            raise damaged(self.path / "reward.json", "is missing")
        check_model(self.path / "policy")
        check_model(self.path / "retriever")
        self.own.check_same(self.manifest.get("own_parts", {}), str(self.path), self.accept_changed)


def _empty_graph() -> AuxiliaryGraph:
    return AuxiliaryGraph(GraphSpec.model_validate({"format": 1, "name": "damaged", "tasks": {}}))
