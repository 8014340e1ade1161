"""A question to a run's model as an example of one of its tasks, and the answer with all that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag_graph.display import count, cut, html_table, one_line
from rag_graph.errors import ConfigError, near_miss
from rag_graph.evaluation.hidden import HiddenReferences
from rag_graph.graph.spec import NOT_SHOWN, Task
from rag_graph.records import Episode, Evidence, Example, NodeRewards

if TYPE_CHECKING:
    from rag_graph.reward.rubric import ItemPay


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a run's policy, with what led to it and what each node would have been paid.

    probabilities: rank of a piece of evidence -> p(passage | query), where the fusion weighs passages.
    drafted: whether a draft was made.
    """

    episode: Episode
    rewards: NodeRewards
    probabilities: Mapping[int, float]
    drafted: bool
    items: Mapping[str, Sequence[ItemPay]] = field(default_factory=dict)
    """Rubric -> the example's own criteria, with the score of each and its share of what the rubric would have been paid."""

    @property
    def text(self) -> str:
        return self.episode.response

    @property
    def draft(self) -> str:
        return self.episode.draft

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.episode.evidence

    @property
    def scores(self) -> dict[str, float]:
        """Node -> its score in [0, 1], measured or imputed, of the nodes that bear on the task."""
        nodes, scores, weights = self.rewards.nodes, self.rewards.scores[0].tolist(), self.rewards.weights[0].tolist()
        return {
            name: score
            for name, score, weight in zip(nodes, scores, weights, strict=True)
            if weight or name in self.episode.scores
        }

    @property
    def paid(self) -> dict[str, float]:
        """Node -> what it adds to the reward."""
        shares = (self.rewards.values * self.rewards.weights)[0].tolist()
        return {
            name: share + 0.0 for name, share in zip(self.rewards.nodes, shares, strict=True) if name in self.scores
        }

    @property
    def reward(self) -> float | None:
        """None where nothing that pays was observed."""
        total = self.rewards.total()[0].item()
        return total if total == total else None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        evidence = count(len(self.evidence), "piece of evidence", "pieces of evidence")
        return one_line("Answer", repr(cut(self.text, 80)), f"task {self.episode.example.task}", self._paid(), evidence)

    def _repr_html_(self) -> str:
        """The answer, what each node scored and was paid, and the evidence."""
        scores, paid, seen = self.scores, self.paid, self.episode.scores
        rows = [
            (name, f"{scores[name]:.2f}", "yes" if name in seen else "predicted", f"{paid[name]:+.2f}")
            for name in scores
        ]
        notes = [f"draft: {self.draft}"] if self.drafted else []
        notes += [f"evidence {piece.rank}: {piece.context.title}: {piece.context.text}" for piece in self.evidence]
        return html_table(
            f"{self.text or '(empty answer)'}: {self._paid()}", ("node", "score", "observed", "paid"), rows, notes
        )

    def _paid(self) -> str:
        return "no reward" if self.reward is None else f"reward {self.reward:+.2f}"


def asked_example(tasks: Mapping[str, Task], text: str, task: str | None, passage: str | None) -> Example:
    """The example that a question stands for. It has no reference: as where one is hidden, functions that need it observe nothing.

    Args:
        text: the question, or the text of a task that asks none.
        task: default the first that has a question, else the first.
        passage: what the question is about.

    Raises:
        ConfigError: no such task, or a passage for a task that asks no question.
    """
    chosen = task or next((name for name, spec in tasks.items() if "question" in spec.fields), next(iter(tasks)))
    check_task(tasks, chosen)
    fields = [name for name in tasks[chosen].fields if name not in NOT_SHOWN]
    asked = "question" if "question" in fields else fields[0]
    if passage is not None and asked == "input":
        raise ConfigError(f"input: task '{chosen}' asks no question; its text is the argument itself.")
    given = {"input": passage} if passage is not None else {}
    return Example("asked", chosen, dict.fromkeys(fields, "") | given | {asked: text}, HiddenReferences())


def check_task(tasks: Mapping[str, Task], task: str) -> None:
    """Raises ConfigError where the graph has no such task."""
    if task not in tasks:
        raise ConfigError(
            f"task {task}: no such task in this run.{near_miss(task, tasks)} Its tasks: {', '.join(tasks)}."
        )
