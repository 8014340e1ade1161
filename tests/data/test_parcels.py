"""The data set that is made here: its answers follow from its texts, its splits differ, the seed decides."""

from __future__ import annotations

import pytest

from rag_graph.data.parcels import CITIES, archive, make_parcels


def test_parcels_answers_follow_from_passage_and_archive() -> None:
    records = {node.title: node.text for node in archive("train")}
    origins = 0
    for demonstration in make_parcels("train", 200, seed=1):
        example, answer = demonstration.example, demonstration.example.references[0]
        if example.id.endswith("origin"):
            product, _, city = answer.split()
            origins += 1
            assert city in CITIES
            assert city not in example.inputs["input"], "the city stands in the archive only"
            assert any(text.endswith(f"from {city} .") and product in text for text in records.values())
        elif example.task == "question":
            assert answer in example.inputs["input"].split()
        elif example.task == "summary":
            assert len(answer.split()) == 3
    assert origins == 200


def test_parcels_splits_share_no_passage_and_no_fact() -> None:
    train = {d.example.inputs["input"] for d in make_parcels("train", 500, seed=0)}
    test = {d.example.inputs["input"] for d in make_parcels("test", 500, seed=0)}
    assert len(train & test) < 5
    cities = [[node.text.split()[-2] for node in archive(split)] for split in ("train", "test")]
    same = sum(a == b for a, b in zip(*cities, strict=True)) / len(cities[0])
    assert same == pytest.approx(1 / len(CITIES), abs=0.03)


def test_parcels_are_determined_by_the_seed() -> None:
    assert list(make_parcels("train", 5, 3)) == list(make_parcels("train", 5, 3))
    assert list(make_parcels("train", 5, 3)) != list(make_parcels("train", 5, 4))


def test_the_weak_heuristic_is_wrong_on_hard_items_only_sometimes() -> None:
    demonstrations = list(make_parcels("train", 400, 0))
    hard = sum(d.hard for d in demonstrations) / len(demonstrations)
    assert 0.2 < hard < 0.5
