"""The records that travel through the system. Read this file first.

Shapes use the legend B episodes, N nodes, E edges, K pieces of evidence. Scores are in [0, 1]. A score that could not be
observed is absent in records and masked in tensors. It is never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rag_graph.display import count, cut, html_table, numbers, one_line

if TYPE_CHECKING:
    from torch import Tensor

METRIC_NAMES = (
    "accuracy",
    "bleu",
    "entity_recall",
    "exact_match",
    "external",
    "faithfulness",
    "format",
    "judge",
    "label_preserved",
    "length_band",
    "macro_f1",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "token_f1",
)
"""Names a graph file may use. A test compares them with `rag_graph.evaluation.metrics.METRICS`. The list is here because the layer that
reads graph files is below the layer that computes metrics."""

REFERENCE_METRICS = frozenset(METRIC_NAMES) - {
    "faithfulness",
    "external",
    "format",
    "judge",
    "label_preserved",
    "length_band",
}
"""Metrics that compare with the reference: hidden together with the goal."""


@dataclass(frozen=True, slots=True)
class Item:
    """One criterion of an example's own rubric: what it says, and its weight; below 0 for what an answer is to avoid."""

    criterion: str
    weight: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One item of one task: what the model sees and what it is judged against."""

    id: str
    task: str
    inputs: Mapping[str, str]
    references: tuple[str, ...] = ()
    supporting: tuple[str, ...] = ()
    """Ids of the passages that contain the answer, as in their file; empty if they are not known."""
    unit: str = ""
    """What it was taken from, such as the id of a passage; empty if the data do not say."""
    items: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)
    """Node of a rubric (a criterion with `items`) -> this example's own criteria; absent where it has none."""

    def __repr__(self) -> str:
        return one_line(
            "Example", repr(self.id), f"{self.task}: {cut(self.text)!r}", count(len(self.references), "reference")
        )

    @property
    def sampling_unit(self) -> str:
        """What was drawn at random: `unit`, else the text. Intervals count examples of one unit, of all tasks, as one draw."""
        return self.unit or self.text

    @property
    def text(self) -> str:
        """The field `input` of the example; without one, all its fields."""
        return self.inputs.get("input") or "\n".join(self.inputs.values())


@dataclass(frozen=True, slots=True)
class ContextNode:
    """A piece of text that can be retrieved. `node` is its context in the graph file."""

    id: str
    node: str
    title: str
    text: str
    source: str = ""
    links: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return one_line("ContextNode", repr(self.id), f"{cut(self.title)!r}: {cut(self.text)!r}")

    @property
    def local_id(self) -> str:
        """The id without the name of the context, as in the file of the passages."""
        return self.id.removeprefix(f"{self.node}/")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A context node retrieved for one episode: its fused score, its rank (from 1), and the reason why it was retrieved."""

    context: ContextNode
    score: float
    rank: int
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    left_out: int = 0
    """Characters at the end of the passage that had no room in the prompt: `context.text` is what was shown."""

    def __repr__(self) -> str:
        return one_line(
            "Evidence", f"{self.rank}. {self.context.id!r}, score {self.score:.3g}", repr(cut(self.context.text))
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What it cost to ask for one score.

    money: in the unit of the prices that are given. seconds: of waiting; of a batch, its share. tokens_in, tokens_out: of a judge; 0 for others.
    cached: it was known already, and cost nothing now. requests: that were sent to a judge; of one that several questions share, a share.
    failures: why there is no score: kinds of `rag_graph.evaluation.judging`, one per question that failed.
    saved: of what was in a cache, the money that it cost when it was asked for.
    """

    money: float = 0.0
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    requests: float = 0.0
    failures: tuple[str, ...] = ()
    saved: float = 0.0

    def __add__(self, other: Asked) -> Asked:
        """What both cost together; cached only where both were."""
        return Asked(
            self.money + other.money,
            self.seconds + other.seconds,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cached and other.cached,
            self.requests + other.requests,
            (*self.failures, *other.failures),
            self.saved + other.saved,
        )


@dataclass(frozen=True, slots=True)
class Episode:
    """One answer of the policy and everything that led to it. `scores` maps a node to a value in [0, 1]; a node that was not
    observed is absent. `error` says what went wrong with this episode; such an episode is recorded, and the run continues."""

    id: str
    example: Example
    prompt: str
    response: str
    draft: str = ""
    evidence: tuple[Evidence, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    truncated: bool = False
    round: int = 0
    error: str = ""
    reserved: Mapping[str, float] = field(default_factory=dict)
    """Scores that were measured but not shown to the reward and the imputer: for audits, and for learning the graph."""
    probability: float = 1.0
    """Inclusion probability: the chance, over the draw of the seed, that the goal score of this episode is known, in `scores` or `reserved`.
    The sum of known goal scores / probability, over the number of episodes, is an unbiased mean (see `rag_graph.reward.observation`)."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The columns of its row by name, for functions that ask for them; among them `prompts` and `completions` as the trainer has them (chat
    messages). Dropped when the episode has been scored and is kept."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Node -> what its function raised. The node's score is missing (of a rubric, the scores of the items on which it raised); the other scores of the
    episode stand."""
    item_scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Node of a rubric -> the score of each of its items in `example.items`, in their order; None where it was not observed."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """Node -> what it cost to ask for its score; absent where nothing is known of it, or nobody was asked."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Node -> the probability, over the draw of the seed, with which its score is asked for in this episode and shown to the reward, where that is below 1
    (`observe`, `reward.goal_observed`, `reward.budget`). That of knowing the goal at all is `probability`."""
    prompt_cut: bool = False
    """The prompt was longer than the policy may read: evidence, or the middle of the input, was left out."""
    rationales: Mapping[str, str] = field(default_factory=dict)
    """Node -> what its judge wrote to the mark (of a rubric, to the first item), without control characters, at most 300 characters."""

    def __repr__(self) -> str:
        evidence = count(len(self.evidence), "piece of evidence", "pieces of evidence")
        about = (
            repr(self.id),
            f"{self.example.task}: {cut(self.response)!r}",
            evidence,
            f"scores {numbers(self.scores)}",
        )
        return one_line("Episode", *about, self.error and f"error: {self.error}")

    @property
    def source(self) -> str:
        """The text of the example and the evidence: the sources of a faithful response."""
        return "\n".join([self.example.text, *(piece.context.text for piece in self.evidence)])

    def with_scores(self, scores: Mapping[str, float]) -> Episode:
        return replace(self, scores=dict(scores))


@dataclass(frozen=True, slots=True, eq=False)
class NodeRewards:
    """The reward of each node in each episode.

    values: [B, N] what node i contributes before its weight (gated, normalised; see `rag_graph.reward.formulas`).
    observed: [B, N] bool, True where the node's score was measured in this episode.
    weights: [B, N] credit; 0 if the node does not apply to the task of the episode.
    scores: [B, N] the score in [0, 1] that was used: the observed one, or else the imputed one.
    gates: [B, N] in [0, 1], the factor of the score; 1 without prerequisites.
    """

    nodes: tuple[str, ...]
    values: Tensor
    observed: Tensor
    weights: Tensor
    scores: Tensor
    gates: Tensor
    paid: Tensor
    """[B] bool: False if the episode gives no reward, because nothing that it needs was observed."""

    def __repr__(self) -> str:
        rows, nodes = self.values.shape
        totals = ", ".join(f"{total:.2f}" for total in self.total()[:6].tolist())
        return one_line(
            "NodeRewards", count(rows, "episode"), count(nodes, "node"), f"totals {totals}{', …' if rows > 6 else ''}"
        )

    def _repr_html_(self) -> str:
        """Of each node that bears on an episode: where it was observed, its mean score, and what it adds to the reward in the mean."""
        on = self.weights != 0
        used = (on | self.observed).any(0).nonzero().squeeze(-1).tolist()
        seen, size = self.observed.sum(0).tolist(), len(self.values)
        shares = (self.values * self.weights).mean(0).tolist()
        means = self.scores.mean(0).tolist()
        rows = [(self.nodes[n], f"{seen[n]} of {size}", f"{means[n]:.2f}", f"{shares[n]:+.2f}") for n in used]
        return html_table(repr(self), ("node", "observed", "mean score", "paid in the mean"), rows)

    def total(self) -> Tensor:
        """[B] the scalar reward of each episode; NaN if `paid` is False."""
        total = (self.values * self.weights).sum(-1)
        return total.masked_fill(~self.paid, float("nan"))


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Mean of one metric on one task, with a 95% interval over `n` examples (`evaluation.example_intervals`)."""

    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    config_hash: str = ""
