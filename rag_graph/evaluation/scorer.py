"""From an answered episode to the scores of the graph's nodes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag_graph.display import cut, one_line
from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.calls import Raised
from rag_graph.evaluation.functions import Asking, OwnFunction, Row, Scorer, Unfit, ask
from rag_graph.evaluation.judging import (
    METRIC,
    Judge,
    Question,
    Verdict,
    judge_of,
    judged_nodes,
    question_about,
    verdicts_of,
)
from rag_graph.evaluation.metrics import METRICS, Judged, LabelModel
from rag_graph.evaluation.rubric import rubric_score
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import REFERENCE_METRICS, Asked, Episode, Example, Item

LONGEST_RATIONALE = 300
"""Characters of what a judge wrote that an episode keeps."""


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


class NodeScores(dict[str, float]):
    """Node -> score in [0, 1] of one episode; absent where not observed."""

    def __init__(
        self,
        scores: Mapping[str, float] | None = None,
        error: str = "",
        items: Mapping[str, tuple[float | None, ...]] | None = None,
    ) -> None:
        super().__init__(scores or {})
        self.failed: dict[str, str] = {}
        """Node -> what its function raised, or why what it returned is no score."""
        self.item_scores = dict(items or {})
        """Node of a rubric -> the score of each item, where they are known."""
        self.asked: dict[str, Asked] = {}
        """Node -> what it cost to ask for its score."""
        self.rationales: dict[str, str] = {}
        """Node -> what its judge wrote to the mark."""
        self.error = error
        """Why the episode could not be scored at all."""

    def take(self, node: str, outcome: Any, episode: Episode) -> None:
        """What a function found for a node: one of the outcomes of an `Asking`; of a rubric also a list of them, one per item."""
        if isinstance(outcome, list | tuple):
            wrong = [one for one in outcome if isinstance(one, Raised | Unfit)]
            if wrong:
                self.failed[node] = str(wrong[0])
            self.item_scores[node] = tuple(one if isinstance(one, float) else None for one in outcome)
            outcome = rubric_score(episode.example.items[node], self.item_scores[node])
        if isinstance(outcome, float):
            self[node] = outcome
        elif outcome is not None:
            self.failed[node] = str(outcome)

    def cost(self, node: str, asked: Asked) -> None:
        """Add what one question for a node cost."""
        before = self.asked.get(node)
        self.asked[node] = asked if before is None else before + asked


class NodeScorer:
    """Scores every node that bears on an episode: its task by the weighted mean of the task's metrics, each criterion that
    applies by its metric. A node that cannot be observed (no reference, nothing to compare with) is absent.

    Args:
        classifiers: frozen classifiers by task, for `label_preserved`.
        judges: by name; the nodes whose metric is `judge` ask them, all of a batch at once (`rag_graph.evaluation.judging`).
        scorers: your own functions by node, in TRL's signature or of one episode (`rag_graph.evaluation.functions`). They take the place of the
            node's metric; a node whose metric is `external` has no other. None: the node is not scored, and predicted where the readout can.

    Raises:
        DataError: a scorer for a node that the graph lacks.
        ConfigError: a scorer that cannot be called.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        classifiers: Mapping[str, LabelModel] | None = None,
        scorers: Mapping[str, Scorer | None] | None = None,
        judges: Mapping[str, Judge] | None = None,
    ) -> None:
        self.graph = graph
        self.judges = dict(judges or {})
        self.classifiers = dict(classifiers or {})
        self.scorers = dict(scorers or {})
        for name in self.scorers:
            if name not in graph.index:
                raise DataError(
                    f"a scorer for '{name}', which graph '{graph.name}' lacks.{near_miss(name, graph.nodes)} Its nodes: {', '.join(graph.nodes)}."
                )
            if name in graph.spec.contexts:
                raise DataError(
                    f"a scorer for '{name}', which is a context: text to retrieve, not a node with a score."
                )
        self.rubrics = {name for name, criterion in graph.spec.criteria.items() if criterion.items is not None}
        self.functions = {
            node: OwnFunction(node, function, node in self.rubrics)
            for node, function in self.scorers.items()
            if function is not None
        }
        self.judged = {node: args for node, args in judged_nodes(graph).items() if node not in self.scorers}
        """Node that asks a judge -> its arguments."""
        self._warned: set[str] = set()

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

    def scored_by(self) -> dict[str, str]:
        """Task or criterion -> the name of its function or metrics; empty where nothing scores it."""
        spec = self.graph.spec
        metrics = {name: [m for m, weight in task.metrics.items() if weight > 0] for name, task in spec.tasks.items()}
        metrics |= {name: [criterion.metric] for name, criterion in spec.criteria.items()}
        by = {node: " + ".join(m for m in names if m != "external") for node, names in metrics.items()}
        by |= {node: "" for node, function in self.scorers.items() if function is None}
        return by | {node: function.name for node, function in self.functions.items()}

    def require_all(self) -> None:
        """Raises ConfigError where a node is neither scored by a metric nor by a function, and None was not given for it."""
        bare = [node for node, by in self.scored_by().items() if not by and node not in self.scorers]
        if bare:
            shown = ", ".join(f"'{node}'" for node in bare)
            raise ConfigError(
                f"graph '{self.graph.name}': nothing scores {shown} (metric: external). Give a function: scorers={{'{bare[0]}': function}}; None in its "
                "place if the node is never scored here and is to be predicted; or name a metric in the graph."
            )
        for node, args in self.judged.items():
            judge_of(node, args, self.judges)

    def readers(self, columns: Collection[str]) -> set[str]:
        """Nodes whose functions name one of these columns as a parameter."""
        return {node for node, function in self.functions.items() if set(columns) & set(function.asks)}

    def score(self, episode: Episode, nodes: Collection[str] | None = None) -> dict[str, float]:
        """The scores of an episode's nodes, each in [0, 1]; every metric and scorer is called once at most.

        Args:
            nodes: those that are wanted; None: all that bear on the episode.

        Raises:
            DataError: a scorer failed, or returned something that is no score.
        """
        (found,), askings = self._scored([episode], [nodes])
        for asking in askings:
            for outcome in asking.outcomes:
                if isinstance(outcome, Raised):
                    raise DataError(f"the scorer of '{asking.function.node}' failed: {outcome}") from outcome.error
                if isinstance(outcome, Unfit):
                    raise DataError(outcome)
        return found

    def score_all(
        self, episodes: Sequence[Episode], wanted: Sequence[Collection[str] | None] | None = None
    ) -> list[NodeScores]:
        """The scores of each episode's nodes. Each function is called once, on the episodes that want its node.

        A function that fails on some episodes is named in a warning, the first time at once; there the score is missing (`NodeScores.failed`).

        Args:
            wanted: per episode the nodes that are wanted; None: all that bear on it.

        Raises:
            DataError: a function that raised on every episode of its first batch, that returned no scores in it, or that asks for a column
                which the rows lack. Where something outside did not answer, such as a judge that is down, scores are only missing.
        """
        found, askings = self._scored(episodes, wanted or [None] * len(episodes))
        for asking in askings:
            self._judge(asking)
        return found

    def _scored(
        self, episodes: Sequence[Episode], wanted: Sequence[Collection[str] | None]
    ) -> tuple[list[NodeScores], list[Asking]]:
        found = [NodeScores() for _ in episodes]
        verdicts = self._ask_judges(episodes, wanted, found)
        rows_of: dict[str, list[int]] = {}
        for row, (episode, nodes) in enumerate(zip(episodes, wanted, strict=True)):
            for node in self._wanted(episode, nodes):
                if node in self.functions:
                    rows_of.setdefault(node, []).append(row)
                elif node not in self.scorers:
                    self._built_in(node, episode, found[row], verdicts.get((row, node), ()))
        tasks = self.graph.spec.tasks
        rows = {
            row: Row(episodes[row], tasks[episodes[row].example.task])
            for row in {r for rs in rows_of.values() for r in rs}
        }
        asked = []
        for node, mine in rows_of.items():
            if self.functions[node].by_item:
                rows_of[node] = [row for row in mine for _ in episodes[row].example.items[node]]
                whole = [(rows[row].episode, item) for row in mine for item in episodes[row].example.items[node]]
                asked.append([Row(episode, tasks[episode.example.task], item) for episode, item in whole])
            else:
                asked.append([rows[row] for row in mine])
        askings = ask([(self.functions[node], mine) for node, mine in zip(rows_of, asked, strict=True)])
        for asking, (node, mine) in zip(askings, rows_of.items(), strict=True):
            by_row: dict[int, list[Any]] = {}
            for row, outcome in zip(mine, asking.outcomes, strict=True):
                by_row.setdefault(row, []).append(outcome)
            for row, outcomes in by_row.items():
                found[row].take(node, outcomes if asking.function.by_item else outcomes[0], episodes[row])
            for n in asking.put:
                found[mine[n]].cost(node, Asked(seconds=asking.seconds / len(asking.put)))
        return found, askings

    def _ask_judges(
        self, episodes: Sequence[Episode], wanted: Sequence[Collection[str] | None], found: Sequence[NodeScores]
    ) -> dict[tuple[int, str], list[Verdict | None]]:
        """(row, node) -> the verdicts of its questions: one, of a rubric one per item; None where nothing may be asked. Each judge is called once."""
        places: dict[str, list[tuple[int, str, int]]] = {}
        questions: dict[str, list[Question]] = {}
        verdicts: dict[tuple[int, str], list[Verdict | None]] = {}
        for row, (episode, nodes) in enumerate(zip(episodes, wanted, strict=True)):
            for node in self._wanted(episode, nodes):
                if node not in self.judged:
                    continue
                name = judge_of(node, self.judged[node], self.judges)
                items: Sequence[Item | None] = episode.example.items[node] if node in self.rubrics else [None]
                verdicts[row, node] = [None] * len(items)
                for number, item in enumerate(items):
                    question = question_about(node, self.judged[node], episode, item)
                    if question is not None:
                        places.setdefault(name, []).append((row, node, number))
                        questions.setdefault(name, []).append(question)
        for name, asked in questions.items():
            for (row, node, number), verdict in zip(
                places[name], verdicts_of(name, self.judges[name], asked), strict=True
            ):
                verdicts[row, node][number] = verdict
                failures = (verdict.failure,) if verdict.failure else ()
                found[row].cost(node, replace(verdict.asked, failures=failures))
                if verdict.rationale and number == 0:
                    found[row].rationales[node] = cut(verdict.rationale, LONGEST_RATIONALE)
        return verdicts

    def _wanted(self, episode: Episode, nodes: Collection[str] | None) -> Iterable[str]:
        task = episode.example.task
        named = dict.fromkeys((task, *self.graph.spec.criteria, *self.scorers))
        return (
            node
            for node in named
            if (nodes is None or node in nodes)
            and (node == task or self.graph.applies(node, task))
            and (node not in self.rubrics or episode.example.items.get(node))
        )

    def _judge(self, asking: Asking) -> None:
        """Stop for an error of the program, say the first failure of a function."""
        function, outcomes = asking.function, [asking.outcomes[n] for n in asking.called]
        raised = [one for one in outcomes if isinstance(one, Raised)]
        unfit = [one for one in outcomes if isinstance(one, Unfit)]
        if not function.proven and unfit:
            raise DataError(unfit[0])
        first = next((n for n in asking.called if isinstance(asking.outcomes[n], Raised | Unfit)), None)
        if first is not None:
            problem, row = asking.outcomes[first], asking.rows[first]
            said = f"{problem}, at {problem.place(function.file)}" if isinstance(problem, Raised) else str(problem)
            said += f" (prompt {_start(row.episode.prompt)}, answer {_start(row.episode.response)})."
            if not function.proven and len(raised) == len(outcomes) and not any(one.is_outage for one in raised):
                raise DataError(
                    f"node '{function.node}': {function} raised on every row of its first batch ({len(raised)}). The first: {said}{function.hint(row)} A "
                    "function that fails on some rows only would be counted there, and the run would go on."
                ) from raised[0].error
            if function.node not in self._warned:
                self._warned.add(function.node)
                warnings.warn(
                    f"node '{function.node}': {function} failed on {len(raised) + len(unfit)} of {len(outcomes)} episodes. The first: {said} Its score is "
                    f"missing there. The share of each update is in the metric nodes/{function.node}/failed; more than reward.max_bad_episodes stops "
                    "the run. This is said once.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        function.proven |= any(not isinstance(one, Raised) for one in outcomes)

    def _built_in(
        self, node: str, episode: Episode, found: NodeScores, verdicts: Sequence[Verdict | None] = ()
    ) -> None:
        """By the metric of a criterion, or the weighted mean of the metrics of a task. Where a judge failed, the node's score is missing."""
        name = episode.example.task
        task = self.graph.spec.tasks[name]
        source = episode.source
        failures = [verdict for verdict in verdicts if verdict is not None and verdict.failure is not None]
        if failures:
            found.failed[node] = f"{failures[0].failure}: {failures[0].detail}"
        if node in self.rubrics:
            scores = tuple(None if verdict is None else verdict.score for verdict in verdicts)
            found.item_scores[node] = scores
            of_items = rubric_score(episode.example.items[node], scores)
            if of_items is not None:
                found[node] = of_items
            return
        if failures:
            return

        def judged(
            metric: str, text: str, args: Mapping[str, Any] | None = None, classifier: LabelModel | None = None
        ) -> float | None:
            if metric == METRIC:
                return next((verdict.score for verdict in verdicts if verdict is not None), None)
            return METRICS[metric](Judged(
                response=episode.response, references=episode.example.references or (), labels=task.label_words, truncated=episode.truncated,
                source=text, args=dict(args or {}), classifier=classifier,
            ))  # fmt: skip

        value: float | None
        if (
            node == name
            and not episode.example.references
            and any(task.metrics.get(metric) for metric in REFERENCE_METRICS)
        ):
            value = None  # what needs no reference is not the task's score
        elif node == name:
            parts = [(judged(metric, source), weight) for metric, weight in task.metrics.items()]
            seen = [(value, weight) for value, weight in parts if value is not None and weight > 0]
            value = sum(value * weight for value, weight in seen) / sum(weight for _, weight in seen) if seen else None
        else:
            criterion = self.graph.spec.criteria[node]
            text = episode.example.text if criterion.metric == "label_preserved" else source
            value = judged(criterion.metric, text, criterion.args, self.classifiers.get(criterion.of or ""))
        if value is not None:
            found[node] = value


def _start(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
