"""`Run`: the folder of a run as a researcher reads it: tables, the graph at any update, evaluations, questions to the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_graph.config import RunConfig, read_config
from rag_graph.display import html_table, one_line
from rag_graph.errors import TRAINING, ConfigError, DataError, need
from rag_graph.evaluation.statistics import Interval
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import load_graph
from rag_graph.graph.strengths import key_of, read_strengths
from rag_graph.runs.folder import state_of
from rag_graph.runs.named_scorers import scorers_of_run
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runtime import last_record, read_json, read_records

if TYPE_CHECKING:
    from pandas import DataFrame

    from rag_graph.data.load import RunData
    from rag_graph.evaluation.evaluate import Evaluation
    from rag_graph.evaluation.functions import Scorer
    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout
    from rag_graph.runs.answer import Answer
    from rag_graph.runs.workbench import Workbench


class Run:
    """The folder of a run: finished, still going, or stopped. Opening it loads no model; the first `ask` or `evaluate` does.

    Args:
        path: the folder, such as "runs/quickstart-seed0".
        scorers, retriever, readout: parts of your own that the run was made with; needed only for `ask` and `evaluate`. Scorers that the
            config names are found again by themselves.
        code: the folder with the modules of those scorers, if they are not where they were.
        accept_changed: parts (nodes of scorers, "retriever", "readout") whose code may be another than before.

    Raises:
        DataError: no run folder.
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
    ) -> None:
        self.path = Path(path)
        self.given = OwnParts(dict(scorers or {}), retriever, readout)
        self.code, self.accept_changed = code, tuple(accept_changed)
        if not self.path.is_dir():
            raise DataError(f"{path}: no such run folder. `rag-graph train` makes one and says where.")
        if not (self.path / "config.yaml").is_file():
            raise DataError(f"{path}: not a run folder, it has no config.yaml.")

    def __repr__(self) -> str:
        return one_line("Run", f"{str(self.path)!r}", self.status["status"])

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
        return read_config(self.path / "config.yaml")

    @cached_property
    def own(self) -> OwnParts:
        """Your own parts: those that were given, and the scorers that the config names. Their code has not run yet.

        Raises:
            DataError: the code of a scorer is gone, or may not run unseen.
        """
        stated = self.config.scorers
        named = scorers_of_run(self.path, stated, self.given.scorers, self.code)
        return replace(self.given, named=named, by_file=tuple(stated))

    @property
    def status(self) -> dict[str, Any]:
        """`status` is running, finished, interrupted or failed; with `error` if it failed."""
        return read_json(self.path / "status.json") or {"status": "unknown"}

    @property
    def state(self) -> str:
        """`status["status"]`; "stopped" where it says running and its process is gone; "waiting" before it began."""
        return state_of(self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, git state, machine, command, hashes of config, graph and data."""
        return read_json(self.path / "manifest.json") or {}

    @property
    def results(self) -> dict[str, Any] | None:
        """Evaluations before and after PPO, their paired difference, seconds and memory; None until the run has finished."""
        found: dict[str, Any] | None = read_json(self.path / "results.json")
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
        return read_json(self.path / "graph_report.json") or {"proposals": [], "alarms": []}

    # ------------------------------------------------------------------ tables

    def records(self, stage: str = "ppo") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of one stage: "ppo" (a line per update), "sft", "retriever"."""
        return [record for record in read_records(self.path / "metrics.jsonl") if record.get("stage") == stage]

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

        updates = [r for r in read_records(self.path / "metrics.jsonl") if r.get("stage") in ("ppo", "calibration")]
        names = ("before", "after", "without_retrieval")
        evaluations = [(read_json(self.path / f"evaluation/{name}.json") or {}).get("judged", {}) for name in names]
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
        if not path.is_file():
            written = sorted(self.path.glob("evaluation/*.episodes.jsonl"))
            there = ["train"] if (self.path / "episodes.jsonl").is_file() else []
            there += [found.name.removesuffix(".episodes.jsonl") for found in written]
            raise DataError(f"{self.path}: no episodes '{part}'. There are so far: {', '.join(there) or 'none'}.")
        return read_records(path)

    def episode_file(self, part: str = "train") -> Path:
        """Where the episodes of a part are, or will be."""
        return self.path / ("episodes.jsonl" if part == "train" else f"evaluation/{part}.episodes.jsonl")

    # ------------------------------------------------------------------ the graph

    @cached_property
    def stated_graph(self) -> AuxiliaryGraph:
        """The graph as the run began with it."""
        stored = load_graph(self.path / "graph.yaml")
        return AuxiliaryGraph(stored.spec, Path(self.manifest.get("graph_root", stored.root)))

    def graph(self, update: int | None = None) -> AuxiliaryGraph:
        """The graph with its strengths after an update of PPO; 0 as the file states it, None as it is now.

        Raises:
            DataError: an update that the run has not made.
        """
        stated, records = self.stated_graph, self.records()
        last = records[-1]["update"] if records else 0
        if update is not None and not 0 <= update <= last:
            raise DataError(f"{self.path}: no update {update}; there are 0 (the file) to {last}.")
        if update is None and (self.path / "strengths.yaml").is_file():
            learned = {key: found.strength for key, found in read_strengths(self.path / "strengths.yaml").items()}
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
        from rag_graph.data.load import read_examples
        from rag_graph.runs.answer import check_task
        from rag_graph.runs.recording import write_evaluation

        tasks = self.stated_graph.spec.tasks
        if task is not None:
            check_task(tasks, task)
        if out is not None and not Path(out).parent.is_dir():
            raise ConfigError(f"out (--out) {out}: no such folder: {Path(out).parent}")
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
        from rag_graph.evaluation.scorer import NodeScorer
        from rag_graph.runs.workbench import Workbench

        data = None
        if NodeScorer.classified_tasks(self.stated_graph):  # only a frozen classifier needs the data to answer
            with suppress(DataError):
                data = self._data
        return Workbench(self.config, self.stated_graph, self.own, data, saved=self.path)

    def _check_policy(self) -> None:
        """Raises DataError where the run has no policy, or was made with other parts than were given."""
        if not (self.path / "policy" / "config.json").is_file():
            raise DataError(
                f"{self.path}: this run has no policy yet: its training did not reach the end. See {self.path / 'status.json'}."
            )
        for name in ("manifest.json", "reward.json"):
            if not (self.path / name).is_file():
                raise DataError(
                    f"{self.path}: {name} is missing, so the run cannot answer. Its tables and figures can still be read."
                )
        self.own.check_same(self.manifest.get("own_parts", {}), str(self.path), self.accept_changed)
