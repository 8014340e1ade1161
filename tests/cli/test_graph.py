"""`rag-graph graph`: check, show, draw, convert."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Cli = Callable[..., CompletedProcess[str]]


def test_check_says_every_problem_and_exits_2(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "format: 1\nname: g\ntasks: {t: {kind: generation, metrics: {bleu: 1}, prompt: x}}\nedges:\n  - {from: t, to: y, relation: prequisite}\n"
    )
    done = run_cli("graph", "check", "bad.yaml", "parcels", "gone.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "bad.yaml:5:32: edges[0].relation: unknown relation 'prequisite'. Did you mean 'prerequisite'?" in done.stdout
    )
    assert "bad.yaml:5:19: edges[0].to: unknown node 'y'." in done.stdout
    assert "parcels: ok, 10 nodes, 12 relations: 6 facts, 2 rules, 4 neither" in done.stdout
    assert "gone.yaml:1:1: no such file." in done.stdout


def test_check_warns_of_what_has_no_effect_and_exits_0(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "format: 1\nname: g\ntasks: {t: {kind: generation, goal: 1.0, metrics: {bleu: 1}, prompt: x}}\n"
        "criteria: {a: {metric: format}, b: {metric: format}}\n"
        "edges:\n  - {from: a, to: t, relation: bounds}\n  - {from: a, to: b, relation: supports}\n"
    )
    done = run_cli("graph", "check", "g.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "g.yaml:5:1: warning: edges: no rule: where every goal is observed, this graph changes nothing.",
        "g.yaml:7:5: warning: edges[1]: this rule has no effect: 'b' is paid nothing by itself. It is no goal task, and supports none.",
        "g.yaml: ok, 3 nodes, 2 relations: 1 fact, 1 rule, 0 neither",
    ]


def test_show_draw_convert(run_cli: Cli, tmp_path: Path) -> None:
    shown = run_cli("graph", "show", "parcels").stdout
    assert "well_formed bounds (fact) 0.9" in shown
    assert "grounded prerequisite (rule) 0.8" in shown
    assert "archive grounds (neither) 0.9" in shown
    assert "Question answering" in shown
    for name, head in (("g.svg", b"<?xml"), ("g.png", b"\x89PNG"), ("g.pdf", b"%PDF")):
        assert run_cli("graph", "draw", "parcels", tmp_path / name).returncode == 0
        assert (tmp_path / name).read_bytes().startswith(head)
    assert run_cli("graph", "convert", "parcels", tmp_path / "g.graphml").returncode == 0
    assert run_cli("graph", "convert", tmp_path / "g.graphml", tmp_path / "g.yaml").returncode == 0
    assert (
        "g.yaml: ok, 10 nodes, 12 relations: 6 facts, 2 rules, 4 neither"
        in run_cli("graph", "check", tmp_path / "g.yaml").stdout
    )
    assert "exists already" in run_cli("graph", "convert", "parcels", tmp_path / "g.yaml").stderr
    assert run_cli("graph", "convert", "parcels", tmp_path / "g.yaml", "--force").returncode == 0
    assert "no such folder" in run_cli("graph", "convert", "parcels", tmp_path / "gone/g.yaml").stderr
    assert "g.graphml: ok" in run_cli("graph", "check", tmp_path / "g.graphml").stdout
    wrong = run_cli("graph", "convert", "parcels", tmp_path / "g.jsn")
    assert wrong.returncode == 2
    assert "unknown format '.jsn'. Did you mean '.json'?" in wrong.stderr


def test_a_hostile_title_is_text(run_cli: Cli, rag_graph_script: str, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        'format: 1\nname: g\ntasks: {t: {title: "[bold]<script>$x^2$", kind: generation, metrics: {bleu: 1}, prompt: x}}\n'
    )
    assert "[bold]<script>$x^2$" in run_cli("graph", "show", tmp_path / "g.yaml").stdout
    ascii_only = subprocess.run(
        [rag_graph_script, "graph", "show", "parcels"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert ascii_only.returncode == 0
    assert b"Traceback" not in ascii_only.stderr
    assert run_cli("graph", "draw", tmp_path / "g.yaml", tmp_path / "g.svg").returncode == 0


def test_prices_are_shown(run_cli: Cli, tmp_path: Path) -> None:
    graph = tmp_path / "priced.yaml"
    graph.write_text(
        "format: 1\nname: priced\ntasks:\n  reply: {goal: 1.0, cost: 2.0, observe: 0.2, metrics: {exact_match: 1.0}}\n"
        "criteria:\n  kind: {metric: format, cost: 0.02}\n  brief: {metric: format}\n"
        "edges:\n  - {from: kind, to: reply, relation: indicates}\n  - {from: brief, to: reply, relation: indicates}\n"
    )
    assert "; cost of a score: reply 2, kind 0.02" in run_cli("graph", "check", graph).stdout
    lines = run_cli("graph", "show", graph).stdout.splitlines()
    (reply,) = [line for line in lines if "goal 1" in line]
    assert reply.endswith("goal 1, exact_match, cost 2, on 20% of answers")
    kind, brief = [line for line in lines if "indicates (fact)" in line]
    assert kind.endswith("cost 0.02")
    assert "cost" not in brief
