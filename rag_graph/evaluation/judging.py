"""What a judge is: it is asked questions about answers, and gives verdicts. The judges themselves are in `rag_graph.judges`.

A node asks a judge where its metric is `judge`. Its arguments say what is asked:

| argument | meaning | default |
|---|---|---|
| `question` | what is asked about an answer, in words | of a rubric each item; needed elsewhere |
| `scale` | [lowest, highest] mark; it becomes [0, 1] | [1, 5] |
| `reference` | true: the judge sees the reference, and is not asked where that is hidden | false |
| `judge` | the judge's name among the run's `judges` | the only one |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.hidden import HiddenReferences
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Asked, Episode, Item

METRIC = "judge"
"""The metric of a node that a judge scores."""
FailureKind = Literal[
    "unreachable",
    "timeout",
    "rate_limit",
    "server_error",
    "rejected",
    "unreadable",
    "out_of_scale",
    "empty",
    "refusal",
    "too_long",
]
"""Why a judge gave no mark. `rejected`: the endpoint does not take the request (another 4xx): a wrong key or model, a prompt too long.
`unreadable`: half a body, text without a mark, or a local model that computes NaN. `too_long`: more tokens than a local model reads."""
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one answer.

    node: that asks. text: the question in words. low, high: the lowest and the highest mark. reference: what the judge may see of it; None: nothing.
    item: of a rubric, the item that is asked about; its criterion is the text. scaled: the file states the scale; else it is the default.
    """

    node: str
    text: str
    low: float
    high: float
    episode: Episode
    reference: str | None = None
    item: Item | None = None
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said: a score in [0, 1] (the mark's place in the scale), or why there is none. Never 0 because of a failure."""

    score: float | None
    asked: Asked = field(default_factory=Asked)
    failure: FailureKind | None = None
    detail: str = ""
    """Of a failure: what happened, without control characters."""
    rationale: str = ""
    """What the judge wrote, without control characters; at most 2,000 characters."""


class Judge(Protocol):
    """Asked about many answers at once."""

    name: str

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in their order. What goes wrong outside is a verdict with `failure`, not an exception."""

    def show(self, question: Question) -> str:
        """What would be sent for a question: for `--dry-run`."""


def judged_nodes(graph: AuxiliaryGraph) -> dict[str, Mapping[str, Any]]:
    """Node that asks a judge -> its arguments."""
    tasks = {name: task.args for name, task in graph.spec.tasks.items() if task.metrics.get(METRIC, 0) > 0}
    return tasks | {name: one.args for name, one in graph.spec.criteria.items() if one.metric == METRIC}


def judge_of(node: str, args: Mapping[str, Any], judges: Mapping[str, Judge]) -> str:
    """The name of the judge that a node asks.

    Raises:
        ConfigError: there is none, or several and the node names none of them.
    """
    named = args.get("judge")
    if not judges:
        raise ConfigError(
            f"node '{node}' asks a judge (metric: judge), and there is none. Name one in the config under `judges`, or give judges={{'NAME': judge}}."
        )
    if named is None and len(judges) == 1:
        return next(iter(judges))
    if not isinstance(named, str) or named not in judges:
        what = (
            "names no judge"
            if named is None
            else f"asks judge '{named}', which the run lacks{near_miss(str(named), judges)}"
        )
        raise ConfigError(f"node '{node}' {what}. Write args: {{judge: NAME}}, one of {', '.join(judges)}.")
    return named


def verdicts_of(name: str, judge: Judge, questions: Sequence[Question]) -> list[Verdict]:
    """What a judge, maybe one of yours, says to questions. A score that is none, such as 7 or NaN, is the failure `out_of_scale`.

    Raises:
        DataError: it does not give one verdict per question.
    """
    found = list(judge.judge(questions))
    if len(found) != len(questions):
        raise DataError(
            f"judge '{name}' was asked {len(questions)} questions and gave {len(found)} verdicts. Its method judge returns one Verdict per question, in their order; "
            "where it has no mark, Verdict(None, failure=KIND)."
        )
    return [
        one
        if one.score is None or 0 <= one.score <= 1
        else replace(one, score=None, failure="out_of_scale", detail=f"the score {one.score} is not in [0, 1]")
        for one in found
    ]


def question_about(node: str, args: Mapping[str, Any], episode: Episode, item: Item | None = None) -> Question | None:
    """What a node asks about an answer; None where it may not be asked: it needs the reference, and there is none to see."""
    low, high = args.get("scale", (1, 5))
    reference = None
    if args.get("reference"):
        references = episode.example.references
        if isinstance(references, HiddenReferences) or not references:
            return None
        reference = references[0]
    text = item.criterion if item is not None else str(args.get("question", ""))
    return Question(node, text, float(low), float(high), episode, reference, item, "scale" in args)
