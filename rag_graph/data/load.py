"""The data of a run: examples of every task, weak demonstrations if a data set has them, context nodes of both splits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from rag_graph.config import DataConfig
from rag_graph.data.files import Rows, find_file, read_rows, read_table
from rag_graph.data.held_out import Pair, divide
from rag_graph.data.parcels import archive, make_parcels
from rag_graph.data.passages import read_passages
from rag_graph.data.prompts import render_prompt
from rag_graph.data.reserved import is_reserved
from rag_graph.data.rubrics import check_columns, items_of, rubrics_of
from rag_graph.errors import DataError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import NOT_SHOWN, Task
from rag_graph.records import ContextNode, Example

OPTIONAL = NOT_SHOWN - {"reference", "unit"}
"""Fields that only training rows must have."""
MADE_SIZES = {"train": 2000, "test": 200}
"""Number of passages of a generated data set, if the config has none."""
_QUESTION_SHARE = {"origin": 0.5, "color": 0.25, "days": 0.125, "buyer": 0.125}


@dataclass(frozen=True, slots=True)
class RunData:
    """
    train, test: examples, tasks interleaved.
    groups: training examples that share their input, for the supervised warm-up, each with its weak answer (or None); no reserved ones.
    contexts: split -> context nodes; no exemplar shows the reference of a reserved example.
    hashes: task/split -> hash of the examples used; contexts/split, demonstrations.
    """

    train: list[Example]
    test: list[Example]
    groups: list[list[Pair]]
    contexts: dict[str, list[ContextNode]]
    hashes: dict[str, str] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    """Ids of the training examples whose references only audits see (`rag_graph.data.reserved`)."""

    @property
    def shown(self) -> list[Example]:
        """The training examples whose references may be seen."""
        return [example for example in self.train if example.id not in self.reserved]


def load_data(
    graph: AuxiliaryGraph,
    config: DataConfig,
    seed: int,
    splits: Sequence[str] = ("train", "test"),
    reserved: float = 0.0,
) -> RunData:
    """Load every task's examples.

    Args:
        reserved: share of the training examples of goal tasks whose references only audits see (`RewardConfig.reserved`).

    Raises:
        DataError: a task without data, a bad row (with its line), an empty data set.
    """
    examples: dict[str, list[list[Example]]] = {"train": [], "test": []}
    groups: list[list[Pair]] = []
    hashes: dict[str, str] = {}
    made = [name for name, task in graph.spec.tasks.items() if task.dataset and task.dataset.name]
    lacking = {
        name: task
        for name, task in graph.spec.tasks.items()
        if config.test_share and task.dataset and task.dataset.name is None and task.dataset.test is None
    }
    divided = divide(
        {name: _from_rows(graph, name, task, "train") for name, task in lacking.items()}, config.test_share
    )
    for split in splits:
        limit = getattr(config, split)
        if made:
            by_task, packed = _parcels(made, split, limit or MADE_SIZES[split], seed)
            examples[split] += by_task
            groups += packed if split == "train" else []
        for name, task in graph.spec.tasks.items():
            if name in made:
                continue
            pairs = divided[name][split] if name in divided else _from_rows(graph, name, task, split)
            loaded = _drawn(pairs, name, split, limit, seed)
            examples[split].append([example for example, _ in loaded])
            groups += [[pair] for pair in loaded] if split == "train" else []
        for part in examples[split]:
            hashes[f"{part[0].task}/{split}"] = _hash(part)
    groups = [[pair for pair in group if not is_reserved(pair[0], graph, reserved, seed)] for group in groups]
    groups = [group for group in groups if group]
    if any(weak is not None for group in groups for _, weak in group):
        hashes["demonstrations"] = _digest([(example.id, weak) for group in groups for example, weak in group])
    train, test = (_interleave(examples[split]) for split in ("train", "test"))
    hidden = frozenset(example.id for example in train if is_reserved(example, graph, reserved, seed))
    shown = [example for example in train if example.id not in hidden]
    contexts = {split: load_contexts(graph, split, shown) for split in splits}
    for split, nodes in contexts.items():
        if nodes:
            hashes[f"contexts/{split}"] = _digest(list(map(astuple, nodes)))
    return RunData(train, test, groups, contexts, hashes, hidden)


def _parcels(
    tasks: Sequence[str], split: str, passages: int, seed: int
) -> tuple[list[list[Example]], list[list[Pair]]]:
    rng = random.Random(f"parcels/questions/{split}/{seed}")
    by_task: dict[str, list[Example]] = {name: [] for name in tasks}
    groups: list[list[Pair]] = []
    demonstrations = list(make_parcels(split, passages, seed))
    per_passage = len(demonstrations) // passages
    for start in range(0, len(demonstrations), per_passage):
        passage = [d for d in demonstrations[start : start + per_passage] if d.example.task in by_task]
        groups.append([(d.example, d.weak) for d in passage])
        asked = rng.choices(list(_QUESTION_SHARE), list(_QUESTION_SHARE.values()))[0]
        for demonstration in passage:
            example = demonstration.example
            if example.task != "question" or example.id.endswith(asked):
                by_task[example.task].append(example)
    unknown = [name for name, found in by_task.items() if not found]
    if unknown:
        raise DataError(
            f"the data set parcels has no task '{unknown[0]}'. Its tasks: topic, sentiment, question, summary."
        )
    return list(by_task.values()), groups


def _drawn(pairs: list[Pair], name: str, split: str, limit: int | None, seed: int) -> list[Pair]:
    """In a random order, `limit` at most; all seeds are evaluated on the same test examples."""
    pairs = list(pairs)
    random.Random(f"{name}/{split}/{seed if split == 'train' else 0}").shuffle(pairs)
    return pairs[:limit]


def _from_rows(graph: AuxiliaryGraph, name: str, task: Task, split: str) -> list[Pair]:
    """Examples, each with its weak answer if the row has one."""
    if task.dataset is None:
        raise DataError(f"task '{name}' of graph '{graph.name}' has no dataset. Add 'dataset:' to the task.")
    rows = list(read_rows(task.dataset, split, graph.root))
    for ours in OPTIONAL & task.fields.keys() if split == "train" and rows else ():
        where, row = rows[0]
        if task.fields[ours] not in row:
            raise DataError(
                f"{where}: no column '{task.fields[ours]}', which task '{name}' reads as '{ours}'.{near_miss(task.fields[ours], row)} The row has: {', '.join(map(str, row))}."
            )
    rubrics = rubrics_of(graph, name)
    for where, row in rows[:1]:
        check_columns(row, rubrics, where)
    loaded = examples_from_rows(name, task, iter(rows), f"{split}/", rubrics)
    column = task.fields.get("demonstration")
    weak = [
        _references(row[column], name, task, where, column)[0] if column and row.get(column) is not None else None
        for where, row in rows
    ]
    examples = list(zip(loaded, weak, strict=True))
    if not examples:
        raise DataError(f"task '{name}': its {split} data set is empty.")
    return examples


def examples_from_rows(
    name: str, task: Task, rows: Rows, prefix: str = "", rubrics: Mapping[str, str] | None = None
) -> list[Example]:
    """Rows of a table -> examples, by the task's field mapping. A row without an id gets `prefix` and its number.

    Args:
        rubrics: node -> column of its items, of the rubrics that apply to the task (`rubrics_of`).

    Raises:
        DataError: a missing column, a value that is not text, a repeated id, a label outside the task's labels, items of a rubric that cannot
            be read; with file and line.
    """
    examples: dict[str, Example] = {}
    for number, (where, row) in enumerate(rows):
        inputs = {}
        for ours, column in task.fields.items():
            if column not in row and ours not in OPTIONAL:
                raise DataError(
                    f"{where}: no column '{column}', which task '{name}' reads as '{ours}'.{near_miss(column, row)} The row has: {', '.join(map(str, row))}."
                )
            if ours not in NOT_SHOWN:
                inputs[ours] = _text(row[column], column, where)
        answer = task.fields.get("reference")
        references = () if answer is None else _references(row[answer], name, task, where, answer)
        key = f"{name}/{row['id']}" if row.get("id") is not None else f"{name}/{prefix}row{number}"
        if key in examples:
            raise DataError(f"{where}: the id '{row['id']}' appears twice in this data set. Ids must be unique.")
        unit = task.fields.get("unit")
        drawn = "" if unit is None else _text(row[unit], unit, where)
        items = items_of(row, rubrics or {}, where)
        examples[key] = Example(key, name, inputs, references, _supporting(row, task, where), drawn, items)
    return list(examples.values())


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str | int | float | bool) or value != value or value in (float("inf"), float("-inf")):
        shown = "empty (null)" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"
        raise DataError(f"{where}: column '{column}' is {shown}, not text.")
    return str(value)


def _references(value: Any, name: str, task: Task, where: str, column: str) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise DataError(f"{where}: column '{column}' is an empty list: an example needs a reference.")
    texts = [_text(item, column, where) for item in values]
    if task.kind != "classification":
        return tuple(texts)
    mapping = task.labels if isinstance(task.labels, dict) else {label: label for label in task.labels}
    for item in texts:
        if item not in mapping:
            raise DataError(
                f"{where}: label '{item}' is none of task '{name}'.{near_miss(item, mapping)} Its labels: {', '.join(mapping)}."
            )
    return tuple(mapping[item] for item in texts)


def _supporting(row: Mapping[str, Any], task: Task, where: str) -> tuple[str, ...]:
    """Ids of passages; none if the row has none."""
    column = task.fields.get("supporting")
    value = row.get(column) if column else None
    if column is None or value is None:
        return ()
    ids = tuple(_text(item, column, where) for item in (value if isinstance(value, list | tuple) else [value]))
    if "" in ids:
        raise DataError(
            f"{where}: column '{column}' contains an empty id. Leave it out, or write null, if no id is known."
        )
    return ids


def load_contexts(graph: AuxiliaryGraph, split: str, train: Sequence[Example]) -> list[ContextNode]:
    """Context nodes of a split. Exemplars always come from `train`, the training examples that may be shown; `source` of an exemplar is its
    example's id.

    Raises:
        DataError: a bad row of a passages file, with its line.
    """
    nodes: list[ContextNode] = []
    for name, context in graph.spec.contexts.items():
        if context.kind == "guideline":
            nodes.append(ContextNode(name, name, graph.title(name), context.text or "", "guideline"))
        elif context.kind == "exemplars":
            task = graph.spec.tasks[str(context.of)]
            mine = [example for example in train if example.task == context.of][: context.limit]
            nodes += [
                ContextNode(
                    f"{name}/{example.id}",
                    name,
                    "",
                    f"{render_prompt(task, example)} {example.references[0]}",
                    example.id,
                )
                for example in mine
                if example.references
            ]
        elif context.file is not None:
            nodes += read_passages(find_file(context.file, graph.root), name)
        else:
            dataset = graph.spec.tasks[str(context.of)].dataset
            if dataset is None or dataset.name != "parcels":
                raise DataError(
                    f"context '{name}': the data set of task '{context.of}' contains no passages. Use 'file:'."
                )
            nodes += [
                ContextNode(n.id.replace("archive", name, 1), name, n.title, n.text, n.source) for n in archive(split)
            ]
    return nodes


def read_examples(path: Path, name: str, graph: AuxiliaryGraph) -> list[Example]:
    """Examples of one task of the graph from any file with the task's fields.

    Raises:
        DataError: as in `examples_from_rows`, or an empty file.
    """
    examples = examples_from_rows(name, graph.spec.tasks[name], read_table(path), rubrics=rubrics_of(graph, name))
    if not examples:
        raise DataError(f"{path}: the file has no rows.")
    return examples


def _interleave(parts: Sequence[list[Example]]) -> list[Example]:
    longest = max((len(part) for part in parts), default=0)
    return [part[row] for row in range(longest) for part in parts if row < len(part)]


def _hash(examples: Sequence[Example]) -> str:
    return _digest([(e.id, sorted(e.inputs.items()), e.references, *_more(e)) for e in examples])


def _more(example: Example) -> list[object]:
    """What not every example has: it leaves the hash of those without it as it is."""
    return [part for part in (example.supporting, sorted(example.items.items())) if part]


def _digest(rows: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()[:16]
