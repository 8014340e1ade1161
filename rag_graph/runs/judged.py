"""What a run asks its judges, before it begins: the template, and a request as it will be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rag_graph.data.prompts import render_prompt
from rag_graph.evaluation.judging import Question, judge_of, question_about
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode, Example, Item


def asked_of_judges(scorer: NodeScorer) -> Iterator[str]:
    """Lines for `--dry-run`: who is asked by which node, the template of each judge, and the request of one node filled with names in place of texts."""
    graph, told = scorer.graph, set[str]()
    for node, args in scorer.judged.items():
        judge = scorer.judges[judge_of(node, args, scorer.judges)]
        yield f"node {node} asks {judge!r}"
        if judge.name in told:
            continue
        told.add(judge.name)
        template = getattr(judge, "template", None)
        if isinstance(template, str):
            yield f"the template of judge {judge.name}:"
            yield from (f"  {line}" for line in template.splitlines())
        yield f"a request to judge {judge.name}, of node {node}:"
        yield from (f"  {line}" for line in judge.show(example_question(graph, node, args)).splitlines())


def example_question(graph: AuxiliaryGraph, node: str, args: Mapping[str, Any]) -> Question:
    """What a node asks about an answer to an example whose texts are their names."""
    name = node if node in graph.spec.tasks else next(t for t in graph.spec.tasks if graph.applies(node, t))
    task = graph.spec.tasks[name]
    example = Example(
        "example", name, {field: f"({field} of an example)" for field in task.fields}, ("(the reference)",)
    )
    prompt = render_prompt(task, example) if task.prompt is not None else "(the prompt)"
    criterion = graph.spec.criteria.get(node)
    item = Item("(a criterion of the example)", 1.0) if criterion is not None and criterion.items is not None else None
    question = question_about(node, args, Episode("example", example, prompt, "(an answer of the policy)"), item)
    assert question is not None  # there is a reference
    return question
