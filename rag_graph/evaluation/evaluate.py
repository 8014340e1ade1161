"""Evaluates answers to examples: for each task and metric, a mean with its 95% interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag_graph.errors import DataError
from rag_graph.evaluation.metrics import METRICS, Judged, macro_f1
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.evaluation.statistics import Interval, bootstrap_mean, stratified_mean
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
    retrieval: what retrieval was worth, where a run's pipeline answered (`rag.retrieval_report`).
    path: the file that it was written to.
    """

    results: tuple[EvalResult, ...]
    episodes: tuple[Episode, ...]
    task_scores: dict[str, list[float]]
    retrieval: Mapping[str, Any] | None = None
    path: Path | None = None

    @property
    def mean_task_score(self) -> Interval:
        """Unweighted mean over tasks of the task's node score."""
        return stratified_mean(self.task_scores)


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
    episodes = [episode.with_scores(scorer.score(episode)) for episode in answer(examples)]
    results: list[EvalResult] = []
    task_scores: dict[str, list[float]] = {}
    for name in dict.fromkeys(example.task for example in examples):
        mine = [e for e in episodes if e.example.task == name and name in e.scores and e.example.references]
        if not mine:
            continue
        task = scorer.graph.spec.tasks[name]
        task_scores[name] = [episode.scores[name] for episode in mine]
        for metric in dict.fromkeys([*task.metrics, *REPORTED[task.kind]]):
            found = _measure(metric, mine, task.label_words)
            if found is not None:
                interval, count = found
                results.append(EvalResult(name, metric, *interval, count, config_hash))
    if not task_scores:
        raise DataError("no example has a reference: there is nothing to compare the answers with.")
    return Evaluation(tuple(results), tuple(episodes), task_scores)


def _measure(metric: str, episodes: Sequence[Episode], labels: tuple[str, ...]) -> tuple[Interval, int] | None:
    """The mean of the metric with its interval, and the number of episodes in which it was measured."""
    if metric == "macro_f1":
        return _macro_f1(episodes, labels), len(episodes)
    values = [
        METRICS[metric](Judged(e.response, e.example.references, e.source, labels, e.truncated)) for e in episodes
    ]
    measured = [value for value in values if value is not None]
    return (bootstrap_mean(measured), len(measured)) if measured else None


def _macro_f1(episodes: Sequence[Episode], labels: tuple[str, ...]) -> Interval:
    """Macro-F1 is not a mean over examples, so its interval resamples the corpus."""
    responses = [episode.response for episode in episodes]
    references = [episode.example.references[0] for episode in episodes]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        rows = rng.integers(len(episodes), size=len(episodes)).tolist()
        draws.append(macro_f1([responses[row] for row in rows], [references[row] for row in rows], labels))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(macro_f1(responses, references, labels), float(low), float(high))
