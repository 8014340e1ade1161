"""Folders in the layout of BEIR: as passages and questions, and as the data set of a task."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rag_graph.config import DataConfig
from rag_graph.data.beir import beir_rows, corpus_of, is_beir, is_qrels
from rag_graph.data.files import find_file
from rag_graph.data.load import load_data
from rag_graph.data.passages import Query, read_passages, read_queries
from rag_graph.errors import DataError
from rag_graph.graph import load_graph

CORPUS = [
    {"_id": "MED-10", "title": "Kettles", "text": "The kettle is red.", "metadata": {}},
    {"_id": "MED-14", "title": "Radios", "text": "", "metadata": {}},
]
QUERIES = [{"_id": f"PLAIN-{n}", "text": f"question {n} ?", "metadata": {}} for n in range(4)]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CORPUS))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUERIES))
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nPLAIN-0\tMED-10\t2\nPLAIN-1\tMED-14\t1\n")
    (folder / "qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nPLAIN-3\tMED-14\t1\nPLAIN-3\tMED-10\t1\nPLAIN-2\tMED-10\t0\n"
    )
    return folder


def test_passages_and_judged_questions(beir: Path) -> None:
    assert [(p.id, p.title, p.text) for p in read_passages(beir)] == [
        ("MED-10", "Kettles", "The kettle is red."),
        ("MED-14", "Radios", "Radios"),
    ]
    assert read_queries(beir) == [
        Query("PLAIN-2", "question 2 ?"),
        Query("PLAIN-3", "question 3 ?", ("MED-14", "MED-10")),
    ]
    assert [q.id for q in read_queries(beir / "qrels/train.tsv")] == ["PLAIN-0", "PLAIN-1"]


def test_lines_of_trec_and_packed_files(beir: Path) -> None:
    (beir / "qrels/dev.tsv").write_text("PLAIN-1 0 MED-10 1\n\nPLAIN-1 0 MED-14 0\n")
    (beir / "corpus.jsonl.gz").write_bytes(gzip.compress((beir / "corpus.jsonl").read_bytes()))
    (beir / "corpus.jsonl").unlink()
    assert corpus_of(beir) == beir / "corpus.jsonl.gz"
    assert len(read_passages(beir)) == 2
    assert read_queries(beir / "qrels/dev.tsv") == [Query("PLAIN-1", "question 1 ?", ("MED-10",))]


def test_what_is_wrong_is_named(beir: Path, tmp_path: Path) -> None:
    (beir / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nPLAIN-9\tMED-10\t1\n")
    with pytest.raises(DataError, match=r"dev\.tsv:2: the query 'PLAIN-9' is not in .*queries\.jsonl"):
        list(beir_rows(beir / "qrels/dev.tsv"))
    (beir / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nPLAIN-1\tMED-10\n")
    with pytest.raises(DataError, match=r"dev\.tsv:2: not a line of qrels: a query, a passage and a score"):
        list(beir_rows(beir / "qrels/dev.tsv"))
    with pytest.raises(
        DataError,
        match=r"valid\.tsv: no such file: .* It has: dev\.tsv, test\.tsv, train\.tsv\. Name one, such as tiny/qrels/dev\.tsv",
    ):
        list(beir_rows(beir, "valid"))
    with pytest.raises(
        DataError, match=r"a folder, and not one in the layout of BEIR .* goes under 'hub:' in place of 'path:'"
    ):
        corpus_of(tmp_path)
    with pytest.raises(DataError, match="a folder, and not one in the layout of BEIR"):
        find_file(".", tmp_path)
    assert is_beir(beir)
    assert not is_beir(tmp_path)
    assert is_qrels(beir / "qrels/test.tsv")
    assert not is_qrels(beir / "queries.jsonl")


GRAPH = """\
format: 1
name: g
tasks:
  answer:
    kind: generation
    goal: 1
    dataset: {path: tiny}
    fields: {input: text, supporting: supporting_ids}
    metrics: {faithfulness: 1}
    prompt: "{context} {input}"
contexts:
  corpus: {kind: passages, file: tiny}
edges:
  - {from: corpus, to: answer, relation: grounds}
"""


def test_the_folder_is_the_data_set_of_a_task(beir: Path, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(GRAPH)
    data = load_data(load_graph(tmp_path / "g.yaml"), DataConfig(), seed=0)
    assert sorted((e.id, e.text, e.supporting) for e in data.train) == [
        ("answer/PLAIN-0", "question 0 ?", ("MED-10",)),
        ("answer/PLAIN-1", "question 1 ?", ("MED-14",)),
    ]
    assert sorted((e.id, e.supporting) for e in data.test) == [
        ("answer/PLAIN-2", ()),
        ("answer/PLAIN-3", ("MED-14", "MED-10")),
    ]
    assert [node.id for node in data.contexts["test"]] == ["corpus/MED-10", "corpus/MED-14"]
    assert data.notes == [], "a task that reads no reference misses none"
    (tmp_path / "g.yaml").write_text(GRAPH.replace("{path: tiny}", "{path: tiny, test: tiny/qrels/train.tsv}"))
    again = load_data(load_graph(tmp_path / "g.yaml"), DataConfig(), seed=0)
    assert sorted(e.id for e in again.test) == ["answer/PLAIN-0", "answer/PLAIN-1"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv"])
def test_a_link_in_a_folder_leads_nowhere_else(beir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("RAG_GRAPH_DATA", raising=False)
    outside = beir.parent / "outside"
    outside.mkdir()
    (beir / name).rename(outside / "moved")
    (beir / name).symlink_to(outside / "moved")
    root = beir.parent / "graph"
    beir.rename(root)  # the graph lies beside the folder's files
    for stated in (".", "qrels/test.tsv"):
        with pytest.raises(DataError, match=f"{Path(name).name}' is .*moved, outside the folder of the graph"):
            find_file(stated, root)
    monkeypatch.setenv("RAG_GRAPH_DATA", str(outside))
    assert find_file(".", root) == root
