"""A trainer's batch as episodes: prompts, completions and the other columns of the data set, one episode per completion.

An episode's id is UPDATE/EXAMPLE/COPY: the same question in the same update has several answers (TRL's groups). EXAMPLE is the task and the column
`id` (or `example_id`), else a digest of the prompt, so the same prompt is reserved, or not, in every process and every update.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag_graph.data.rubrics import check_columns, items_of, rubrics_of
from rag_graph.errors import DataError, near_miss
from rag_graph.evaluation.functions import SHARED
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import NOT_SHOWN
from rag_graph.records import REFERENCE_METRICS, Episode, Example

REFERENCE = "reference"
"""The column of the reference, where none is named."""
IDS = ("id", "example_id")


class ColumnEpisodes:
    """What makes the episodes of a trainer's batch where `GraphReward` has no `make_episodes`.

    Args:
        reference: the column that holds the reference: a text, a number, a list of them, or None; None: there is none.
        task: the column that names the task of a row; not needed where the graph has one task.
        own: tasks that your own functions score.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        reference: str | None = REFERENCE,
        task: str | None = None,
        own: Collection[str] = (),
    ) -> None:
        self.graph, self.reference, self.task, self.own = graph, reference, task, set(own)

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[Episode]:
        """Raises DataError where the batch lacks the column of the reference or of the task, or names a task that the graph lacks."""
        rows = rows_of(len(prompts), columns)
        known = list(rows[0]) if rows else []
        update = update_of(columns)
        tasks = self._tasks(rows, known)
        references = {name: self._reference_of(name, known) for name in dict.fromkeys(tasks)}
        rubrics = {name: rubrics_of(self.graph, name) for name in references}
        for named in rubrics.values():
            check_columns(known, named, "the batch")
        copies: Counter[str] = Counter()
        episodes = []
        for number, (row, prompt, completion, name) in enumerate(zip(rows, prompts, completions, tasks, strict=True)):
            text = text_of(prompt)
            column = references[name]
            example = Example(
                f"{name}/{_id_of(row, text)}",
                name,
                self._inputs(name, row, text),
                () if column is None else _texts(row[column]),
                items=items_of(row, rubrics[name], f"row {number}"),
            )
            episodes.append(
                Episode(
                    f"{update}/{example.id}/{copies[example.id]}", example, text, answer_of(completion), round=update
                )
            )
            copies[example.id] += 1
        return episodes

    def _tasks(self, rows: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[str]:
        tasks = list(self.graph.spec.tasks)
        if self.task is None:
            if len(tasks) > 1:
                raise DataError(
                    f"graph '{self.graph.name}' has the tasks {', '.join(tasks)}: of which is a row? Name the column that says it: GraphReward(..., "
                    f"task=...). {_columns(known)}"
                )
            return tasks * len(rows)
        if rows and self.task not in known:
            raise DataError(
                f"task='{self.task}': the batch has no such column.{near_miss(self.task, known)} {_columns(known)}"
            )
        for number, row in enumerate(rows):
            named = str(row[self.task])
            if named not in tasks:
                raise DataError(
                    f"row {number}: column '{self.task}' names the task '{named}', which graph '{self.graph.name}' lacks.{near_miss(named, tasks)} Its tasks: "
                    f"{', '.join(tasks)}."
                )
        return [str(row[self.task]) for row in rows]

    def _reference_of(self, name: str, known: Sequence[str]) -> str | None:
        """The column of a task's reference; None: it has none."""
        task = self.graph.spec.tasks[name]
        stated = task.fields.get("reference")
        for column in (self.reference, stated):
            if column is not None and column in known:
                return column
        if self.reference not in (None, REFERENCE):
            assert self.reference is not None
            raise DataError(
                f"reference='{self.reference}': the batch has no such column.{near_miss(self.reference, known)} {_columns(known)}"
            )
        metrics = [metric for metric in task.metrics if metric in REFERENCE_METRICS]
        if metrics and name not in self.own:
            raise DataError(
                f"task '{name}' is scored by {metrics[0]}, which compares with a reference, and the batch has no column '{stated or REFERENCE}'. Say which "
                f"one holds it: GraphReward(..., reference=...). {_columns(known)}"
            )
        return None

    def _inputs(self, name: str, row: Mapping[str, Any], prompt: str) -> dict[str, str]:
        """The fields of the task that the batch has as columns; without any, the prompt."""
        fields = self.graph.spec.tasks[name].fields
        found = {ours: str(row[column]) for ours, column in fields.items() if column in row and ours not in NOT_SHOWN}
        return found or {"input": prompt}


def with_columns(
    episodes: Sequence[Episode],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Any],
    columns: Mapping[str, Any],
) -> list[Episode]:
    """Episodes of a batch with its columns, for functions that ask for them.

    Raises:
        DataError: not one episode per completion.
    """
    if len(episodes) != len(prompts) or not all(isinstance(episode, Episode) for episode in episodes):
        what = next((type(one).__name__ for one in episodes if not isinstance(one, Episode)), "")
        raise DataError(
            f"make_episodes returned {f'a {what}' if what else f'{len(episodes)} episodes'} for {len(prompts)} completions. Return a list with one Episode "
            "per completion, in order."
        )
    for episode in episodes:
        for name, text in (("response", episode.response), ("prompt", episode.prompt)):
            if not isinstance(text, str):
                raise DataError(
                    f"make_episodes: the {name} of episode '{episode.id}' is a {type(text).__name__}, not text. Of chat messages take the text, such as "
                    "completion[0]['content'] and prompt[-1]['content']."
                )
    rows = rows_of(len(prompts), columns)
    once = {name: columns[name] for name in SHARED if name in columns and name not in (rows[0] if rows else ())}
    return [
        replace(
            episode,
            columns={
                **row,
                **once,
                "prompts": prompt,
                "completions": completion,
                "completion_ids": ids,
                **episode.columns,
            },
        )
        for episode, row, prompt, completion, ids in zip(
            episodes, rows, prompts, completions, completion_ids or [None] * len(prompts), strict=True
        )
    ]


def open_reference(scorer: NodeScorer, episode: Episode, known: Collection[str]) -> str:
    """What to say where the goal's function reads a column that nobody called the reference: the other functions see it where the goal is hidden.

    Args:
        episode: of the batch, with its columns.
        known: columns that were called the reference.
    """
    function = scorer.functions.get(episode.example.task)
    asked = [name for name in function.asks if name in episode.columns] if function else []
    if not asked or set(known) & set(episode.columns):
        return ""
    return (
        f"the function of the goal '{episode.example.task}' reads the column '{asked[0]}', and no column is named as the reference. Where the goal is hidden, "
        f"the other functions still see it. Write GraphReward(..., reference='{asked[0]}') if it holds the reference, reference=None if none does."
    )


def rows_of(number: int, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns that have a value per row, row by row. What a trainer passes once per batch is not among them."""
    lists = {name: values.tolist() if hasattr(values, "tolist") else values for name, values in columns.items()}
    lists = {
        name: v for name, v in lists.items() if isinstance(v, Sequence) and not isinstance(v, str) and len(v) == number
    }
    return [{name: values[row] for name, values in lists.items()} for row in range(number)]


def update_of(columns: Mapping[str, Any]) -> int:
    """The update of a batch, from 1; 0 where no trainer says it."""
    step = getattr(columns.get("trainer_state"), "global_step", None)
    return 0 if step is None else int(step) + 1


def text_of(prompt: Any) -> str:
    """A text, or the contents of chat messages."""
    return "\n".join(map(_content, prompt)) if _is_chat(prompt) else str(prompt)


def answer_of(completion: Any) -> str:
    """A text, or the content of the last chat message."""
    return _content(completion[-1]) if _is_chat(completion) else str(completion)


def _is_chat(said: Any) -> bool:
    return isinstance(said, list | tuple) and bool(said) and all(isinstance(message, Mapping) for message in said)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):  # blocks of text and pictures
        return "\n".join(str(block["text"]) for block in content if isinstance(block, Mapping) and "text" in block)
    return "" if content is None else str(content)


def _texts(value: Any) -> tuple[str, ...]:
    value = value.tolist() if hasattr(value, "tolist") else value
    values = value if isinstance(value, list | tuple | set) else [value]
    return tuple(str(one) for one in values if one is not None and one == one and str(one).strip())


def _id_of(row: Mapping[str, Any], prompt: str) -> str:
    for name in IDS:
        if row.get(name) is not None:
            return str(row[name])
    return hashlib.blake2b(json.dumps(prompt).encode(), digest_size=8).hexdigest()


def _columns(known: Sequence[str]) -> str:
    return f"The columns there are: {', '.join(known) or 'none'}."
