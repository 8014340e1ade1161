"""Demonstrations: groups of prompts with right or weak answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rag_graph.config import DataConfig
from rag_graph.data.load import load_data
from rag_graph.data.prompts import render_prompt
from rag_graph.generation.tokens import answer_ids, encode_prompts
from rag_graph.graph import load_graph
from rag_graph.runs.demonstrations import demonstration_batches

GRAPH = load_graph("parcels")
DATA = load_data(GRAPH, DataConfig(train=16, test=8), 0)


@pytest.mark.parametrize("weak", [0.0, 1.0])
def test_the_answer_is_the_reference_or_the_weak_one(tiny_model: Callable[[int], Any], weak: float) -> None:
    _, tokenizer = tiny_model(0)
    batch = demonstration_batches(GRAPH, DATA, None, tokenizer, weak, len(DATA.groups), 400, seed=0)(1)
    expected = []
    for group in DATA.groups:
        for example, heuristic in group:
            text = render_prompt(GRAPH.spec.tasks[example.task], example, ())
            (prompt,) = encode_prompts(tokenizer, [text], 400)
            weak_answer = heuristic if weak and heuristic is not None else example.references[0]
            expected.append((prompt, answer_ids(tokenizer, [weak_answer])[0]))
    found = [pair for group in batch for pair in group]
    assert sorted(found) == sorted(expected)
    if weak:
        assert any(
            heuristic not in (None, example.references[0]) for group in DATA.groups for example, heuristic in group
        )


def test_the_same_seed_draws_the_same_groups(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(0)
    one, two, other = (demonstration_batches(GRAPH, DATA, None, tokenizer, 0.5, 4, 96, seed=seed) for seed in (0, 0, 1))
    first = [one(step) for step in range(3)]
    assert [len(groups) for groups in first] == [4, 4, 4]
    assert first == [two(step) for step in range(3)]
    assert first != [other(step) for step in range(3)]
