"""Checks that need the whole graph: names that must exist, ends of relations, cycles, prompts, files.

They use the raw values and run beside the structural checks of `spec`, so one reading reports all problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import networkx
import regex

from rag_graph.errors import near_miss
from rag_graph.graph.judge_checks import check_judge
from rag_graph.graph.placeholders import escaped, placeholders
from rag_graph.graph.spec import BUILT_IN_RELATIONS, NOT_SHOWN, Criterion
from rag_graph.records import REFERENCE_METRICS
from rag_graph.yaml_document import Location

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""(location, what is wrong) of each problem."""

METRIC_ARGS: dict[str, dict[str, type]] = {"length_band": {"least": int, "most": int}, "format": {"pattern": str}}


def check_all(data: dict[str, Any], resolve: Callable[[str], Path | None]) -> Found:
    """Yield every problem. `resolve` turns a path of the file into a real file, or None if it leaves the root."""
    blocks = {name: _mapping(data, name) for name in ("tasks", "criteria", "contexts", "relations")}
    yield from _check_names(blocks)
    yield from _check_relations(blocks["relations"])
    for name, task in blocks["tasks"].items():
        if isinstance(task, dict):
            yield from _check_task(("tasks", name), task)
    for name, criterion in blocks["criteria"].items():
        if isinstance(criterion, dict):
            yield from _check_criterion(("criteria", name), criterion, blocks["tasks"])
    for name, context in blocks["contexts"].items():
        if isinstance(context, dict):
            yield from _check_context(("contexts", name), context, blocks["tasks"], resolve)
    yield from _check_edges(data.get("edges"), blocks)
    yield from _check_columns_shown(data.get("edges"), blocks)


def _mapping(data: dict[str, Any], block: str) -> dict[str, Any]:
    value = data.get(block)
    return value if isinstance(value, dict) else {}


def _check_names(blocks: dict[str, dict[str, Any]]) -> Found:
    seen: dict[str, str] = {}
    for block in ("tasks", "criteria", "contexts"):
        for name in blocks[block]:
            if name in seen:
                yield (block, name), f"'{name}' is also a name in {seen[name]}. Node names are unique across the file."
            seen.setdefault(name, block)
    if not blocks["tasks"]:
        yield ("tasks",), "a graph needs at least one task."


def _check_relations(relations: dict[str, Any]) -> Found:
    for name in relations:
        if name in BUILT_IN_RELATIONS:
            yield ("relations", name), f"'{name}' is built in and cannot be redefined. Choose another name."


def _check_task(location: tuple[str | int, ...], task: dict[str, Any]) -> Found:
    fields = task.get("fields") if isinstance(task.get("fields"), dict) else {}
    labels = task.get("labels")
    metrics = task.get("metrics")
    if isinstance(metrics, dict) and "judge" in metrics:
        yield from check_judge(location, task.get("args"))
    elif task.get("args"):
        yield (
            (*location, "args"),
            "only metric judge has arguments of a task: add `judge: 1` to its metrics, or leave 'args' out.",
        )
    if task.get("kind") == "classification" and not labels:
        yield (*location, "kind"), "a classification task needs 'labels'."
    words = list(labels.values()) if isinstance(labels, dict) else labels if isinstance(labels, list) else []
    duplicates = sorted(word for word, count in Counter(map(str, words)).items() if count > 1)
    if duplicates:
        yield (*location, "labels"), f"labels stated twice: {', '.join(duplicates)}."
    prompt = task.get("prompt")
    for name in {"context", "labels"} & set(fields or {}):
        yield (
            (*location, "fields", name),
            f"'{name}' is filled by the prompt itself. Give the field another name, such as 'text: {(fields or {})[name]}', and show it as {{text}}.",
        )
    if isinstance(prompt, str):
        yield from _check_prompt((*location, "prompt"), prompt, {str(name) for name in fields or {}} - NOT_SHOWN)
    metrics = task.get("metrics")
    for name in ("label_preserved", "length_band"):
        if isinstance(metrics, dict) and name in metrics:
            yield (
                (*location, "metrics", name),
                f"'{name}' takes arguments: make it a criterion that applies to this task.",
            )
    if (
        isinstance(metrics, dict)
        and metrics
        and not any(isinstance(w, int | float) and w > 0 for w in metrics.values())
    ):
        yield (*location, "metrics"), "no metric with a weight above 0: the task could never be scored."
    dataset = task.get("dataset")
    if isinstance(dataset, dict):
        stated = [key for key in ("path", "hub", "name") if dataset.get(key) is not None]
        if len(stated) != 1:
            yield (
                (*location, "dataset"),
                f"exactly one of path, hub, name is needed, {' and '.join(stated) or 'none'} given.",
            )
        if fields is not None and "reference" not in fields and (_compares(task) or not metrics):
            yield (*location, "fields"), "no 'reference': name the column that contains the correct answer."


def _check_prompt(location: tuple[str | int, ...], prompt: str, fields: set[str]) -> Found:
    known = {"context", "labels", *fields}
    shown = list(dict.fromkeys(placeholders(prompt, known)))
    listed = ", ".join(sorted(fields))
    doubled = sorted(escaped(prompt) & fields - set(shown))
    if doubled:
        yield (
            location,
            f"'{{{{{doubled[0]}}}}}' is the text '{{{doubled[0]}}}', and the field '{doubled[0]}' is not shown. Write {{{doubled[0]}}}, with single braces.",
        )
    elif fields and not set(shown) - {"context", "labels"}:
        yield (
            location,
            f"the prompt shows no field, so the model would not see the example. Fields: {listed}.",
        )
    for name in shown:
        if name not in known:
            yield (
                location,
                f"unknown placeholder '{{{name}}}'.{near_miss(name, known)} Known here: {', '.join(sorted(known))}. For the text '{{{name}}}', write {{{{{name}}}}}.",
            )


def _compares(task: dict[str, Any]) -> bool:
    """The task's score needs the reference: a metric compares with it, or the judge sees it."""
    metrics, args = task.get("metrics"), task.get("args")
    paying = [name for name, weight in metrics.items() if weight] if isinstance(metrics, dict) else []
    sees = isinstance(args, dict) and args.get("reference") is True
    return any(name in REFERENCE_METRICS or (name == "judge" and sees) for name in paying)


def _check_columns_shown(edges: Any, blocks: dict[str, dict[str, Any]]) -> Found:
    """A column that has the name of a placeholder: `{context}` is the retrieved evidence, and `{labels}` are the labels, never a column."""
    listed = [edge for edge in (edges if isinstance(edges, list) else ()) if isinstance(edge, dict)]
    ends = [(edge.get("from"), edge.get("to")) for edge in listed]
    grounded = {target for source, target in ends if isinstance(source, str) and isinstance(target, str) and source in blocks["contexts"]}  # fmt: skip
    for name, task in blocks["tasks"].items():
        fields, prompt = (task.get("fields"), task.get("prompt")) if isinstance(task, dict) else (None, None)
        if not isinstance(fields, dict) or not isinstance(prompt, str):
            continue
        shown = set(placeholders(prompt, {"context", "labels", *map(str, fields)}))
        filled = ({"labels"} if task.get("labels") else set()) | ({"context"} if name in grounded else set())
        for ours, column in fields.items():
            if column in ("context", "labels") and column in shown - filled and ours not in shown | NOT_SHOWN:
                yield (
                    ("tasks", name, "prompt"),
                    f"{{{column}}} is not the column '{column}', and is always empty here. The field '{ours}' reads that column: write {{{ours}}}.",
                )


def _check_criterion(location: tuple[str | int, ...], criterion: dict[str, Any], tasks: dict[str, Any]) -> Found:
    metric, args = criterion.get("metric"), criterion.get("args")
    known = METRIC_ARGS.get(str(metric), {})
    if metric == "judge":
        yield from check_judge(location, args, criterion.get("items") is not None)
    for name, value in args.items() if isinstance(args, dict) and metric != "judge" else ():
        if name not in known:
            accepted = f"It takes {', '.join(known)}." if known else "It takes none."
            yield (
                (*location, "args", name),
                f"metric '{metric}' has no argument '{name}'.{near_miss(name, known)} {accepted}",
            )
        elif not isinstance(value, known[name]) or isinstance(value, bool):
            yield (*location, "args", name), f"{value!r} is not {'a whole number' if known[name] is int else 'text'}."
        elif name == "pattern":
            try:
                regex.compile(str(value))
            except (regex.error, ValueError, RecursionError, OverflowError, MemoryError) as error:
                yield (*location, "args", name), f"not a regular expression: {error}."
    least, most = (
        args.get(name, default) if isinstance(args, dict) else default
        for name, default in (("least", 0), ("most", 1 << 30))
    )
    if isinstance(least, int) and isinstance(most, int) and not 0 <= least <= most:
        yield (*location, "args"), f"least {least} and most {most}: no length is between them."
    if metric == "length_band" and not args:
        yield (*location, "metric"), "'length_band' needs args: {least: WORDS, most: WORDS}, one or both."
    if metric == "label_preserved" and not criterion.get("of"):
        yield (*location, "metric"), "'label_preserved' needs 'of': the classification task whose label is kept."
    if criterion.get("items") is not None and metric not in (None, "external", "judge"):
        yield (
            (*location, "metric"),
            f"'{metric}' knows no items. The items of a rubric are scored by your own function, a table or a judge: leave 'metric' out, or write judge.",
        )
    of = criterion.get("of")
    if isinstance(of, str):
        if of not in tasks:
            yield (*location, "of"), f"unknown task '{of}'.{near_miss(of, tasks)}"
        elif isinstance(tasks[of], dict) and tasks[of].get("kind") != "classification":
            yield (*location, "of"), f"'{of}' is not a classification task, so it has no label to keep."
    applies = criterion.get("applies_to")
    for index, name in enumerate(applies if isinstance(applies, list) else ()):
        if isinstance(name, str) and name not in tasks:
            yield (*location, "applies_to", index), f"unknown task '{name}'.{near_miss(name, tasks)}"


def _check_context(
    location: tuple[str | int, ...],
    context: dict[str, Any],
    tasks: dict[str, Any],
    resolve: Callable[[str], Path | None],
) -> Found:
    kind, of, file = context.get("kind"), context.get("of"), context.get("file")
    if kind == "guideline" and not context.get("text"):
        yield (*location, "kind"), "a guideline needs 'text'."
    if kind == "exemplars" and not of:
        yield (*location, "kind"), "exemplars need 'of': the task whose training examples are shown."
    if kind == "passages" and bool(of) == bool(file):
        yield (
            (*location, "kind"),
            "passages need exactly one of 'file' (a jsonl file) and 'of' (a task whose data set contains them).",
        )
    if isinstance(of, str) and of not in tasks:
        yield (*location, "of"), f"unknown task '{of}'.{near_miss(of, tasks)}"
    if isinstance(file, str):
        path = resolve(file)
        if path is None:
            yield (*location, "file"), f"'{file}' leaves the folder of the graph. Put the file beside the graph."


REPEAT_IN_REPEAT = regex.compile(r"(?<!\\)[+*}]\??\)(?:[+*]|\{\d*,\})")


def slow_patterns(criteria: Mapping[str, Criterion]) -> list[tuple[Location, str]]:
    """(location, sentence) of each pattern that can take for ever on some answer: a repeat within a repeat."""
    return [
        (
            ("criteria", name, "args", "pattern"),
            "a repeat within a repeat, as in (a+)+, takes for ever on some answers. Scoring gives up after a second, and the score is missing.",
        )
        for name, criterion in criteria.items()
        if criterion.metric == "format" and REPEAT_IN_REPEAT.search(str(criterion.args.get("pattern", "")))
    ]


def _check_edges(edges: Any, blocks: dict[str, dict[str, Any]]) -> Found:
    kinds = {
        name: kind
        for block, kind in (("tasks", "task"), ("criteria", "criterion"), ("contexts", "context"))
        for name in blocks[block]
    }
    relations: dict[str, dict[str, Any]] = {
        name: relation.model_dump() for name, relation in BUILT_IN_RELATIONS.items()
    }
    relations.update({name: value for name, value in blocks["relations"].items() if isinstance(value, dict)})
    first: dict[tuple[str, str, str], int] = {}
    suggestions = 50  # each suggestion costs a comparison with every name
    gates = networkx.DiGraph()
    for index, edge in enumerate(edges if isinstance(edges, list) else ()):
        if not isinstance(edge, dict):
            continue
        ends = {key: edge.get(key) for key in ("from", "to")}
        relation = edge.get("relation")
        for key, node in ends.items():
            if isinstance(node, str) and node not in kinds:
                suggestions -= 1
                yield (
                    ("edges", index, key),
                    f"unknown node '{node}'.{near_miss(node, kinds) if suggestions >= 0 else ''}",
                )
        if not isinstance(relation, str):
            continue
        if relation not in relations:
            yield ("edges", index, "relation"), f"unknown relation '{relation}'.{near_miss(relation, relations)}"
            continue
        for key, side in (("from", "source"), ("to", "target")):
            allowed = relations[relation].get(side, ("task", "criterion"))
            kind = kinds.get(str(ends[key]))
            if kind and isinstance(allowed, list | tuple) and kind not in allowed:
                verb = "starts from" if key == "from" else "ends at"
                yield (
                    ("edges", index, key),
                    f"'{ends[key]}' is a {kind}; '{relation}' {verb} a {' or a '.join(map(str, allowed))}.",
                )
        source, target = ends["from"], ends["to"]
        if not isinstance(source, str) or not isinstance(target, str):
            continue
        if source == target:
            yield ("edges", index, "to"), f"'{source}' is related to itself. An edge joins two nodes."
        triple = (source, target, relation)
        if triple in first:
            yield (
                ("edges", index),
                f"stated twice: edges[{first[triple]}] says {source} {relation} {target} too. Keep one.",
            )
        first.setdefault(triple, index)
        if relations[relation].get("semantics") == "gate" and source != target:
            gates.add_edge(source, target, index=first[triple])
    yield from _gate_cycles(gates)


def _gate_cycles(gates: networkx.DiGraph) -> Found:
    """One message for each strongly connected set of gates: it names one cycle, at its first edge in the file."""
    for component in networkx.strongly_connected_components(gates):
        if len(component) > 1:
            first = next(node for node in gates if node in component)  # the same message every time
            cycle = networkx.find_cycle(gates.subgraph(component), first)
            index = min(gates.edges[source, target]["index"] for source, target in cycle)
            path = " -> ".join([source for source, _ in cycle] + [cycle[0][0]])
            yield (
                ("edges", index),
                f"prerequisites form a cycle: {path}. Remove one of them: no node of a cycle could ever be paid.",
            )
