"""From an answered episode to the scores of the graph's nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rag_graph.display import one_line
from rag_graph.errors import DataError, near_miss
from rag_graph.evaluation.metrics import METRICS, Judged, LabelModel
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode, Example

Scorer = Callable[[Episode], float | None]
"""A researcher's own score of a node: a number in [0, 1], or None where there is nothing to observe."""


class FrozenClassifier:
    """TF-IDF and logistic regression, fitted once on a task's training examples and never again.

    Args:
        examples: of one task, each with its reference. A run gives those that are not reserved (`RunData.shown`): fitted on a
            reserved reference too, `label_preserved` would show it to the reward.

    Raises:
        DataError: fewer than two labels.
    """

    def __init__(self, examples: Sequence[Example], seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        labels = [example.references[0] for example in examples]
        if len(set(labels)) < 2:
            raise DataError(
                f"a classifier of '{examples[0].task if examples else 'no task'}' needs training examples of at least two labels, beside those that are reserved."
            )
        texts = [example.text for example in examples]
        self._model = make_pipeline(
            TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1000, random_state=seed)
        )
        self._model.fit(texts, labels)
        self.labels: Sequence[str] = list(self._model.classes_)
        self._known: dict[str, Sequence[float]] = {}

    def probabilities(self, text: str) -> Sequence[float]:
        if text not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()
            self._known[text] = self._model.predict_proba([text])[0].tolist()
        return self._known[text]


class NodeScorer:
    """Scores every node that bears on an episode: its task by the weighted mean of the task's metrics, each criterion that
    applies by its metric. A node that cannot be observed (no reference, nothing to compare with) is absent.

    Args:
        classifiers: frozen classifiers by task, for `label_preserved`.
        scorers: your own functions of an episode, by node; they return a number in [0, 1], or None where there is nothing to observe.
            A node whose metric is `external` is scored by nothing else.

    Raises:
        DataError: a scorer for a node that the graph lacks.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        classifiers: Mapping[str, LabelModel] | None = None,
        scorers: Mapping[str, Scorer] | None = None,
    ) -> None:
        self.graph = graph
        self.classifiers = dict(classifiers or {})
        self.scorers = dict(scorers or {})
        for name in self.scorers:
            if name not in graph.index:
                raise DataError(
                    f"a scorer for '{name}', which graph '{graph.name}' lacks.{near_miss(name, graph.nodes)}"
                )

    def __repr__(self) -> str:
        own = f"own functions for {', '.join(self.scorers)}" if self.scorers else ""
        return one_line("NodeScorer", repr(self.graph.name), own)

    @staticmethod
    def classified_tasks(graph: AuxiliaryGraph) -> set[str]:
        """Tasks for which some criterion needs a frozen classifier."""
        return {
            criterion.of
            for criterion in graph.spec.criteria.values()
            if criterion.metric == "label_preserved" and criterion.of
        }

    def score(self, episode: Episode, nodes: Collection[str] | None = None) -> dict[str, float]:
        """The scores of an episode's nodes, each in [0, 1]; every metric and scorer is called once at most.

        Args:
            nodes: those that are wanted; None: all that bear on the episode.

        Raises:
            DataError: a scorer failed, or returned something that is no score.
        """
        task = episode.example.task
        wanted = [
            node for node in (task, *self.graph.spec.criteria, *self.scorers)
            if (nodes is None or node in nodes) and (node == task or self.graph.applies(node, task))
        ]  # fmt: skip
        scores: dict[str, float] = {}
        for node in dict.fromkeys(wanted):
            value = self._own(node, episode) if node in self.scorers else self._built_in(node, episode)
            if value is not None:
                scores[node] = value
        return scores

    def _own(self, node: str, episode: Episode) -> float | None:
        try:
            value = self.scorers[node](episode)
        except Exception as error:  # anyone's code: say whose
            raise DataError(f"the scorer of '{node}' failed: {type(error).__name__}: {error}") from error
        return None if value is None else _checked(value, node)

    def _built_in(self, node: str, episode: Episode) -> float | None:
        """By the metric of a criterion, or the weighted mean of the metrics of a task."""
        name = episode.example.task
        task = self.graph.spec.tasks[name]
        source = episode.source

        def judged(text: str, args: Mapping[str, Any] | None = None, classifier: LabelModel | None = None) -> Judged:
            return Judged(
                response=episode.response, references=episode.example.references, labels=task.label_words, truncated=episode.truncated,
                source=text, args=dict(args or {}), classifier=classifier,
            )  # fmt: skip

        if node == name:
            parts = [(METRICS[metric](judged(source)), weight) for metric, weight in task.metrics.items()]
            seen = [(value, weight) for value, weight in parts if value is not None and weight > 0]
            return sum(value * weight for value, weight in seen) / sum(weight for _, weight in seen) if seen else None
        criterion = self.graph.spec.criteria[node]
        text = episode.example.text if criterion.metric == "label_preserved" else source
        return METRICS[criterion.metric](judged(text, criterion.args, self.classifiers.get(criterion.of or "")))


def _checked(value: object, node: str) -> float:
    try:
        score = float(value) if not isinstance(value, str) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        score = float("nan")
    if not 0 <= score <= 1:  # NaN too
        raise DataError(
            f"the scorer of '{node}' returned {value!r}. A score is a number from 0 to 1, or None where there is none."
        )
    return score
