"""Episodes and evaluations as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rag_graph.evaluation.evaluate import Evaluation
from rag_graph.records import ContextNode, Episode, Evidence, Example, Item, NodeRewards
from rag_graph.reward.rubric import ItemPay
from rag_graph.runs.recording import episode_record, item_record, paid_records, write_evaluation


def test_what_each_node_paid_was_filled_in_and_gated() -> None:
    rewards = NodeRewards(
        ("a", "b", "c"),
        values=torch.tensor([[1.0, 2.0, 3.0]]),
        observed=torch.tensor([[True, False, False]]),
        weights=torch.tensor([[0.5, 0.25, 0.0]]),
        scores=torch.tensor([[1.0, 0.75, 0.5]]),
        gates=torch.tensor([[1.0, 0.5, 0.25]]),
        paid=torch.tensor([True]),
    )
    (record,) = paid_records(rewards)
    assert record == {"reward": 1.0, "paid": {"a": 0.5, "b": 0.5}, "imputed": {"b": 0.75}, "gates": {"b": 0.5}}


def test_an_episode_names_its_evidence_by_id() -> None:
    piece = Evidence(ContextNode("p1", "archive", "title", "text"), 1 / 3, 1, {"bm25": 2.0}, "why")
    example = Example("e1", "topic", {"input": "x"}, ("kitchen",))
    record = episode_record(
        Episode("1/e1", example, "p", "r", evidence=(piece,), scores={"topic": 1 / 3}, reserved={"topic": 2 / 3})
    )
    assert record["evidence"] == [{"id": "p1", "rank": 1, "score": 0.333333, "scores": {"bm25": 2.0}, "reason": "why"}]
    assert (record["scores"], record["reserved"]) == ({"topic": 0.3333}, {"topic": 0.6667})
    assert (record["task"], record["references"]) == ("topic", ["kitchen"])
    assert json.loads(json.dumps(record)) == record


def test_items_of_a_rubric_are_recorded_with_what_is_known_of_them() -> None:
    items = (Item("names oslo", 3.0, "City"), Item("is rude", -1.0))
    example = Example("e1", "t", {"input": "x"}, items={"rubric": items})
    episode = Episode("1/e1", example, "p", "r", item_scores={"rubric": (1 / 3, None)})
    told = {"criterion": "names oslo", "weight": 3.0, "title": "City", "score": 0.3333}
    assert episode_record(episode)["items"] == {"rubric": [told, {"criterion": "is rude", "weight": -1.0}]}
    assert "items" not in episode_record(Episode("1/e1", example, "p", "r"))
    paid = {"rubric": [ItemPay("names oslo", 3.0, "City", 1 / 3, 2 / 3)]}
    assert item_record(paid) == {"items": {"rubric": [{**told, "paid": 0.6667}]}}
    assert item_record({}) == {}


def test_an_evaluation_never_writes_over_another(tmp_path: Path) -> None:
    found = Evaluation(
        results=(), episodes=(), task_scores={"topic": [0.0, 1.0, 0.5]}, units={"topic": ["a", "b", "c"]}
    )
    names = [write_evaluation(found, tmp_path / "e", None, "topic", False, None).path for _ in range(2)]
    assert names == [tmp_path / "e/test-topic-no_retrieval-1.json", tmp_path / "e/test-topic-no_retrieval-2.json"]
    record = json.loads((tmp_path / "e/test-topic-no_retrieval-1.json").read_text())
    assert record["mean_task_score"]["mean"] == pytest.approx(0.5)
    assert record["task_scores"] == {"topic": pytest.approx(0.5)}
    assert (record["data"], record["with_retrieval"]) == ("held-out part", False)
