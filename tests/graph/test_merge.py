"""Includes: merged into one graph, with the file of each problem; nothing outside the folder is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.graph import load_graph


def test_includes_merge_and_know_their_files(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    write_graph("criteria:\n  brief: {metric: length_band, args: {most: 12}}\n", "parts/criteria.yaml")
    write_graph("contexts:\n  notes: {kind: passages, file: notes.jsonl}\n", "parts/deep/contexts.yaml")
    write_graph("", "parts/deep/notes.jsonl")
    main = write_graph(
        good.replace(
            "criteria:\n  brief: {metric: length_band, args: {most: 12}, applies_to: [headline]}\n",
            "include: [parts/criteria.yaml, parts/deep/contexts.yaml]\n",
        )
    )
    graph = load_graph(main)
    assert graph.spec.criteria["brief"].args == {"most": 12}
    assert graph.spec.contexts["notes"].file == "parts/deep/notes.jsonl"
    write_graph("criteria:\n  brief: {metric: lenght_band}\n", "parts/criteria.yaml")
    assert problems(main)[0].startswith(
        "parts/criteria.yaml:2:19: criteria.brief.metric: unknown value 'lenght_band'. Did you mean 'length_band'?"
    )


def test_a_clash_names_both_places(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    write_graph("criteria:\n  brief: {metric: bleu}\n", "more.yaml")
    main = write_graph(good.replace("name: g\n", "name: g\ninclude: [more.yaml]\n"))
    (found,) = problems(main)
    assert "criteria.brief: defined in" in found
    assert "more.yaml:2:3" in found
    assert "g.yaml:8:3" in found


@pytest.mark.parametrize("target", ["../secret.yaml", "/etc/passwd", "link.yaml"])
def test_includes_may_not_leave_the_folder(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path], tmp_path: Path, target: str
) -> None:
    (tmp_path / "secret.yaml").write_text("name: stolen")
    main = write_graph(good.replace("name: g\n", f"name: g\ninclude: [{target}]\n"), "inner/g.yaml")
    if target == "link.yaml":
        (tmp_path / "inner/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (found,) = problems(main)
    assert "leaves the folder of the graph" in found
    assert "stolen" not in found


def test_include_cycles_and_missing_includes(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    write_graph("include: [b.yaml]\n", "a.yaml")
    write_graph("include: [a.yaml]\n", "b.yaml")
    main = write_graph(good.replace("name: g\n", "name: g\ninclude: [a.yaml, gone.yaml]\n"))
    found = problems(main)
    assert "b.yaml:1:11: includes form a cycle: a.yaml -> b.yaml -> a.yaml. Remove one of them." in found
    assert "g.yaml:3:19: include 'gone.yaml': no such file." in found


def test_a_file_that_includes_itself(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    (found,) = problems(write_graph(good.replace("name: g\n", "name: g\ninclude: [g.yaml]\n")))
    assert found == "g.yaml:3:11: includes form a cycle: g.yaml -> g.yaml. Remove one of them."


def test_includes_of_includes(write_graph: Callable[..., Path]) -> None:
    write_graph("contexts:\n  notes: {kind: guideline, text: hi}\n", "deep/er/b.yaml")
    write_graph("include: [er/b.yaml]\ncriteria:\n  brief: {metric: format}\n", "deep/a.yaml")
    main = write_graph(
        "format: 1\nname: g\ninclude: [deep/a.yaml]\ntasks: {t: {kind: generation, metrics: {bleu: 1}, prompt: x}}\n"
    )
    assert load_graph(main).nodes == ("t", "brief", "notes")


def test_an_included_files_head_is_checked_too(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    write_graph("name: [1]\ntitle: 5\nformat: 7\ncontexts:\nedgse: []\n", "more.yaml")
    main = write_graph(good.replace("name: g\n", "name: g\ninclude: [more.yaml]\n"))
    found = "\n".join(problems(main))
    for part in (
        "more.yaml:1:7: name:",
        "more.yaml:2:8: title:",
        "more.yaml:3:9: format: 7 is too new",
        "more.yaml:4:10: contexts: a map is expected, nothing given.",
        "more.yaml:5:1: edgse: unknown key 'edgse'. Did you mean 'edges'?",
    ):
        assert part in found


def test_paths_of_an_included_file_may_lie_elsewhere(good: str, write_graph: Callable[..., Path]) -> None:
    write_graph(
        "contexts:\n  near: {kind: passages, file: near.jsonl}\n  far: {kind: passages, file: ag_news/far.jsonl}\n",
        "sub/a.yaml",
    )
    write_graph("", "sub/near.jsonl")
    contexts = load_graph(write_graph(good.replace("name: g\n", "name: g\ninclude: [sub/a.yaml]\n"))).spec.contexts
    assert contexts["near"].file == "sub/near.jsonl"
    assert contexts["far"].file == "ag_news/far.jsonl", (
        "what is not beside the file is looked up below the root or $RAG_GRAPH_DATA"
    )


def test_edges_are_counted_in_their_own_file(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    write_graph("edges:\n  - {from: topic, to: headline, relation: supports}\n", "more.yaml")
    found = problems(
        write_graph(
            good.replace("name: g\n", "name: g\ninclude: [more.yaml]\n").replace("strength: 0.8", "strength: 8")
        )
    )
    assert found == ["g.yaml:10:67: edges[0].strength: 8 is above 1. A strength is a number from 0 to 1."]
