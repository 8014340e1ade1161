"""How objects show themselves: short lines, small tables, nothing that a browser would run."""

from __future__ import annotations

import re
import rlcompleter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rag_graph import Run, load_graph
from rag_graph.display import CELL, ROWS, count, cut, flat, html_table, numbers, one_line, printable, settings_line


def test_a_text_is_cut_to_one_line() -> None:
    assert cut("a  b\nc") == "a b c"
    assert cut("x" * 61) == "x" * 59 + "…"
    assert cut("x" * 60) == "x" * 60
    assert one_line("A", "one", "", "two") == "A(one, two)"
    assert len(one_line("Name", "y" * 500)) == 180


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "task", None, ""),
        (1, "task", None, "1 task"),
        (2, "task", None, "2 tasks"),
        (2, "criterion", "criteria", "2 criteria"),
    ],
)
def test_counts(number: int, noun: str, plural: str | None, text: str) -> None:
    assert count(number, noun, plural) == text


def test_settings_under_dotted_names() -> None:
    settings: dict[str, Any] = {"a": 1, "b": {"c": [2], "d": {"e": None}}, "f": {}}
    assert flat(settings) == {"a": 1, "b.c": [2], "b.d.e": None, "f": {}}
    assert settings_line("S", settings) == "S(a=1, b.c=[2], b.d.e=None, f={})"
    assert numbers({"a": 0.126, "b": None}) == "{a: 0.13, b: -}"


def test_a_table_is_escaped_and_small() -> None:
    rows = [(f"<script>{n}</script>", "x" * 1000) for n in range(ROWS + 7)]
    text = html_table("a & b", ("<th>", "long"), rows, ["<b>note</b>"] * 9)
    assert "<script" not in text
    assert "&lt;script&gt;0&lt;/script&gt;" in text
    assert "a &amp; b" in text
    assert "<b>" not in text
    assert text.count("<tr>") == ROWS + 1
    assert "and 7 more rows" in text
    assert text.count("&lt;b&gt;note") == 5
    assert max(map(len, re.findall(r"<td>(x[^<]*)</td>", text))) == CELL
    assert len(text) < 6000


def test_a_table_without_rows_is_its_caption() -> None:
    assert html_table("nothing", ("a",), []) == "<div><strong>nothing</strong></div>"


@pytest.fixture(scope="module")
def shown(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a cell of a notebook may end with."""
    from rag_graph import GraphPPOConfig, GraphReward, NodeScorer, PassageIndex, RewardConfig, Run, compare, load_graph
    from rag_graph.graph.proposal import Proposal

    run, graph = Run(finished_run), load_graph("four_tasks")
    answer = run.ask("where is it from ?", input="anna bought a red kettle .")
    evaluation = run.evaluate(out=tmp_path_factory.mktemp("evaluation") / "e.json")
    reward = GraphReward("parcels")
    comparison = compare([finished_run])
    passages = [piece.context for piece in answer.evidence]
    return {
        "graph": graph, "spec": graph.spec, "task": next(iter(graph.spec.tasks.values())), "run": run, "config": run.config, "reward config": RewardConfig(scale="score"),
        "answer": answer, "episode": answer.episode, "example": answer.episode.example, "evidence": answer.evidence[0], "passage": passages[0],
        "node rewards": answer.rewards, "evaluation": evaluation, "comparison": comparison, "arm": comparison.arms[0], "row": comparison.rows[0],
        "paid": reward.pay([answer.episode])[0], "batch": reward.batch_of([answer.episode]), "function": reward.node_functions()[0],
        "scorer": NodeScorer(graph, scorers={next(iter(graph.spec.criteria)): len}), "index": PassageIndex(passages), "proposal": Proposal("flip", "a", "b", "bounds", "indicates", "x" * 500),
        "arguments": GraphPPOConfig(output_dir="o" * 300, use_cpu=True, bf16=False, hub_token="secret"),
    }  # fmt: skip


TABLES = {"graph", "run", "config", "reward config", "answer", "node rewards", "evaluation", "comparison"}


def test_every_object_is_one_short_line(shown: dict[str, Any]) -> None:
    lines = {name: repr(thing) for name, thing in shown.items()}
    assert {name: len(line) for name, line in lines.items() if len(line) >= 200 or "\n" in line} == {}
    assert [name for name, line in lines.items() if line.startswith("<")] == []
    assert "secret" not in lines["arguments"]


def test_tables_are_small_and_well_formed(shown: dict[str, Any]) -> None:
    assert {name for name, thing in shown.items() if hasattr(thing, "_repr_html_")} == TABLES
    for name in TABLES:
        text = shown[name]._repr_html_()
        assert len(text) < 8000, name
        ElementTree.fromstring(text)  # every tag is closed


def test_lines_and_tables_hold_the_numbers(shown: dict[str, Any]) -> None:
    run, answer, evaluation = shown["run"], shown["answer"], shown["evaluation"]
    assert repr(run) == f"Run('{run.path}', finished)"
    mean = evaluation.mean_task_score
    assert (
        repr(evaluation)
        == f"Evaluation(mean task score {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}], {len(evaluation.episodes)} episodes)"
    )
    assert f"<td>{run.gain.mean:+.3f} [{run.gain.low:+.3f}, {run.gain.high:+.3f}]</td>" in run._repr_html_()
    for node, paid in answer.paid.items():
        assert re.search(
            rf"<td>{node}</td><td>{answer.scores[node]:.2f}</td><td>\w+</td><td>{re.escape(f'{paid:+.2f}')}</td>",
            answer._repr_html_(),
        )
    graph = shown["graph"]
    assert (
        repr(graph)
        == f"AuxiliaryGraph('four_tasks', 4 tasks, {len(graph.spec.criteria)} criteria, {len(graph.spec.contexts)} contexts, {len(graph.spec.edges)} relations)"
    )
    assert repr(shown["reward config"]) == "RewardConfig(scale='score')"
    assert f"{shown['comparison'].rows[0].mean.mean:.3f}" in repr(shown["comparison"])


def test_names_of_a_file_are_escaped(write_graph: Callable[..., Path]) -> None:
    text = "format: 1\nname: g\ntasks:\n  t: {kind: generation, goal: 1, metrics: {rouge_l: 1}, prompt: '<b>'}\n"
    graph = load_graph(write_graph(text + "relations: {x: {semantics: gate}}\n"))
    assert graph._repr_html_() == "<div><strong>g: 1 task</strong><div>goals: t 1</div></div>"
    assert "<b>" not in html_table(str(graph.spec.tasks["t"]), ("a",), [])


def test_looking_for_completions_opens_no_model(finished_run: Path) -> None:
    """A console asks an object for its names, and reads every attribute that is no plain property."""
    run = Run(finished_run)
    offered = rlcompleter.Completer({"run": run}).attr_matches("run.")
    assert {"run.ask(", "run.config", "run.gain", "run.metrics("} <= set(offered)
    assert not {"_bench", "_data"} & set(vars(run))


def test_no_text_steers_the_terminal() -> None:
    assert (
        printable("label '\x1b[31mX\x07' is none:\n\u6b63 \u202e") == "label '\\x1b[31mX\\x07' is none:\n\u6b63 \\u202e"
    )
