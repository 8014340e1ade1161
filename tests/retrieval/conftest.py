"""Passages for tests of indexes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from rag_graph.records import ContextNode

CITIES = ["Oslo", "Lima", "Köln", "New Port", "Red Hill"]


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="session")
def made_passages() -> Callable[..., list[ContextNode]]:
    """count, seed = 0 -> passages that name each other's titles, share names and link to earlier ones."""

    def make(count: int, seed: int = 0) -> list[ContextNode]:
        rng = random.Random(seed)
        passages = []
        for place in range(count):
            city, other = rng.choice(CITIES), rng.choice(CITIES)
            title = city if place < len(CITIES) and city not in {p.title for p in passages} else f"Kettle {place}"
            named = rng.choice(passages).title if passages and rng.random() < 0.5 else other
            text = f"the {rng.choice(['red', 'blue', 'green'])} kettle from {other} . see {named} , made by Anna {rng.choice('ABC')}olm"
            links = (rng.choice(passages).id,) if passages and rng.random() < 0.3 else ()
            passages.append(ContextNode(f"p{place}", "", title, text, "", links))
        return passages

    return make
