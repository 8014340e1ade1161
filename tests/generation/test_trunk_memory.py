"""What a trunk gave while answers were written is what a full pass gives; it is kept by tokens, and computed where it is not there."""

from __future__ import annotations

import torch

from rag_graph.generation.sampling import sample_responses
from tests.generation.trunk_reading import LENGTH, QUERIES, Make, activations, memory_of


def test_what_was_heard_while_sampling_is_what_a_full_pass_gives(deep_family: str, deep_model: Make) -> None:
    model = deep_model(deep_family)
    # Gemma 2's attention takes its softmax in float32, and makes NaN of rows that are all padding where the model is in float64.
    exact = deep_family != "gemma2"
    queries = QUERIES if exact else [[*query, *[3] * (7 - len(query))] for query in QUERIES]
    memory = memory_of(model)
    noise = torch.rand((5, LENGTH), generator=torch.Generator().manual_seed(3))
    stops = list(range(20, 50))  # answers of many lengths: rows are dropped from the cache
    plain = sample_responses(model, queries, LENGTH, noise, 1.0, stops, 0, 3)
    responses = sample_responses(model, queries, LENGTH, noise, 1.0, stops, 0, 3, memory)
    assert responses == plain
    lengths = {len(response) for response in responses}
    assert len(lengths) > 1
    sequences = [[*query, *response] for query, response in zip(queries, responses, strict=True)]
    assert len(memory) == len({tuple(ids) for ids in sequences})
    with memory.trunk.heard() as heard:
        block = memory.block(model, sequences)
    assert heard == [], "nothing is computed again"
    for row, ids, response in zip(block, sequences, responses, strict=True):
        known = len(ids) - (len(response) == LENGTH)  # nobody looks at the last token of an answer that was cut
        assert torch.allclose(
            row[:known], activations(model, memory, ids)[:known], rtol=0, atol=1e-11 if exact else 1e-5
        )
        assert not row[len(ids) :].any()


def test_sequences_that_are_not_there_are_computed_once(deep_model: Make) -> None:
    model = deep_model("llama")
    memory = memory_of(model)
    sequences = [[5, 6, 7], [8], [5, 6, 7], [9, 10]]
    with memory.trunk.heard() as heard:
        block = memory.block(model, sequences)
        assert torch.equal(memory.block(model, sequences), block)
    assert [tuple(one.shape[:2]) for one in heard] == [(3, 3)]
    for row, ids in zip(block, sequences, strict=True):
        assert torch.allclose(row[: len(ids)], activations(model, memory, ids), rtol=0, atol=1e-12)
    memory.forget()
    assert len(memory) == 0


def test_a_prompt_that_is_answered_several_times_is_read_once(deep_model: Make) -> None:
    model = deep_model("gemma3_text")
    read: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda module, given, named: read.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    noise = torch.rand((8, 4), generator=torch.Generator().manual_seed(1))
    queries = [[5, 6, 7, 8, 9, 10]] * 3 + [[11, 12]] * 4 + [[13]]
    together = sample_responses(model, queries, 4, noise, 1.0, [], 0, 8)
    assert read[0] == (3, 6)
    assert read[1:] == [(8, 1)] * 3
    alone = [
        sample_responses(model, [query], 4, noise[row, None], 1.0, [], 0, 1)[0] for row, query in enumerate(queries)
    ]
    assert together == alone
    assert together[0] != together[1], "each answer has its own random numbers"
