"""Your own functions as scorers of nodes. Each is called once per batch of episodes.

| kind | told by | called with | returns |
|---|---|---|---|
| batch, TRL's signature | a parameter `completions`, `prompts` or `completion_ids`, or none but `**columns` | lists: prompts, completions, every column, by name | a list |
| episode | one positional parameter | an `Episode` | a number |

A function of a rubric (a criterion with `items`) is called per item where it names a parameter `item`: a batch function gets a row for each item,
with the columns `item` (its text) and `item_weight`; one of an episode gets `(episode, item)`, an `Item`. Without that parameter it is called as any
other, and returns for each answer a list of one score per item, or one number for the whole. Rows without items are left out.

A score is a number in [0, 1], or None where there is nothing to observe. Both kinds may be coroutines; all of a batch run at the same time.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import CodeType
from typing import Any

from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.calls import Raised, call_all
from rag_graph.evaluation.hidden import Hidden, HiddenReferences, used_hidden
from rag_graph.evaluation.rubric import asked_about, of_items
from rag_graph.graph.spec import Task
from rag_graph.records import Episode, Item

Scorer = Callable[..., Any]
"""A researcher's own score of a node: in TRL's signature, or of one episode. See the table above."""

SHARED = ("trainer_state", "log_metric")
"""What a trainer passes once per batch, not once per row."""
BATCH = ("completions", "prompts", "completion_ids")
"""Parameters that a function in TRL's signature has, one of them at least."""
GIVEN = (*BATCH, *SHARED)
"""Parameters that are no columns of the data."""
ROUNDING = 1e-6
"""So far outside [0, 1] a score is rounded into it."""
HOW = "Write `def {name}(completions, **columns)`, which takes lists and returns a list (TRL's signature), or `def {name}(episode)`, which returns a number."


class OwnFunction:
    """A function and the node that it scores.

    Args:
        rubric: the node is a rubric.

    Raises:
        ConfigError: it cannot be called in one of the two ways.
    """

    def __init__(self, node: str, function: Any, rubric: bool = False) -> None:
        self.rubric = rubric
        self.node, self.function, self.name = node, function, name_of(function)
        self.needs_reference = False
        """It raised on a hidden reference before: it is not called for such rows again."""
        self.proven = False
        """It has scored a batch before: what it raises from now on concerns some rows, not the program."""
        if not callable(function):
            shown = type(function).__name__
            if hasattr(function, "score_all"):
                raise ConfigError(
                    f"scorers['{node}'] is a {shown}, which scores all nodes. Give it alone: GraphReward(graph, scorer)."
                )
            raise ConfigError(f"scorers['{node}'] is a {shown}, not a function. {HOW.format(name='score')}")
        parameters = _parameters(function)
        kinds = inspect.Parameter
        named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
        positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
        self.takes_all = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
        starred = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
        by_name = any(p.name in BATCH for p in named)
        self.is_batch = by_name or (self.takes_all and not positional and not starred)
        self.asks = [p.name for p in named if p.name not in GIVEN] if self.is_batch else []
        """Columns that it names."""
        self.wants = [p.name for p in named]
        self.required = [p.name for p in named if p.default is p.empty]
        must = [p.name for p in (*positional, *named) if p.default is p.empty]
        self.by_item = rubric and ("item" in self.wants if self.is_batch else len(dict.fromkeys(must)) == 2)
        """It is called once for each item of an answer."""
        if not self.is_batch and (len(set(must)) > 1 + self.by_item or not (positional or starred)):
            name = self.name if self.name.isidentifier() else "score"
            raise ConfigError(
                f"scorers['{node}']: {self.name}({', '.join(p.name for p in parameters)}) is neither in TRL's signature nor a function of one episode. "
                + HOW.format(name=name)
            )

    @property
    def file(self) -> str:
        """The file that the function is written in; empty if that is not known."""
        code = _code(self.function)
        return "" if code is None else str(code.co_filename)

    def __str__(self) -> str:
        """NAME (FILE:LINE)."""
        code = _code(self.function)
        return (
            self.name if code is None else f"{self.name} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"
        )

    def hint(self, row: Row) -> str:
        """What is often the reason where a function fails on every row."""
        if self.by_item and not self.is_batch:
            return " It gets an Episode and an Item: the answer is episode.response, the text of the item is item.criterion."
        if not self.is_batch:
            return " A function of one episode gets an Episode: its answer is episode.response, its columns are in episode.columns."
        if isinstance(row.columns["completions"], str):
            return " The completions are texts here."
        return " The completions are chat messages here, as the trainer has them: the text is completion[0]['content']."

    # ------------------------------------------------------------------ calling

    def is_closed(self, row: Row) -> bool:
        """True where the row's reference is hidden and the function is known to need it."""
        return row.is_hidden and (
            self.needs_reference or any(isinstance(row.columns.get(name), Hidden) for name in self.asks)
        )

    def call(self, rows: Sequence[Row]) -> Callable[[], Any]:
        """The call for these rows; of one episode: for the only row.

        Raises:
            DataError: it asks for a column that the rows lack.
        """
        if not self.is_batch:
            (row,) = rows
            return partial(self.function, row.episode, *([row.item] if self.by_item else []))
        columns = columns_of(rows)
        lacking = [name for name in self.required if name not in columns]
        if lacking:
            known = [name for name in columns if name not in GIVEN]
            raise DataError(
                f"node '{self.node}': {self} asks for '{lacking[0]}', and the rows have no such column.{near_miss(lacking[0], known)} "
                f"Their columns: {', '.join(known) or 'none'}. Rename the parameter or the column, or give it a default."
            )
        return partial(self.function, **{k: v for k, v in columns.items() if self.takes_all or k in self.wants})

    def values(self, value: Any, rows: Sequence[Row]) -> list[Any]:
        """What a call for these rows returned -> per row a number, None or `Unfit`; of a rubric also a tuple, one score per item.

        Raises:
            DataError: a batch function returned no list, or another number of values than there are rows.
        """
        if not self.is_batch:
            return [self._one(value, rows[0])]
        number = len(rows)
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, str | Mapping) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
            raise DataError(
                f"node '{self.node}': {self} returned {value!r:.80} for {number} completions. A function with a parameter `completions` returns a "
                "list with one value per completion. If it scores one answer, give it one parameter, `episode`."
            )
        if len(value) != number:
            raise DataError(
                f"node '{self.node}': {self} returned {len(value)} values for {number} completions. Return one value per completion, None where "
                "there is nothing to observe."
            )
        return [self._one(one, row) for one, row in zip(value, rows, strict=True)]

    def _one(self, value: Any, row: Row) -> Any:
        value = value.tolist() if hasattr(value, "tolist") else value
        if not self.rubric or self.by_item or not isinstance(value, list | tuple):
            return score_of(value, self)
        try:
            example = row.episode.example
            return of_items(value, example.items.get(self.node, ()), self.node, f"example '{example.id}'")
        except DataError as error:
            return Unfit(error)


class Row:
    """An episode and the columns that functions get of it; with an item, as a function is asked about that one."""

    def __init__(self, episode: Episode, task: Task, item: Item | None = None) -> None:
        self.item = item
        episode = episode if item is None else asked_about(episode, item)
        if "reference" in task.fields and not episode.example.references:  # the data have none
            episode = replace(episode, example=replace(episode.example, references=HiddenReferences()))
        self.episode = episode
        self.is_hidden = isinstance(episode.example.references, HiddenReferences)
        """Its reference is hidden by design, or the data have none."""
        example, references = episode.example, episode.example.references
        reference: Any = references[0] if len(references) == 1 else (list(references) if references else None)
        made: dict[str, Any] = {**example.inputs, "reference": Hidden() if self.is_hidden else reference}
        fields = task.fields
        made |= {column: made[ours] for ours, column in fields.items() if ours in made}
        self.columns = {"prompts": episode.prompt, "completions": episode.response, **made, **episode.columns}


def columns_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The keyword arguments of a batch function: lists in the order of the rows, None where a row has no such column."""
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    whole = [name for name in names if name != "completion_ids" or all(name in row.columns for row in rows)]
    return {
        name: rows[0].columns.get(name) if name in SHARED else [row.columns.get(name) for row in rows] for name in whole
    }


class Unfit(str):
    """Why what a function returned is no score."""


def score_of(value: Any, function: OwnFunction) -> float | Unfit | None:
    """A number in [0, 1], None, or why it is neither."""
    if value is None:
        return None
    where = f"node '{function.node}': {function} returned {value!r:.80}"
    if isinstance(value, str):
        return Unfit(f"{where}, a text. Return a number from 0 to 1, or None where there is nothing to observe.")
    try:
        score = float(value)
    except (TypeError, ValueError, RuntimeError):
        about = "" if function.is_batch else " If it takes a batch, name its parameter `completions`."
        return Unfit(f"{where}. A score is a number from 0 to 1, or None where there is nothing to observe.{about}")
    if -ROUNDING <= score <= 1 + ROUNDING:
        return min(1.0, max(0.0, score))
    if score != score:
        return Unfit(f"{where}, which is no number. Return None where there is nothing to observe.")
    return Unfit(
        f"{where}. Scores are in [0, 1]. If it runs from a to b, return (value - a) / (b - a); if it has no bounds, squash it, as in 1 / (1 + exp(-value))."
    )


class Asking:
    """One function and the rows of a batch that it is to score.

    A row whose reference is hidden, or missing in the data, counts as not observed (None) for a function that names the column of the reference, and for one that fails
    because of it. A batch function that raises for another reason is called again row by row, so that it loses only the rows on which it raises;
    not where something outside did not answer.
    """

    def __init__(self, function: OwnFunction, rows: Sequence[Row]) -> None:
        self.function, self.rows = function, rows
        self.outcomes: list[Any] = [None] * len(rows)
        """Per row a number in [0, 1], None, `Raised` or `Unfit`; of a rubric also a tuple of numbers and None."""
        self.called = [n for n, row in enumerate(rows) if not function.is_closed(row)]
        self.groups = [self.called] if function.is_batch and self.called else [[n] for n in self.called]
        """The calls that are to be made next."""
        self.put = list(self.called)
        """Rows that the function was called for."""
        self.seconds = 0.0
        """Of waiting for the function, all calls together."""

    def take(self, group: Sequence[int], value: Any) -> None:
        """What the call of a group returned."""
        if not isinstance(value, Raised):
            for n, outcome in zip(group, self.function.values(value, [self.rows[n] for n in group]), strict=True):
                self.outcomes[n] = outcome
            return
        shown = [n for n in group if not self.rows[n].is_hidden]
        because = len(shown) < len(group) and used_hidden(value.error)
        if because or (len(shown) < len(group) and shown and not value.is_outage):
            self.function.needs_reference |= because
            self.called = [n for n in self.called if n in shown or n not in group]
            self.groups += [shown] if shown else []
        elif len(group) > 1 and not value.is_outage:
            self.groups += [[n] for n in group]
        else:
            for n in group:
                self.outcomes[n] = value


def ask(asked: Sequence[tuple[OwnFunction, Sequence[Row]]]) -> list[Asking]:
    """Call every function on its rows: a batch function once, one of an episode once per row; coroutines of all functions at the same time.

    Raises:
        DataError: see `OwnFunction.call` and `OwnFunction.values`.
    """
    askings = [Asking(function, rows) for function, rows in asked]
    while any(one.groups for one in askings):
        groups = [(one, group) for one in askings for group in one.groups]
        clocks = [_Clock(one.function.call([one.rows[n] for n in group])) for one, group in groups]
        found = call_all(clocks)
        for one in askings:
            one.groups = []
            one.seconds += _waited([clock for clock, (mine, _) in zip(clocks, groups, strict=True) if mine is one])
        for (one, group), value in zip(groups, found, strict=True):
            one.take(group, value)
    return askings


class _Clock:
    """A call, and the seconds that it took; of a coroutine when it began and ended."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.seconds = call, 0.0
        self.span: tuple[float, float] | None = None

    def __call__(self) -> Any:
        began = time.perf_counter()
        try:
            value = self.call()
        finally:
            self.seconds = time.perf_counter() - began
        return self._awaited(value) if inspect.isawaitable(value) else value

    async def _awaited(self, value: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        try:
            return await value
        finally:
            self.span = began, time.perf_counter()


def _waited(clocks: Sequence[_Clock]) -> float:
    """Seconds of waiting for all of them: coroutines run at the same time, so from the first that began to the last that ended."""
    spans = [clock.span for clock in clocks if clock.span is not None]
    together = max(end for _, end in spans) - min(begin for begin, _ in spans) if spans else 0.0
    return sum(clock.seconds for clock in clocks) + together


def name_of(function: Any) -> str:
    plain = _plain(function)
    return str(getattr(plain, "__name__", type(plain).__name__))


def _plain(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _code(function: Any) -> CodeType | None:
    plain = inspect.unwrap(_plain(function))
    if not hasattr(plain, "__code__") and not hasattr(plain, "__func__") and callable(plain):
        plain = type(plain).__call__
    code = getattr(plain, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins do not say
        return [inspect.Parameter("episode", inspect.Parameter.POSITIONAL_ONLY)]
