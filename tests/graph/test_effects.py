"""Which graphs, facts and rules can have no effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.config import RewardConfig
from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, graph_warnings
from rag_graph.graph.effects import NO_RULE, has_rules, warning_of_run, warnings_of_room, without_effect
from rag_graph.graph.spec import GraphSpec

Make = Callable[..., AuxiliaryGraph]
RULE = ("c0", "t", "prerequisite")
FACT = ("c0", "t", "bounds")


@pytest.mark.parametrize(
    "edges",
    [
        [RULE],
        [RULE, FACT],  # a pair may have both
        [RULE, ("c1", "c0", "prerequisite")],  # a rule that leads to the goal by rules
        [RULE, ("c1", "c0", "indicates")],  # a fact about a score that a rule pays
        [RULE, ("c2", "t", "bounds"), ("c1", "c2", "indicates_low")],  # facts about facts
        [RULE, ("t", "u", "shares_structure"), ("c1", "c2", "shares_structure")],  # neither: not judged
        [("c0", "t", "prerequisite", 0.0)],  # it can learn
        [("u", "t", "supports")],  # in its own episodes u earns for t
        [("u", "t", "conflicts")],
        [
            ("c1", "t", "supports"),
            ("c0", "c1", "supports"),
            ("c2", "c1", "conflicts"),
        ],  # credit flows on, and is charged
        [("c1", "t", "supports"), ("c0", "c1", "part_of")],
        [("c0", "t", "part_of"), ("c1", "c0", "indicates")],
    ],
)
def test_what_has_an_effect(make_graph: Make, edges: list[tuple[str, str, str]]) -> None:
    assert without_effect(make_graph(edges)) == []


@pytest.mark.parametrize(
    ("edges", "warnings"),
    [
        ([], {("edges",): NO_RULE}),
        ([FACT], {("edges",): NO_RULE}),
        ([RULE, ("c1", "c2", "bounds")], {("edges", 1): "this fact has no effect: no goal task depends on 'c2'."}),
        ([RULE, ("c1", "c2", "supports")], {("edges", 1): "this rule has no effect: 'c2' is paid nothing by itself. It is no goal task, and supports none."}),
        ([RULE, ("c1", "c0", "supports")], {("edges", 1): "this rule has no effect: 'c0' is paid nothing by itself. It is no goal task, and supports none."}),
        ([RULE, ("c1", "c2", "prerequisite")], {("edges", 1): "this rule has no effect: no goal task depends on 'c2' by rules."}),
        (
            [("c2", "t", "indicates"), ("c1", "c2", "prerequisite")],
            {
                ("edges",): NO_RULE,
                ("edges", 1): "this rule has no effect: no rule pays 'c2' behind it; facts, parts and charges use its score as it is.",
            },
        ),
        (
            [("c2", "t", "conflicts"), ("c1", "c2", "prerequisite")],
            {("edges", 1): "this rule has no effect: no rule pays 'c2' behind it; facts, parts and charges use its score as it is."},
        ),
        (
            [RULE, ("u", "t", "prerequisite")],
            {("edges", 1): "this rule has no effect: 'u' and 't' are never scored in the same episode of a goal task."},
        ),
    ],
)  # fmt: skip
def test_what_has_none(
    make_graph: Make, edges: list[tuple[str, str, str]], warnings: dict[tuple[str | int, ...], str]
) -> None:
    assert dict(without_effect(make_graph(edges))) == warnings


def test_a_frozen_strength_of_0_counts_as_removed(make_graph: Make) -> None:
    graph = make_graph([(*RULE, 0.0)], tuned=False)
    assert not has_rules(graph)
    assert without_effect(graph)[1] == (
        ("edges", 0),
        "this rule has no effect: its strength is 0, and 'tuned: false' keeps it there.",
    )


def test_an_auxiliary_task_and_tasks_that_a_criterion_does_not_apply_to(make_graph: Make) -> None:
    content = make_graph([RULE, ("c1", "u", "bounds")]).spec.model_dump(by_alias=True)
    content["tasks"]["u"]["goal"] = 0.0
    assert dict(without_effect(AuxiliaryGraph(GraphSpec.model_validate(content)))) == {
        ("edges", 1): "this fact has no effect: 'u' is no goal task. Give it 'goal:' above 0, or remove the relation."
    }
    content["criteria"]["c0"]["applies_to"] = ["u"]
    found = dict(without_effect(AuxiliaryGraph(GraphSpec.model_validate(content))))
    assert found["edges", 0] == (
        "this rule has no effect: 'c0' and 't' are never scored in the same episode of a goal task."
    )
    assert found["edges",] == NO_RULE


def test_a_run_is_warned_where_every_goal_is_observed_and_nothing_is_a_rule(make_graph: Make) -> None:
    facts, rules = make_graph([FACT]), make_graph([FACT, RULE])
    everything = RewardConfig(reserved=0.0)
    assert warning_of_run(rules, everything) == ""
    assert warning_of_run(facts, RewardConfig(goal_observed=0.9)) == ""
    limited = RewardConfig(reserved=0.0, budget={"per_update": 5.0})  # type: ignore[arg-type]
    assert warning_of_run(facts, limited) == "", "a limit may buy not all goals"

    def asked_on(share: float) -> AuxiliaryGraph:
        spec = facts.spec.model_dump(by_alias=True)
        tasks = {name: {**task, "observe": share} for name, task in spec["tasks"].items()}
        return AuxiliaryGraph(GraphSpec.model_validate({**spec, "tasks": tasks}))

    assert warning_of_run(asked_on(0.5), everything) == "", "`observe` is in place of reward.goal_observed"
    assert "every goal is observed (`observe`: 1)" in warning_of_run(asked_on(1.0), RewardConfig(goal_observed=0.5))
    assert warning_of_run(facts, everything) == (
        "this graph can have no effect: every goal is observed (reward.goal_observed: 1), and 'g' has no rule."
    )
    assert "except on the 2.5% of the examples that are reserved" in warning_of_run(facts, RewardConfig(reserved=0.025))
    assert warning_of_run(facts, RewardConfig(readout="flat")) == "", "flat pays the other nodes without rules"


def test_a_run_is_warned_where_shaping_fades_to_nothing(make_graph: Make) -> None:
    """eta is all that pays the criteria, and at the end of the training it is 0."""
    facts, rules = make_graph([FACT]), make_graph([FACT, RULE])
    fading = RewardConfig(auxiliary=0.3, reserved=0.0)
    assert warning_of_run(facts, fading) == (
        "reward.auxiliary falls from 0.3 to 0, and nothing else of this graph is paid: every goal is observed (reward.goal_observed: 1), "
        "and 'g' has no rule. At the end of the training the goal alone is paid. State rules (such as supports), or set "
        "reward.auxiliary_end above 0 to keep paying the other nodes."
    )
    assert warning_of_run(facts, RewardConfig(auxiliary=0.3, auxiliary_end=0.1)) == ""
    assert warning_of_run(rules, fading) == ""
    assert warning_of_run(facts, RewardConfig(auxiliary=0.3, goal_observed=0.5)) == ""
    alone = make_graph([], criteria=0)
    assert warning_of_run(alone, fading).startswith("this graph can have no effect:"), "eta has nothing to pay"


def test_places_are_those_of_the_file_that_says_it(write_graph: Callable[..., Path]) -> None:
    write_graph("format: 1\nname: i\ncriteria: {a: {metric: format}, b: {metric: format}}\nedges:\n  - {from: a, to: b, relation: bounds}\n", "i.yaml")  # fmt: skip
    path = write_graph("format: 1\nname: g\ninclude: [i.yaml]\ntasks: {t: {kind: generation, goal: 1.0, metrics: {bleu: 1}, prompt: x}}\n")  # fmt: skip
    assert [str(warning).replace(f"{path.parent}/", "") for warning in graph_warnings(path)] == [
        "g.yaml:1:1: warning: edges: no rule: where every goal is observed, this graph changes nothing.",
        "i.yaml:5:5: warning: edges[0]: this fact has no effect: no goal task depends on 'b'.",
    ]
    assert graph_warnings("parcels") == []
    with pytest.raises(GraphFileError, match="no such file"):
        graph_warnings(path.parent / "gone.yaml")


def test_guidelines_and_templates_without_room_for_evidence() -> None:
    spec = {
        "format": 1,
        "name": "g",
        "tasks": {
            "t": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{context} {input} in short"},
            "u": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{context} {input}"},
        },
        "contexts": {"guide": {"kind": "guideline", "text": "be very brief"}, "notes": {"kind": "passages", "file": "n"}},
        "edges": [{"from": source, "to": target, "relation": "grounds"} for source, target in (("guide", "t"), ("notes", "t"), ("guide", "u"))],
    }  # fmt: skip
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    assert warnings_of_room(graph, 4, 6) == []
    (said,) = warnings_of_room(graph, 3, 6)
    assert said.startswith(
        "task 't': its guidelines have 3 words, and retrieval.token_budget is 3 tokens: no passage can be shown"
    )
    (said,) = warnings_of_room(graph, 4, 5)
    assert said.startswith(
        "task 't': its template and guidelines have 5 words, and model.max_prompt_tokens is 5: every prompt"
    )
