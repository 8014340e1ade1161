"""What the tests of a frozen trunk's memory share: queries to read, a memory, and what a full pass gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rag_graph.generation.trunk import Trunk
from rag_graph.generation.trunk_memory import TrunkMemory
from rag_graph.generation.trunk_prompts import TrunkPrompts

Make = Callable[[str], Any]
QUERIES = [[5, 6, 7, 8, 9, 10, 11], [12], [5, 6, 7, 8, 9, 10, 11], [13, 14, 15], [16, 17]]
LENGTH = 8


def memory_of(model: Any, prompt_bytes: int = 0) -> TrunkMemory:
    trunk = Trunk.of(model, 1)
    assert trunk is not None
    return TrunkMemory(trunk, TrunkPrompts(trunk, model, prompt_bytes))


@torch.no_grad()
def activations(model: Any, memory: TrunkMemory, ids: list[int]) -> torch.Tensor:
    with memory.trunk.heard() as heard:
        model(input_ids=torch.tensor([ids]), use_cache=False)
    return heard[0][0]
