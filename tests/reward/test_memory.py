"""The memory of the imputer: rows keep their contexts, the oldest go first."""

from __future__ import annotations

import torch

from rag_graph.reward.batch import Batch
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.memory import Memory
from rag_graph.reward.scores import Scores


def with_contexts(rows: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values, observed = torch.rand((rows, 8), generator=generator), torch.rand((rows, 8), generator=generator) < 0.9
    scores = Scores(values, observed, torch.zeros(rows, 8), torch.zeros(rows, dtype=torch.long))
    owner = torch.randint(0, rows, (2 * rows,), generator=generator)
    return Batch(
        scores,
        Contexts(torch.rand((2 * rows, 3), generator=generator), owner, torch.rand(2 * rows, generator=generator)),
    )


def by_row(batch: Batch, row: int) -> list[list[float]]:
    mine = batch.contexts.episode == row
    return sorted(torch.cat([batch.contexts.text[mine], batch.contexts.score[mine, None]], 1).tolist())


def test_the_memory_keeps_rows_with_their_contexts_and_forgets_the_oldest() -> None:
    memory, generator = Memory(10, 4, 3), torch.Generator().manual_seed(0)
    first, second = with_contexts(7, 1), with_contexts(7, 2)
    memory.add(first, generator)
    memory.add(second, generator)
    assert len(memory) == 10
    drawn, halves = memory.draw(200, generator)
    assert halves.unique().tolist() == [0.0, 2.0]
    for row in range(len(drawn.scores.tasks)):
        matches = (second.scores.values == drawn.scores.values[row]).all(1).nonzero().flatten().tolist()
        if matches:
            assert by_row(drawn, row) == by_row(second, matches[0])
    kept = Memory(10, 4, 3)
    kept.load_state_dict(memory.state_dict())
    ends = [m.draw(6, torch.Generator().manual_seed(5)) for m in (memory, kept)]
    for one, two in zip(ends[0][0].scores, ends[1][0].scores, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(ends[0][0].contexts, ends[1][0].contexts, strict=True):
        assert torch.equal(one, two)


def test_a_memory_without_contexts_or_rows_is_no_special_case() -> None:
    memory = Memory(5, 2, 3)
    assert memory.state_dict() == {}
    memory.load_state_dict({})
    nothing = Contexts(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    memory.add(Batch(with_contexts(3, 0).scores, nothing), torch.Generator())
    assert len(memory.draw(4, torch.Generator())[0].contexts.episode) == 0
