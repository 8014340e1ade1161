"""Evaluates answers to examples: for each task and metric, a mean with its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rag_graph.display import count, html_table, one_line
from rag_graph.errors import DataError
from rag_graph.evaluation.costs import cost_metrics
from rag_graph.evaluation.example_intervals import example_mean, jackknife_interval, paired_difference, stratified_mean
from rag_graph.evaluation.judging import METRIC
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


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)
"""Where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    episodes: scored, in the order of the examples.
    task_scores: the node score of each task's examples, in that order; without those whose score is missing.
    units: the sampling unit of each of these examples.
    retrieval: what retrieval was worth, where a run's pipeline answered (`rag.retrieval_report`).
    path: the file that it was written to.
    """

    results: tuple[EvalResult, ...]
    episodes: tuple[Episode, ...]
    task_scores: dict[str, list[float]]
    units: dict[str, list[str]]
    missing: Mapping[str, int] = field(default_factory=dict)
    """Task -> how many of its answers have no score because what scores them failed; `failed` of the episodes says why."""
    retrieval: Mapping[str, Any] | None = None
    path: Path | None = None

    def __repr__(self) -> str:
        return one_line("Evaluation", *self._about())

    def _repr_html_(self) -> str:
        """Each metric with its 95% interval."""
        rows = [
            (found.task, found.metric, f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]", found.n)
            for found in self.results
        ]
        notes = [f"written to {self.path}"] if self.path else []
        return html_table(", ".join(self._about()), ("task", "metric", "mean [95% interval]", "examples"), rows, notes)

    def _about(self) -> tuple[str, str]:
        mean = self.mean_task_score
        return f"mean task score {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]", count(
            len(self.episodes), "episode"
        )

    @property
    def mean_task_score(self) -> Interval:
        """Unweighted mean over tasks of the task's node score. A passage of which several tasks ask is one unit of the interval. NaN without any score."""
        if not self.task_scores:
            return NO_INTERVAL
        return stratified_mean(self.task_scores, self.units)

    @property
    def costs(self) -> dict[str, float]:
        """What it cost to ask judges: the metrics of `cost_metrics`."""
        return cost_metrics(self.episodes)


def gain_between(before: Evaluation, after: Evaluation) -> Interval:
    """Change of the mean task score, paired by example: over the examples that have a score in both. NaN where none has.

    Args:
        before, after: of the same examples in the same order.
    """
    first: dict[str, list[float]] = {}
    second: dict[str, list[float]] = {}
    units: dict[str, list[str]] = {}
    for one, other in zip(before.episodes, after.episodes, strict=True):
        task = one.example.task
        if task in before.task_scores and task in after.task_scores and task in one.scores and task in other.scores:
            first.setdefault(task, []).append(one.scores[task])
            second.setdefault(task, []).append(other.scores[task])
            units.setdefault(task, []).append(one.example.sampling_unit)
    return paired_difference(first, second, units) if first else NO_INTERVAL


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
        DataError: no examples, or none with a reference. Where a judge or a function failed, scores are only missing.
    """
    if not examples:
        raise DataError("there is no example to evaluate on. Check the data set's held-out part and data.test.")
    episodes = scored(scorer, answer(examples))
    results: list[EvalResult] = []
    task_scores: dict[str, list[float]] = {}
    units: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    for name in dict.fromkeys(example.task for example in examples):
        task = scorer.graph.spec.tasks[name]
        open_to_all = name in scorer.judged and not task.args.get("reference")
        of_task = [e for e in episodes if e.example.task == name and (open_to_all or e.example.references)]
        mine = [e for e in of_task if name in e.scores]
        if failed := sum(name in e.failed for e in of_task):
            missing[name] = failed
        if not mine:
            continue
        task_scores[name] = [episode.scores[name] for episode in mine]
        units[name] = [episode.example.sampling_unit for episode in mine]
        compared = [e for e in mine if e.example.references]
        for metric in dict.fromkeys([*task.metrics, *(REPORTED[task.kind] if task.kind else ())]):
            found: tuple[Interval, int] | None
            if metric == METRIC and [other for other, weight in task.metrics.items() if weight > 0] == [METRIC]:
                found = example_mean(task_scores[name], units[name]), len(mine)
            else:
                found = _measure(metric, compared, task.label_words) if compared else None
            if found is not None:
                interval, number = found
                results.append(EvalResult(name, metric, *interval, number, config_hash))
    if not task_scores and not missing:
        raise DataError("no example has a reference: there is nothing to compare the answers with.")
    return Evaluation(tuple(results), tuple(episodes), task_scores, units, missing)


def scored(scorer: NodeScorer, episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes with their scores; where a function failed, the score is missing and `failed` says why."""
    found = zip(episodes, scorer.score_all(episodes), strict=True)
    return [
        replace(
            episode,
            scores=dict(scores),
            failed=dict(scores.failed),
            item_scores=dict(scores.item_scores),
            asked=dict(scores.asked),
            rationales=dict(scores.rationales),
        )
        for episode, scores in found
    ]


def _measure(metric: str, episodes: Sequence[Episode], labels: tuple[str, ...]) -> tuple[Interval, int] | None:
    """The mean of the metric with its interval, and the number of episodes in which it was measured."""
    if metric == "macro_f1":
        return _macro_f1(episodes, labels), len(episodes)
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
