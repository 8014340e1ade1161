"""The content of a graph-definition file, format 1: pydantic models for the reader and the JSON Schema.

Only the structure. Checks that need the whole file (names that must exist, cycles) are in `rag_graph.graph.checks`.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rag_graph.display import settings_line
from rag_graph.errors import check_no_secret
from rag_graph.records import METRIC_NAMES, REFERENCE_METRICS

FORMAT = 1
Semantics = Literal[
    "bound", "indication", "counterindication", "gate", "credit", "penalty", "aggregate", "message", "evidence"
]
Role = Literal["fact", "rule", "neither"]
ROLES: dict[Semantics, Role] = {
    "bound": "fact",
    "indication": "fact",
    "counterindication": "fact",
    "gate": "rule",
    "credit": "rule",
    "penalty": "rule",
    "aggregate": "rule",
    "message": "neither",
    "evidence": "neither",
}
"""What a relation with these semantics is. A fact says how scores bear on each other: it helps to predict scores that were not observed
and never changes what is wanted. A rule says what is wanted: it changes what an answer is worth."""
NodeKind = Literal["task", "criterion", "context"]
BLOCK_OF: dict[NodeKind, str] = {"task": "tasks", "criterion": "criteria", "context": "contexts"}
"""The block of a graph file that holds the nodes of a kind."""
MetricName = Literal[METRIC_NAMES]  # type: ignore[valid-type]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False, strict=True)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def __repr__(self) -> str:
        return settings_line(type(self).__name__, self.model_dump(exclude_defaults=True))

    __str__ = __repr__

    @field_validator("*", mode="before")
    @classmethod
    def _no_control_characters(cls, value: Any) -> Any:
        """Terminals and pictures would obey them."""
        found = _control_character(value)
        if found is not None:
            raise ValueError(f"a control character, U+{ord(found):04X}. Leave it out")
        return value


def _control_character(value: Any) -> str | None:
    """The first one in a text or in the texts of a list or a map; line breaks and tabs are none. Lone surrogates are: no file can hold them."""
    if isinstance(value, str):
        return next((c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r"), None)
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    texts = (part for part in parts if isinstance(part, str))  # models within models look after their own
    return next((found for text in texts if (found := _control_character(text)) is not None), None)


class Relation(Part):
    """A relation type and its meaning."""

    title: str = ""
    semantics: Semantics = Field(
        description="facts, which help to predict scores that were not observed: bound, indication, counterindication; "
        "rules, which change what an answer is worth: gate, credit, penalty, aggregate; neither: message, evidence"
    )
    source: tuple[NodeKind, ...] = Field(
        ("task", "criterion"), min_length=1, description="kinds of node an edge may start from"
    )
    target: tuple[NodeKind, ...] = Field(
        ("task", "criterion"), min_length=1, description="kinds of node an edge may end at"
    )

    @property
    def role(self) -> Role:
        """fact, rule or neither: it follows from the semantics, also for relation types of a file."""
        return ROLES[self.semantics]


class Dataset(Part):
    """Where a task's examples come from: exactly one of path, hub, name."""

    path: str | None = Field(
        None,
        min_length=1,
        description="jsonl, csv, tsv (these also .gz), parquet, or a folder of BEIR; relative to this file or to $RAG_GRAPH_DATA",
    )
    test: str | None = Field(
        None, description="the held-out part: a second file, or a split of the hub data set; default there: test"
    )
    hub: str | None = Field(
        None,
        description="a Hugging Face data set, or a folder that datasets reads: files of it, or what save_to_disk wrote",
    )
    config: str | None = Field(None, description="configuration of the hub data set")
    split: str = Field(
        "train", description="training split of the hub data set; also a part of one, such as train[10%:]"
    )
    revision: str | None = Field(None, description="commit or tag of the hub data set")
    name: Literal["parcels"] | None = Field(None, description="a data set that the package generates: parcels")

    @field_validator("path", "test", "hub", "config", "split", "revision")
    @classmethod
    def _no_secrets(cls, value: str | None) -> str | None:
        if value is not None:
            check_no_secret(value)
        return value


NOT_SHOWN = frozenset({"reference", "supporting", "demonstration", "unit"})
"""Fields that no prompt shows."""


class Task(Part):
    """A task: its weight in the goal; for a run also its examples, its prompt and how its answers are scored (`rag_graph.graph.needs`)."""

    title: str = ""
    kind: Literal["classification", "generation", "extraction"] | None = Field(
        None, description="what an answer is; a run needs it, a graph that is only a reward does not"
    )
    labels: tuple[str, ...] | dict[str, str] = Field(
        (),
        description="for classification: the labels, or a map from the data set's value to the word the model writes",
    )
    goal: Weight = Field(0.0, description="weight in the goal; 0 makes the task auxiliary")
    dataset: Dataset | None = None
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="our name -> column of the data set (a dot leads into nested values: answers.text); 'reference' is the correct answer, 'supporting' the ids of the passages that contain it, 'demonstration' a weaker answer for the warm-up (sft.weak), 'unit' what the example was taken from, such as a passage's id, because intervals count examples of one unit as one draw; the prompt can show every other field",
    )
    metrics: dict[MetricName, Weight] = Field(
        default_factory=dict,
        description="metric -> weight; the node's score is their weighted mean; without metrics your own function or a table scores the task",
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="of metric judge: what is asked, as in {question: ..., scale: [1, 5]}"
    )
    cost: Weight = Field(0.0, description="price of one score, in any unit of money; 0 is free")
    observe: Share | None = Field(
        None, description="share of episodes on which the goal is observed; default: the run's reward.goal_observed"
    )
    prompt: str | None = Field(
        None, description="text with {context}, {labels} and any field; {{name}} is the text {name}; a run needs it"
    )

    @property
    def label_words(self) -> tuple[str, ...]:
        return tuple(self.labels.values()) if isinstance(self.labels, dict) else self.labels


class Criterion(Part):
    """A property of a response that is not a task itself."""

    title: str = ""
    metric: MetricName = Field("external", description="external: your own function or a table scores it")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the metric, such as {most: 12}")
    items: str | None = Field(
        None,
        min_length=1,
        description="makes the criterion a rubric: the column of the data that holds each example's own criteria, a list of {criterion, weight}; "
        "its score is the weighted mean of the scores of these items",
    )
    cost: Weight = Field(0.0, description="price of one score, in any unit of money; 0 is free")
    observe: Share = Field(1.0, description="share of episodes on which the score is asked for")
    of: str | None = Field(None, description="the task whose labels 'label_preserved' keeps")
    applies_to: tuple[str, ...] = Field((), description="tasks whose responses have this property; empty means all")

    @property
    def reads_reference(self) -> bool:
        """True where its score gives a hidden reference away: the metric compares with it, or the judge sees it."""
        return self.metric in REFERENCE_METRICS or (self.metric == "judge" and self.args.get("reference") is True)


class Context(Part):
    """Text that can be retrieved."""

    title: str = ""
    kind: Literal["guideline", "exemplars", "passages"]
    text: str | None = Field(None, description="guideline: the text")
    of: str | None = Field(
        None,
        description="exemplars: the task whose training examples are shown; passages: the task whose data set contains them",
    )
    file: str | None = Field(
        None,
        description="passages: a file of {id, title, text, links}, or a folder of BEIR; relative to this file or to $RAG_GRAPH_DATA",
    )
    limit: int | None = Field(None, ge=1, description="exemplars: use only so many training examples")


class Edge(Part):
    """One directed, typed, weighted relation."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    relation: str
    strength: float = Field(0.5, ge=0, le=1, allow_inf_nan=False, strict=True)
    tuned: bool = Field(True, description="false freezes the strength")


class GraphSpec(Part):
    """A graph-definition file."""

    format: Literal[1] = Field(description="version of this format")
    name: Identifier
    title: str = ""
    include: tuple[str, ...] = Field(
        (), description="files that are merged into this one; an entry in two files is an error"
    )
    relations: dict[Identifier, Relation] = Field(
        default_factory=dict, description="relation types beyond the built-in ones"
    )
    tasks: dict[Identifier, Task] = Field(default_factory=dict)
    criteria: dict[Identifier, Criterion] = Field(default_factory=dict)
    contexts: dict[Identifier, Context] = Field(default_factory=dict)
    edges: tuple[Edge, ...] = ()

    def relation_types(self) -> dict[str, Relation]:
        """Built-in relation types, then those of the file. The index of a relation is its position in this order."""
        return {**BUILT_IN_RELATIONS, **self.relations}

    def node_kinds(self) -> dict[str, NodeKind]:
        """Every node in file order: tasks, criteria, contexts."""
        kinds: dict[str, NodeKind] = dict.fromkeys(self.tasks, "task")
        kinds.update(dict.fromkeys(self.criteria, "criterion"))
        kinds.update(dict.fromkeys(self.contexts, "context"))
        return kinds


BUILT_IN_RELATIONS: dict[str, Relation] = {
    "bounds": Relation(title="the target cannot be high where the source is low", semantics="bound"),
    "indicates": Relation(title="the target tends to be high where the source is high", semantics="indication"),
    "indicates_low": Relation(
        title="the target tends to be low where the source is high", semantics="counterindication"
    ),
    "prerequisite": Relation(title="the target is paid only as far as the source is satisfied", semantics="gate"),
    "supports": Relation(title="the source is paid on top of the target", semantics="credit"),
    "conflicts": Relation(title="the source is charged against the target", semantics="penalty"),
    "part_of": Relation(title="the source is a component of what the target is worth", semantics="aggregate"),
    "shares_structure": Relation(
        title="the two are similar; messages only, it never pays by itself", semantics="message"
    ),
    "grounds": Relation(
        title="the context is evidence for the task", semantics="evidence", source=("context",), target=("task",)
    ),
}
"""Facts, then rules, then neither."""


def relative_paths(spec: GraphSpec) -> list[str]:
    """Every file that a specification names: data sets and passages."""
    stated = [
        path for task in spec.tasks.values() if task.dataset for path in (task.dataset.path, task.dataset.test) if path
    ]
    return stated + [context.file for context in spec.contexts.values() if context.file]
