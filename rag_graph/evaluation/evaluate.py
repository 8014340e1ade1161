"""Evaluates answers to examples: for each task and metric, a mean with its 95% interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rag_graph.display import count, html_table, one_line
from rag_graph.errors import DataError
from rag_graph.evaluation.example_intervals import example_mean, jackknife_interval, stratified_mean
from rag_graph.evaluation.metrics import METRICS, Judged, macro_f1, macro_f1_without
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.evaluation.statistics import Interval
from rag_graph.records import Episode, EvalResult, Example

REPORTED = {
    "classification": ("accuracy", "macro_f1"),
    "extraction": ("exact_match", "token_f1", "bleu"),
    "generation": ("rouge_1", "rouge_2", "rouge_l", "bleu"),
}
"""Metrics that are reported for each kind of task, in addition to those of the graph file."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    episodes: scored, in the order of the examples.
    task_scores: the node score of each task's examples, in that order.
    units: the sampling unit of each of these examples.
    retrieval: what retrieval was worth, where a run's pipeline answered (`rag.retrieval_report`).
    shown: shares of the episodes whose prompt showed less than was there (`rag.retrieval_report.shown_shares`).
    path: the file that it was written to.
    without_reference: task -> its examples that have no reference and so are not measured, where there are some.
    """

    results: tuple[EvalResult, ...]
    episodes: tuple[Episode, ...]
    task_scores: dict[str, list[float]]
    units: dict[str, list[str]]
    retrieval: Mapping[str, Any] | None = None
    shown: Mapping[str, float] | None = None
    path: Path | None = None
    without_reference: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return one_line("Evaluation", *self._about())

    def _repr_html_(self) -> str:
        """Each metric with its 95% interval."""
        rows = [
            (found.task, found.metric, f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]", found.n)
            for found in self.results
        ]
        notes = [
            f"{task}: {without} without a reference, not measured" for task, without in self.without_reference.items()
        ]
        notes += [f"written to {self.path}"] if self.path else []
        return html_table(", ".join(self._about()), ("task", "metric", "mean [95% interval]", "examples"), rows, notes)

    def _about(self) -> tuple[str, str]:
        mean = self.mean_task_score
        return f"mean task score {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]", count(
            len(self.episodes), "episode"
        )

    @property
    def mean_task_score(self) -> Interval:
        """Unweighted mean over tasks of the task's node score. A passage of which several tasks ask is one unit of the interval."""
        return stratified_mean(self.task_scores, self.units)


def evaluate(
    answer: Callable[[Sequence[Example]], list[Episode]],
    examples: Sequence[Example],
    scorer: NodeScorer,
    config_hash: str = "",
) -> Evaluation:
    """Answer the examples, and compute the metrics of the answers.

    Args:
        answer: examples -> their episodes, in order.

    Raises:
        DataError: no examples, or none with a reference.
    """
    if not examples:
        raise DataError("there is no example to evaluate on. Check the data set's held-out part and data.test.")
    episodes = scored(scorer, answer(examples))
    results: list[EvalResult] = []
    task_scores: dict[str, list[float]] = {}
    units: dict[str, list[str]] = {}
    without: dict[str, int] = {}
    for name in dict.fromkeys(example.task for example in examples):
        task = scorer.graph.spec.tasks[name]
        mine = [e for e in episodes if e.example.task == name and name in e.scores]
        if "reference" in task.fields:  # only what was compared with one counts
            mine = [e for e in mine if e.example.references]
            missing = sum(e.task == name and not e.references for e in examples)
            without.update({name: missing} if missing else {})
        if not mine:
            continue
        task_scores[name] = [episode.scores[name] for episode in mine]
        units[name] = [episode.example.sampling_unit for episode in mine]
        for metric in dict.fromkeys([*task.metrics, *(REPORTED[task.kind] if task.kind else ())]):
            found = _measure(metric, mine, task.label_words)
            if found is not None:
                interval, count = found
                results.append(EvalResult(name, metric, *interval, count, config_hash))
    if not task_scores:
        raise DataError(
            "no example has a reference: there is nothing to compare the answers with. Give some held-out rows one."
        )
    return Evaluation(tuple(results), tuple(episodes), task_scores, units, without_reference=without)


def scored(scorer: NodeScorer, episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes with their scores; where a function failed, the score is missing and `failed` says why."""
    found = zip(episodes, scorer.score_all(episodes), strict=True)
    return [
        replace(episode, scores=dict(scores), failed=dict(scores.failed), item_scores=dict(scores.item_scores))
        for episode, scores in found
    ]


def _measure(metric: str, episodes: Sequence[Episode], labels: tuple[str, ...]) -> tuple[Interval, int] | None:
    """The mean of the metric with its interval, and the number of episodes in which it was measured."""
    if metric == "macro_f1":
        compared = [episode for episode in episodes if episode.example.references]
        return (_macro_f1(compared, labels), len(compared)) if compared else None
    values, units = [], []
    for episode in episodes:
        example = episode.example
        value = METRICS[metric](Judged(episode.response, example.references, episode.source, labels, episode.truncated))
        if value is not None:
            values.append(value)
            units.append(example.sampling_unit)
    return (example_mean(values, units), len(values)) if values else None


def _macro_f1(episodes: Sequence[Episode], labels: tuple[str, ...]) -> Interval:
    """Macro-F1 is not a mean over examples. Its interval covers less where a label occurs a few times only: 83% where one of five labels occurs
    in 2 of 100 examples (`tests/evaluation/test_example_intervals.py`)."""
    responses = [episode.response for episode in episodes]
    references = [episode.example.references for episode in episodes]
    units = [episode.example.sampling_unit for episode in episodes]
    without = macro_f1_without(responses, references, labels, units)
    return jackknife_interval(macro_f1(responses, references, labels), without)
