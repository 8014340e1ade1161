"""The data of a run: examples of every task, weak demonstrations if a data set has them, context nodes of both splits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from rag_graph.config import DataConfig
from rag_graph.data.examples import examples_from_rows, references_of
from rag_graph.data.files import find_file, read_rows
from rag_graph.data.held_out import Pair, divide
from rag_graph.data.parcels import archive, make_parcels
from rag_graph.data.passages import read_passages
from rag_graph.data.prompts import render_prompt
from rag_graph.data.reserved import is_reserved
from rag_graph.data.rubrics import rubrics_of
from rag_graph.errors import DataError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import Task
from rag_graph.records import ContextNode, Example

MADE_SIZES = {"train": 2000, "test": 200}
"""Number of passages of a generated data set, if the config has none."""
MOST_MADE = 100_000
_QUESTION_SHARE = {"origin": 0.5, "color": 0.25, "days": 0.125, "buyer": 0.125}


@dataclass(frozen=True, slots=True)
class RunData:
    """
    train, test: examples, tasks interleaved.
    groups: training examples that share their input, for the supervised warm-up, each with its weak answer (or None); none that is reserved or
        has no reference.
    contexts: split -> context nodes; no exemplar shows the reference of a reserved example.
    hashes: task/split -> hash of the examples used; contexts/split, demonstrations.
    """

    train: list[Example]
    test: list[Example]
    groups: list[list[Pair]]
    contexts: dict[str, list[ContextNode]]
    hashes: dict[str, str] = field(default_factory=dict)
    unlabelled: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Task -> split -> (examples without a reference, all examples), where there are some."""
    reserved: frozenset[str] = frozenset()
    """Ids of the training examples whose references only audits see (`rag_graph.data.reserved`)."""

    @property
    def notes(self) -> list[str]:
        """What is to be said of the data, one sentence per task: how many references are missing, and what follows."""
        sides = {"train": "training", "test": "held-out"}
        told = []
        for task, splits in self.unlabelled.items():
            counts = [f"{missing} of {all_of} {sides[split]} examples" for split, (missing, all_of) in splits.items()]
            follows = {
                "train": "in training their score is predicted, and no demonstration shows them",
                "test": "they are not evaluated",
            }
            said = "; ".join(follows[split] for split in splits)
            told.append(f"task '{task}': {' and '.join(counts)} have no reference: {said}.")
        return told

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
    unlabelled: dict[str, dict[str, tuple[int, int]]] = {}
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
            name, missing = part[0].task, sum(not example.references for example in part)
            hashes[f"{name}/{split}"] = _hash(part)
            if missing and "reference" in graph.spec.tasks[name].fields:
                unlabelled.setdefault(name, {})[split] = (missing, len(part))
    groups = [
        [pair for pair in group if pair[0].references and not is_reserved(pair[0], graph, reserved, seed)]
        for group in groups
    ]
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
    return RunData(train, test, groups, contexts, hashes, unlabelled, hidden)


def _parcels(
    tasks: Sequence[str], split: str, passages: int, seed: int
) -> tuple[list[list[Example]], list[list[Pair]]]:
    if passages > MOST_MADE:
        raise DataError(
            f"data.{split}: {passages:,} passages of parcels, and at most {MOST_MADE:,} are made. Lower data.{split}."
        )
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
    loaded = examples_from_rows(name, task, iter(rows), f"{split}/", rubrics_of(graph, name), split == "train")
    if not loaded:
        raise DataError(f"task '{name}': its {split} data set is empty.")
    column = task.fields.get("demonstration")
    weak = [references_of(row, column, name, task, where)[:1] if column else () for where, row in rows]
    return [(example, one[0] if one else None) for example, one in zip(loaded, weak, strict=True)]


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
            mine = [example for example in train if example.task == context.of and example.references]
            nodes += [
                ContextNode(
                    f"{name}/{example.id}",
                    name,
                    "",
                    f"{render_prompt(task, example)} {example.references[0]}",
                    example.id,
                )
                for example in mine[: context.limit]
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
