"""A prompt that comes again gives the same answers without the trunk; what is kept stays within its bound."""

from __future__ import annotations

import pytest
import torch

from rag_graph.generation.sampling import sample_responses
from tests.generation.trunk_reading import LENGTH, QUERIES, Make, activations, memory_of


def test_prompts_that_come_again_are_not_read_again_by_the_trunk(deep_family: str, deep_model: Make) -> None:
    model = deep_model(deep_family)
    queries = QUERIES if deep_family != "gemma2" else [[*query, *[3] * (7 - len(query))] for query in QUERIES]
    memory = memory_of(model, 10**7)
    noise = torch.rand((5, LENGTH), generator=torch.Generator().manual_seed(3))
    stops = list(range(20, 50))
    plain = sample_responses(model, queries, LENGTH, noise, 1.0, stops, 0, 3)
    passes: list[tuple[int, ...]] = []
    memory.trunk.layers[0].register_forward_hook(lambda layer, given, output: passes.append(tuple(given[0].shape[:2])))
    first = sample_responses(model, queries[:3], LENGTH, noise[:3], 1.0, stops, 0, 3, memory)
    assert memory.prompts.most_bytes, "this family reads prompts so"
    if deep_family.startswith("gemma"):
        # Their layers have a window of fewer tokens than these prompts: they are read as before.
        assert (len(memory.prompts), first) == (0, plain[:3])
        return
    assert len(memory.prompts) == 2
    memory.forget()
    passes.clear()
    again = sample_responses(model, queries, LENGTH, noise, 1.0, stops, 0, 3, memory)
    assert again == plain
    assert again[:3] == first
    assert len(memory.prompts) == len(set(map(tuple, queries)))
    read = [shape for shape in passes if shape[1] > 1]
    assert sum(rows for rows, _ in read) == 2 + 4, (
        "two new prompts by the trunk; the blocks of all pass through it unchanged"
    )
    sequences = [[*query, *response] for query, response in zip(queries, again, strict=True)]
    for row, ids, response in zip(memory.block(model, sequences), sequences, again, strict=True):
        seen = len(ids) - (len(response) == LENGTH)
        assert torch.allclose(row[:seen], activations(model, memory, ids)[:seen], rtol=0, atol=1e-11)


def test_kept_prompts_stay_within_their_bound(deep_model: Make) -> None:
    model = deep_model("llama")
    one = memory_of(model, 10**9)
    noise = torch.zeros((12, 1))
    sample_responses(model, [[5, 6, 7, 8]], 1, noise[:1], 1.0, [], 0, 4, one)
    size = one.prompts._size
    assert size > 0
    few = memory_of(model, 3 * size + 1)
    queries = [[number, 6, 7, 8] for number in range(5, 17)]
    bounded = sample_responses(model, queries, 1, noise, 1.0, [], 0, 4, few)
    assert len(few.prompts) == 3
    assert few.prompts._size <= 3 * size + 1
    assert bounded == sample_responses(model, queries, 1, noise, 1.0, [], 0, 4)


def test_a_model_that_cannot_go_on_from_kept_keys_reads_prompts_as_before(
    deep_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = deep_model("llama")
    monkeypatch.setattr("rag_graph.generation.trunk_prompts._padded", lambda rows, width: torch.zeros(len(rows), 1))
    memory = memory_of(model, 10**9)
    noise = torch.zeros((1, 2))
    assert sample_responses(model, [[5, 6]], 2, noise, 1.0, [], 0, 1, memory) == sample_responses(
        model, [[5, 6]], 2, noise, 1.0, [], 0, 1
    )
    assert memory.prompts.most_bytes == 0


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
def test_prompts_shorter_than_a_sliding_window_are_kept(name: str, deep_model: Make) -> None:
    model = deep_model(name)
    memory, queries = memory_of(model, 10**7), [[5, 6], [7, 8], [5, 6]]
    noise = torch.rand((3, LENGTH), generator=torch.Generator().manual_seed(3))
    plain = sample_responses(model, queries, LENGTH, noise, 1.0, [], 0, 3)
    assert sample_responses(model, queries, LENGTH, noise, 1.0, [], 0, 3, memory) == plain
    assert len(memory.prompts) == 2
    memory.forget()
    assert sample_responses(model, queries, LENGTH, noise, 1.0, [], 0, 3, memory) == plain, "beyond the window too"
