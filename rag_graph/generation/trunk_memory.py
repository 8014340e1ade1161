"""What the frozen lower layers gave for each token: heard while answers are written, kept until the next ones are.

It depends on the tokens alone, so it is kept by them: who asks for a sequence that is not here gets it computed.

Shapes: n rows, L tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.generation.adapters import base_model
from rag_graph.generation.trunk import Trunk
from rag_graph.generation.trunk_prompts import TrunkPrompts


class TrunkMemory:
    """The activations of a trunk by the tokens of whole sequences.

    Args:
        trunk: of the model that writes the sequences.
        prompts: reads their prompts.
    """

    def __init__(self, trunk: Trunk, prompts: TrunkPrompts) -> None:
        self.trunk, self.prompts = trunk, prompts
        self._kept: dict[tuple[int, ...], Tensor] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """Drop all sequences; prompts stay."""
        self._kept.clear()

    def keep(self, ids: Sequence[int], activations: Tensor) -> None:
        """
        Args:
            ids: the tokens of a prompt and its answer.
            activations: [L, H], or [L - 1, H]: those of an answer's last token may be left out where nobody looks at them.
        """
        self._kept[tuple(ids)] = activations

    @torch.no_grad()
    def block(self, model: Any, sequences: Sequence[Sequence[int]]) -> Tensor:
        """[n, L, H] in the order of `sequences`, zeros on the right of each; those not kept are computed together and kept.

        Args:
            model: whose trunk this is.
        """
        missing = list(dict.fromkeys(ids for ids in map(tuple, sequences) if ids not in self._kept))
        if missing:
            length = max(map(len, missing))
            padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in missing], device=model.device)
            base = base_model(model)
            with self.trunk.alone(), self.trunk.heard() as heard:  # padding on the right is seen by no token
                getattr(base, base.base_model_prefix)(input_ids=padded, use_cache=False)
            for ids, activations in zip(missing, heard[0], strict=True):
                self.keep(ids, activations[: len(ids)])
        rows = [self._kept[tuple(ids)] for ids in sequences]
        found = rows[0].new_zeros(len(rows), max(map(len, sequences)), rows[0].shape[-1])
        for place, row in zip(found, rows, strict=True):
            place[: len(row)] = row
        return found
