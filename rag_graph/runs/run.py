"""`Run`: a run folder as a researcher reads it: tables, the graph at any update, questions to the model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_graph.config import RunConfig, load_config
from rag_graph.errors import DataError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import load_graph
from rag_graph.graph.strengths import key_of, read_strengths
from rag_graph.runtime import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout
    from rag_graph.runs.opened import Answer, OpenedRun
    from rag_graph.runs.own_parts import Scorer


class Run:
    """A run folder: finished, still going, or stopped.

    Args:
        path: the folder, such as "runs/quickstart-seed0".
        scorers, retriever, readout: parts of your own that the run was made with; needed only to `ask`.

    Raises:
        DataError: no run folder.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        scorers: Mapping[str, Scorer] | None = None,
        retriever: MakeRetriever | None = None,
        readout: OwnReadout | None = None,
    ) -> None:
        self.folder = RunFolder.open(path)
        self._own = (scorers or {}, retriever, readout)

    @property
    def path(self) -> Path:
        return self.folder.path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status['status']})"

    @cached_property
    def config(self) -> RunConfig:
        return load_config(self.folder / "config.yaml")

    @property
    def status(self) -> dict[str, Any]:
        """`status` is running, finished, interrupted or failed; with `error` where it did not end well."""
        return self._json("status.json") or {"status": "unknown"}

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, git state, machine, command, hashes of config, graph and data."""
        return self._json("manifest.json") or {}

    @property
    def results(self) -> dict[str, Any] | None:
        """Evaluations before and after PPO, their paired difference, seconds and memory; None until the run has finished."""
        found: dict[str, Any] | None = self._json("results.json")
        return found

    @property
    def graph_report(self) -> dict[str, list[dict[str, Any]]]:
        """`proposals` for the graph file, and `alarms` with the update of each; empty until training has ended."""
        return self._json("graph_report.json") or {"proposals": [], "alarms": []}

    def records(self, stage: str = "ppo") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of one stage: "ppo" (a line per update), "sft", "retriever"."""
        return [record for record in self.folder.read("metrics.jsonl") if record.get("stage") == stage]

    def metrics(self, stage: str = "ppo") -> DataFrame:
        """One row per update (of "sft" and "retriever": every ten steps), one column per quantity; TRL's names and ours."""
        import pandas

        index = "update" if stage == "ppo" else "step"
        records = self.records(stage)
        return pandas.DataFrame(records).drop(columns="stage").set_index(index) if records else pandas.DataFrame()

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
            there = ["train"] if (self.folder / "episodes.jsonl").is_file() else []
            there += [found.name.removesuffix(".episodes.jsonl") for found in written]
            raise DataError(f"{self.path}: no episodes '{part}'. There are so far: {', '.join(there) or 'none'}.")
        return self.folder.read(str(path.relative_to(self.path)))

    def episode_file(self, part: str = "train") -> Path:
        """Where the episodes of a part are, or will be."""
        return self.folder / ("episodes.jsonl" if part == "train" else f"evaluation/{part}.episodes.jsonl")

    @cached_property
    def stated_graph(self) -> AuxiliaryGraph:
        """The graph as the run began with it."""
        stored = load_graph(self.folder / "graph.yaml")
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
        if update is None and (self.folder / "strengths.yaml").is_file():
            learned = {key: found.strength for key, found in read_strengths(self.folder / "strengths.yaml").items()}
            return stated.with_strengths([learned.get(key_of(edge), edge.strength) for edge in stated.spec.edges])
        known = [record for record in records if update is None or record["update"] <= update]
        return stated.with_strengths(self.strengths_in(known[-1] if known else {}))

    def strengths_in(self, record: Mapping[str, Any]) -> list[float]:
        """The strengths [E] of one line of the metrics; what is not in it is as the file states it."""
        edges = self.stated_graph.spec.edges
        known = [record.get(f"graph/{edge.source}>{edge.target}:{edge.relation}") for edge in edges]
        return [edge.strength if value is None else float(value) for edge, value in zip(edges, known, strict=True)]

    @cached_property
    def _opened(self) -> OpenedRun:
        from rag_graph.runs.opened import OpenedRun
        from rag_graph.runs.own_parts import OwnParts

        return OpenedRun(self.path, own=OwnParts(*self._own))

    def ask(self, text: str, task: str | None = None, input: str | None = None) -> Answer:
        """Ask the run's model through its pipeline. The answer has `text`, `draft`, `evidence`, `scores`, `paid` and `reward`.

        Args:
            text: the question, or the text of a task that asks none.
            task: default the first that has a question, else the first.
            input: the passage that a question is about.

        Raises:
            DataError: the run has no policy yet, or was made with parts of its own that were not given.
        """
        return self._opened.ask(text, task, input)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the run as one HTML file that needs nothing else; default `report.html` in its folder."""
        from rag_graph.report.html import write_report

        return write_report(self, Path(out) if out is not None else self.folder / "report.html")

    def _json(self, name: str) -> Any:
        return self.folder.read_json(name)
