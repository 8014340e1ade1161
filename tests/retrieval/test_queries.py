"""Many queries against an index: what is found, written and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_graph.data.passages import Query
from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.queries import check_supporting, measure_rankings, rank_queries, write_rankings

TEXTS = {"a": "red kettle", "b": "red mixer", "c": "blue kettle", "d": "green hose"}
QUERIES = [Query("1", "red kettle", ("a", "b")), Query("2", "hose", ("d",)), Query("3", "mixer")]


@pytest.fixture(scope="module")
def index() -> PassageIndex:
    return PassageIndex([ContextNode(name, "", "", text) for name, text in TEXTS.items()])


def test_ranked_written_and_measured(index: PassageIndex, tmp_path: Path) -> None:
    retriever = index.retriever("bm25")
    rankings = rank_queries(index, retriever, QUERIES * 50, 3)
    assert len(rankings) == 150, "more than one batch"
    assert rankings[0].ids[0] == "a"
    assert set(rankings[0].ids) == {"a", "b", "c"}
    assert rankings[1].ids == ("d",)
    (hits,) = retriever.search(["red kettle"], 3)
    assert rankings[0].scores == tuple(hit.score for hit in hits)
    assert rankings[0].why[0] == {"bm25": round(hits[0].score, 6)}
    write_rankings(tmp_path / "r.jsonl", rankings[:3], {"k": 3})
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["ids"] == ["d"]
    assert json.loads((tmp_path / "r.settings.json").read_text()) == {"k": 3}
    count, scores = measure_rankings(rankings[:3], 3)
    assert count == 2, "of the queries that name passages"
    assert [score.k for score in scores] == [1, 2, 3]
    assert scores[0].recall.mean == 0.75
    assert scores[0].all_gold.mean == 0.5
    assert scores[2].recall.mean == scores[2].all_gold.mean == 1.0
    _, many = measure_rankings(rankings, 3)
    assert many[0].recall == pytest.approx(scores[0].recall), "the same two questions 50 times: two units"


def test_an_unknown_passage_is_named(index: PassageIndex) -> None:
    check_supporting(QUERIES, index)
    with pytest.raises(DataError, match="query '9': its supporting id 'aa' is no passage of the pool"):
        check_supporting([Query("9", "x", ("aa",))], index)
    with pytest.raises(DataError, match="no query has 'supporting_ids'"):
        measure_rankings(rank_queries(index, index.retriever("bm25"), QUERIES[2:], 2), 2)
