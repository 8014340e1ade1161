"""The reader: every problem at once, each at its place, with near misses. Golden messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import load_graph
from rag_graph.graph.reader import check_graph, find_graph, shipped_graphs

GOOD = """\
format: 1
name: g
tasks:
  topic: {kind: classification, labels: [a, b], metrics: {accuracy: 1.0}, prompt: "{input}", fields: {input: text, reference: label}}
  headline: {kind: generation, metrics: {rouge_l: 1.0}, prompt: "{input}", fields: {input: text, reference: title}}
criteria:
  brief: {metric: length_band, args: {most: 12}, applies_to: [headline]}
edges:
  - {from: brief, to: headline, relation: prerequisite, strength: 0.8}
"""


def problems(path: Path) -> list[str]:
    graph, found = check_graph(path)
    assert (graph is None) == bool(found)
    return [str(problem).replace(f"{path.parent}/", "") for problem in found]


def test_a_good_file_becomes_arrays(write_graph: Callable[..., Path]) -> None:
    graph = load_graph(write_graph(GOOD))
    assert graph.nodes == ("topic", "headline", "brief")
    assert graph.edge_index.tolist() == [[2], [1]]
    assert graph.relation_names[graph.relation[0]] == "prerequisite"
    assert graph.strength.tolist() == pytest.approx([0.8])
    assert graph.applies("brief", "headline")
    assert not graph.applies("brief", "topic")


def test_all_problems_at_once_sorted_by_place(write_graph: Callable[..., Path]) -> None:
    path = write_graph(
        """\
format: 1
name: g
tasks:
  topic: {kind: clasification, labels: [a, b], metrics: {acuracy: 1.0}, prompt: "{inptu}", fields: {input: text, reference: label}}
  headline: {kind: generation, metrics: {rouge_l: 1.0}, prompt: "{input}", fields: {input: text}, dataset: {path: x, hub: y}, gaol: 1}
criteria:
  brief: {metric: length_band, args: {moist: 12}, applies_to: [headlin]}
edges:
  - {from: brief, to: headline, relation: prequisite, strength: 0.8}
  - {from: brief, to: headline, relation: supports, strength: 1.7}
  - {from: breif, to: topic, relation: supports}
  - {from: topic, to: topic, relation: supports}
  - {from: topic, to: headline, relation: grounds}
  - {from: brief, to: headline}
"""
    )
    assert problems(path) == [
        "g.yaml:4:17: tasks.topic.kind: unknown value 'clasification'. Did you mean 'classification'? Known: classification, generation, extraction.",
        "g.yaml:4:58: tasks.topic.metrics.acuracy: unknown value 'acuracy'. Did you mean 'accuracy'? Known: accuracy, bleu, exact_match, external, faithfulness, format, label_preserved, length_band, macro_f1, rouge_1, rouge_2, rouge_l, token_f1.",
        "g.yaml:4:81: tasks.topic.prompt: unknown placeholder '{inptu}'. Did you mean 'input'? Known here: context, input, labels.",
        "g.yaml:5:84: tasks.headline.fields: no 'reference': name the column that contains the correct answer.",
        "g.yaml:5:108: tasks.headline.dataset: exactly one of path, hub, name is needed, path and hub given.",
        "g.yaml:5:127: tasks.headline.gaol: unknown key 'gaol'. Did you mean 'goal'?",
        "g.yaml:7:39: criteria.brief.args.moist: metric 'length_band' has no argument 'moist'. Did you mean 'most'? It takes least, most.",
        "g.yaml:7:64: criteria.brief.applies_to[0]: unknown task 'headlin'. Did you mean 'headline'?",
        "g.yaml:9:43: edges[0].relation: unknown relation 'prequisite'. Did you mean 'prerequisite'?",
        "g.yaml:10:63: edges[1].strength: 1.7 is above 1. A strength is a number from 0 to 1.",
        "g.yaml:11:12: edges[2].from: unknown node 'breif'. Did you mean 'brief'?",
        "g.yaml:12:23: edges[3].to: 'topic' is related to itself. An edge joins two nodes.",
        "g.yaml:13:12: edges[4].from: 'topic' is a task; 'grounds' starts from a context.",
        "g.yaml:14:5: edges[5].relation: 'relation' is missing.",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format: 1", "format: 7"), r"g.yaml:1:9: format: 7 is too new for this package \(rag_graph .* reads format 1\). Upgrade rag_graph."),
        (("format: 1", "format: one"), r"g.yaml:1:9: format: 'one' is not a format. Write 'format: 1'."),
        (("format: 1\n", ""), r"g.yaml:1:1: format: 'format' is missing."),
        (("name: g", "name: 9 lives"), r"g.yaml:2:7: name: '9 lives' is not a name."),
        (("  brief:", "  topic:"), r"g.yaml:7:3: criteria.topic: 'topic' is also a name in tasks."),
        (("strength: 0.8", "strength: strong"), r"g.yaml:9:67: edges\[0\].strength: input should be a valid number.*'strong' given."),
        (("strength: 0.8", "strength: .nan"), r"g.yaml:9:67: edges\[0\].strength: input should be a finite number, nan given."),
        (("kind: classification, labels: [a, b]", "kind: classification"), r"g.yaml:4:17: tasks.topic.kind: a classification task needs 'labels'."),
        (("metric: length_band, args: {most: 12}", "metric: length_band"), r"g.yaml:7:19: criteria.brief.metric: 'length_band' needs args"),
        (("metric: length_band, args: {most: 12}", 'metric: format, args: {pattern: "("}'), r"g.yaml:7:34: criteria.brief.args.pattern: not a regular expression"),
        (("metric: length_band, args: {most: 12}", "metric: label_preserved, of: headline"), r"criteria.brief.of: 'headline' is not a classification task"),
        (("edges:\n", "edges:\n  - {from: brief, to: headline, relation: prerequisite}\n"), r"g.yaml:10:5: edges\[1\]: stated twice: edges\[0\] says brief prerequisite headline too."),
        (("edges:", "egdes:"), r"g.yaml:8:1: egdes: unknown key 'egdes'. Did you mean 'edges'\?"),
        (("criteria:\n", "criteria:\n  brief: {metric: bleu}\n"), r"g.yaml:8:3: criteria.brief: stated twice, first on line 7. Keep one."),
    ],
)  # fmt: skip
def test_messages(write_graph: Callable[..., Path], change: tuple[str, str], message: str) -> None:
    import re

    assert change[0] in GOOD
    found = problems(write_graph(GOOD.replace(*change, 1)))
    assert any(re.match(message, line) or re.search(message, line) for line in found), found


def test_yaml_words_stay_words(write_graph: Callable[..., Path]) -> None:
    text = GOOD.replace("labels: [a, b]", "labels: [no, on]").replace("strength: 0.8", "strength: 5e-1")
    graph = load_graph(write_graph(text))
    assert graph.spec.tasks["topic"].label_words == ("no", "on")
    assert graph.strength.tolist() == [0.5]


def test_includes_merge_and_know_their_files(write_graph: Callable[..., Path]) -> None:
    write_graph("criteria:\n  brief: {metric: length_band, args: {most: 12}}\n", "parts/criteria.yaml")
    write_graph("contexts:\n  notes: {kind: passages, file: notes.jsonl}\n", "parts/deep/contexts.yaml")
    write_graph("", "parts/deep/notes.jsonl")
    main = write_graph(
        GOOD.replace(
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


def test_a_clash_names_both_places(write_graph: Callable[..., Path]) -> None:
    write_graph("criteria:\n  brief: {metric: bleu}\n", "more.yaml")
    main = write_graph(GOOD.replace("name: g\n", "name: g\ninclude: [more.yaml]\n"))
    (found,) = problems(main)
    assert "criteria.brief: defined in" in found
    assert "more.yaml:2:3" in found
    assert "g.yaml:8:3" in found


@pytest.mark.parametrize("target", ["../secret.yaml", "/etc/passwd", "link.yaml"])
def test_includes_may_not_leave_the_folder(write_graph: Callable[..., Path], tmp_path: Path, target: str) -> None:
    (tmp_path / "secret.yaml").write_text("name: stolen")
    main = write_graph(GOOD.replace("name: g\n", f"name: g\ninclude: [{target}]\n"), "inner/g.yaml")
    if target == "link.yaml":
        (tmp_path / "inner/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (found,) = problems(main)
    assert "leaves the folder of the graph" in found
    assert "stolen" not in found


def test_include_cycles_and_missing_includes(write_graph: Callable[..., Path]) -> None:
    write_graph("include: [b.yaml]\n", "a.yaml")
    write_graph("include: [a.yaml]\n", "b.yaml")
    main = write_graph(GOOD.replace("name: g\n", "name: g\ninclude: [a.yaml, gone.yaml]\n"))
    found = problems(main)
    assert "b.yaml:1:11: includes form a cycle: a.yaml -> b.yaml -> a.yaml. Remove one of them." in found
    assert "g.yaml:3:19: include 'gone.yaml': no such file." in found


def test_a_file_that_includes_itself(write_graph: Callable[..., Path]) -> None:
    (found,) = problems(write_graph(GOOD.replace("name: g\n", "name: g\ninclude: [g.yaml]\n")))
    assert found == "g.yaml:3:11: includes form a cycle: g.yaml -> g.yaml. Remove one of them."


def test_shipped_graphs_are_found_by_name() -> None:
    assert set(shipped_graphs()) == {"parcels", "news", "four_tasks"}
    for name in shipped_graphs():
        assert load_graph(name).name == name
    with pytest.raises(GraphFileError, match=r"no shipped graph of that name. Did you mean 'parcels'\?"):
        find_graph("parcel")


def test_strengths_change_in_a_new_graph_only() -> None:
    graph = load_graph("parcels")
    changed = graph.with_strengths([0.25] * len(graph.spec.edges))
    assert set(changed.strength.tolist()) == {0.25}
    assert graph.strength[0] == pytest.approx(0.9)
    assert changed != graph
    with pytest.raises(ValueError, match="a strength is a number from 0 to 1"):
        graph.with_strengths([2.0] * len(graph.spec.edges))


def test_includes_of_includes(write_graph: Callable[..., Path]) -> None:
    write_graph("contexts:\n  notes: {kind: guideline, text: hi}\n", "deep/er/b.yaml")
    write_graph("include: [er/b.yaml]\ncriteria:\n  brief: {metric: format}\n", "deep/a.yaml")
    main = write_graph(
        "format: 1\nname: g\ninclude: [deep/a.yaml]\ntasks: {t: {kind: generation, metrics: {bleu: 1}, prompt: x}}\n"
    )
    assert load_graph(main).nodes == ("t", "brief", "notes")


def test_an_included_files_head_is_checked_too(write_graph: Callable[..., Path]) -> None:
    write_graph("name: [1]\ntitle: 5\nformat: 7\ncontexts:\nedgse: []\n", "more.yaml")
    main = write_graph(GOOD.replace("name: g\n", "name: g\ninclude: [more.yaml]\n"))
    found = "\n".join(problems(main))
    for part in (
        "more.yaml:1:7: name:",
        "more.yaml:2:8: title:",
        "more.yaml:3:9: format: 7 is too new",
        "more.yaml:4:10: contexts: a map is expected, nothing given.",
        "more.yaml:5:1: edgse: unknown key 'edgse'. Did you mean 'edges'?",
    ):
        assert part in found


def test_a_linked_main_file_and_impossible_paths(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    real = write_graph(GOOD, "real/g.yaml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link.yaml").symlink_to(real)
    assert load_graph(tmp_path / "other/link.yaml").name == "g"
    found = problems(write_graph(GOOD.replace("name: g\n", f"name: g\ninclude: [{'x' * 300}]\n").replace("0.8", "1.8")))
    assert any("no such file" in line for line in found)
    assert any("1.8 is above 1" in line for line in found), "one bad include hides nothing"
    with pytest.raises(GraphFileError, match="no such file, and no shipped graph"):
        load_graph("x" * 5000)


def test_paths_of_an_included_file_may_lie_elsewhere(write_graph: Callable[..., Path]) -> None:
    write_graph(
        "contexts:\n  near: {kind: passages, file: near.jsonl}\n  far: {kind: passages, file: ag_news/far.jsonl}\n",
        "sub/a.yaml",
    )
    write_graph("", "sub/near.jsonl")
    contexts = load_graph(write_graph(GOOD.replace("name: g\n", "name: g\ninclude: [sub/a.yaml]\n"))).spec.contexts
    assert contexts["near"].file == "sub/near.jsonl"
    assert contexts["far"].file == "ag_news/far.jsonl", (
        "what is not beside the file is looked up below the root or $RAG_GRAPH_DATA"
    )


def test_names_that_look_like_types(write_graph: Callable[..., Path]) -> None:
    path = write_graph(
        "format: 1\nname: g\ntasks:\n  str: {kind: generation, metrics: {rougel: 1}, prompt: x}\n  int: {kind: generation, metrics: {bleu: 1}, prompt: x, fields: {float: 5}}\n"
    )
    found = problems(path)
    assert found[0].startswith("g.yaml:4:37: tasks.str.metrics.rougel: unknown value 'rougel'. Did you mean 'rouge_l'?")
    assert any(line.startswith("g.yaml:5:") and ": tasks.int.fields.float: " in line for line in found)


def test_edges_are_counted_in_their_own_file(write_graph: Callable[..., Path]) -> None:
    write_graph("edges:\n  - {from: topic, to: headline, relation: supports}\n", "more.yaml")
    found = problems(
        write_graph(
            GOOD.replace("name: g\n", "name: g\ninclude: [more.yaml]\n").replace("strength: 0.8", "strength: 8")
        )
    )
    assert found == ["g.yaml:10:67: edges[0].strength: 8 is above 1. A strength is a number from 0 to 1."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("strength: 0.8", "strength: true"), "edges\\[0\\].strength: input should be a valid number"),
        (("strength: 0.8", "strength: '0.5'"), "edges\\[0\\].strength: input should be a valid number"),
        (("labels: [a, b]", "labels: a"), "labels: a list of labels, or a map from the data's value to the word, is expected"),
        (("{rouge_l: 1.0}", "{label_preserved: 1.0}"), "'label_preserved' takes arguments: make it a criterion"),
        (("{most: 12}", "{least: 9, most: 2}"), "least 9 and most 2: no length is between them"),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "hi", fields: {input: text, reference: title}'), "the prompt shows no field"),
        (("{input: text, reference: title}", "{input: text, context: c, reference: title}"), "'context' is filled by the prompt itself"),
        (("name: g", "name: g\nrelations: {r: {semantics: gate, source: []}}"), "relations.r.source: tuple should have at least 1 item"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused(
    write_graph: Callable[..., Path], change: tuple[str, str], message: str
) -> None:
    import re

    assert change[0] in GOOD
    found = problems(write_graph(GOOD.replace(*change, 1)))
    assert len(found) == 1, found
    assert re.search(message, found[0]), found


def test_problems_print_safely(write_graph: Callable[..., Path]) -> None:
    found = problems(write_graph(GOOD + '"a\\e[2J\\nc.yaml:1:1: forged": 1\n' + f"title: {'x' * 50_000}\nname: h\n"))
    assert all("\x1b" not in line and "\n" not in line and len(line) < 1000 for line in found)
    assert "\\x1b[2J\\nc.yaml" in found[0]


def test_many_labels_and_misspelt_names_stay_quick(write_graph: Callable[..., Path]) -> None:
    labels = ", ".join(f"label{i}" for i in range(20_000))
    nodes = "".join(f"  c{i}: {{metric: format}}\n" for i in range(1000))
    edges = "".join(f"  - {{from: c{i}x, to: t, relation: supports}}\n" for i in range(1000))
    path = write_graph(
        f"format: 1\nname: g\ntasks: {{t: {{kind: classification, labels: [{labels}], metrics: {{accuracy: 1}}, prompt: x}}}}\ncriteria:\n{nodes}edges:\n{edges}"
    )
    began = time.process_time()  # not the clock: other processes may take their share
    assert len(problems(path)) == 1000
    assert time.process_time() - began < 60, "checks that are quadratic in the labels take minutes"
