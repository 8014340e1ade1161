"""What the frozen lower layers gave for prompts, so that a prompt that comes again, in a later update too, is read by the layers above alone.

The trunk does not change while the top is trained, so activations, keys and values of a prompt stay right for as long as a run lasts.

Shapes: n prompts, W tokens of the longest, L of one, H hidden size, h heads, d numbers of a head, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rag_graph.generation.adapters import base_model
from rag_graph.generation.kv_cache import new_cache
from rag_graph.generation.steps import optional_inputs, step_logits
from rag_graph.generation.tokens import pad_left
from rag_graph.generation.trunk import Trunk

Prompt = tuple[int, ...]
TRIED: tuple[Prompt, Prompt] = ((1, 2, 3), (3, 1, 2))


@dataclass(frozen=True, slots=True)
class _Read:
    """One prompt: activations [L, H]; of each layer of the trunk keys and values [h, L, d]."""

    activations: Tensor
    keys: list[Tensor]
    values: list[Tensor]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(part.nbytes for part in chain([self.activations], self.keys, self.values))


class TrunkPrompts:
    """Reads prompts, and keeps what the trunk gave for them.

    Where more comes than may be kept, kept prompts give way at random: prompts come epoch after epoch, and dropping the oldest would drop just
    those that come next.

    Args:
        trunk: of the model.
        model: that reads.
        most_bytes: that are kept; 0: nothing is kept, and the model reads prompts as if this were not here. So it is where a trial on a few tokens
            shows that the model cannot go on from what is kept: some share keys between layers, or keep more than keys and values.
    """

    def __init__(self, trunk: Trunk, model: Any, most_bytes: int) -> None:
        self.trunk, self.model, self.most_bytes = trunk, model, most_bytes
        self._kept: dict[Prompt, _Read] = {}
        self._size = 0
        self._random = random.Random(0)
        if most_bytes and not self._works():
            self.most_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def read(
        self,
        prompts: Sequence[Prompt],
        known: frozenset[str],
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: DynamicCache,
    ) -> Tensor:
        """As `step_logits` on these prompts [n, W], padded on the left, with an empty cache: logits [n, V], and the cache filled.

        Args:
            prompts: different from each other, in the order of `ids`.
            known: the model's `optional_inputs`.
        """
        if not self.most_bytes or not self._fits(ids.shape[1], cache):
            return step_logits(self.model, known, ids, mask, positions, cache)
        missing = [prompt for prompt in prompts if prompt not in self._kept]
        found = {prompt: self._kept[prompt] for prompt in prompts if prompt in self._kept}
        found |= {prompt: self._through_trunk(prompt) for prompt in missing}
        rows = [found[prompt] for prompt in prompts]
        # The top first: keys in the lowest layer's cache would be taken for tokens before these.
        with self.trunk.given(_padded([row.activations for row in rows], ids.shape[1])):
            logits = step_logits(self.model, known, ids, mask, positions, cache)
        for layer in range(len(self.trunk.layers)):
            keys, values = (
                [part[layer] for part in parts] for parts in zip(*((row.keys, row.values) for row in rows), strict=True)
            )
            cache.update(_padded(keys, ids.shape[1]), _padded(values, ids.shape[1]), layer)
        for prompt in missing:
            self._keep(prompt, found[prompt])
        return logits

    def _through_trunk(self, prompt: Prompt) -> _Read:
        """Read by itself: in a batch the last bits would depend on the others, and a resumed run, which reads it beside others, would not be the same."""
        base, cache = base_model(self.model), DynamicCache(config=self.model.config)
        with self.trunk.alone(), self.trunk.heard() as heard:
            ids = torch.tensor([prompt], device=self.model.device)
            getattr(base, base.base_model_prefix)(input_ids=ids, past_key_values=cache, use_cache=True)
        layers = cache.layers[: len(self.trunk.layers)]
        return _Read(heard[0][0], [one.keys[0] for one in layers], [one.values[0] for one in layers])

    def _fits(self, width: int, cache: DynamicCache) -> bool:
        """Whether the cache keeps the keys of all tokens of prompts so long: a layer with a sliding window does not keep those before it."""
        layers = cache.layers[: len(self.trunk.layers)]
        return all(width < getattr(layer, "sliding_window", width + 1) for layer in layers)

    def _keep(self, prompt: Prompt, read: _Read) -> None:
        if read.size > self.most_bytes:
            return
        while self._size + read.size > self.most_bytes:
            self._size -= self._kept.pop(self._random.choice(list(self._kept))).size
        self._kept[prompt] = read
        self._size += read.size

    @torch.no_grad()
    def _works(self) -> bool:
        model, known = self.model, optional_inputs(self.model)
        ids, mask = pad_left(TRIED, 0, model.device)
        longer = torch.cat([mask, mask[:, -1:]], 1)
        was_training = model.training
        model.eval()
        try:
            for _ in ("computed", "kept"):
                steps = []
                for read in (partial(step_logits, model), partial(self.read, TRIED)):
                    cache = new_cache(model)
                    first = read(known, ids, mask, mask.cumsum(1) - 1, cache)
                    second = step_logits(model, known, ids[:, -1:], longer, longer.sum(1, keepdim=True) - 1, cache)
                    steps.append(torch.stack([first, second]))
                plain, kept = steps
                if not torch.allclose(plain, kept, rtol=1e-2, atol=1e-2 * float(plain.abs().max())):
                    return False
        except (TypeError, AttributeError, ValueError, RuntimeError, LookupError):
            return False
        finally:
            model.train(was_training)
            self._kept.clear()
            self._size = 0
        return True


def _padded(rows: Sequence[Tensor], width: int) -> Tensor:
    """[n, ..., W, k] from [..., L, k] each, zeros on the left."""
    return torch.stack([torch.nn.functional.pad(row, (0, 0, width - row.shape[-2], 0)) for row in rows])
