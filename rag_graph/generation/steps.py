"""One step of generation: the tokens of a step through a model with a cache of keys and values.

Shapes: V tokens in the vocabulary.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rag_graph.generation.adapters import base_model
from rag_graph.generation.kv_cache import new_cache
from rag_graph.generation.tokens import pad_left


@torch.no_grad()
def decodes_step_by_step(model: Any) -> bool:
    """Whether a step with this loop's cache and positions gives what a full forward pass gives, and rows can be dropped.

    Probed on a few tokens and remembered with the model: caches of state-space models know no rows, some models count positions in their
    own way. Those are left to transformers' `generate`.
    """
    known: bool | None = getattr(model, "_rag_graph_decodes", None)
    if known is None:
        was_training = model.training
        model.eval()
        try:
            known = _probe(model)
        except (TypeError, AttributeError, ValueError, RuntimeError, IndexError, NotImplementedError):
            known = False
        model.train(was_training)
        model._rag_graph_decodes = known
    return known


def _probe(model: Any) -> bool:
    rows, last = [[1, 2, 3], [2]], [3, 1]
    cache = new_cache(model)
    ids, mask = pad_left(rows, 0, model.device)
    known = optional_inputs(model)
    step_logits(model, known, ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
    mask = torch.cat([mask, mask.new_ones(2, 1)], 1)
    positions = mask.sum(1, keepdim=True) - 1
    cache.batch_select_indices(torch.tensor([1, 0], device=model.device))
    step = torch.tensor(last, device=model.device)[[1, 0], None]
    stepped = step_logits(model, known, step, mask[[1, 0]], positions[[1, 0]], cache)[[1, 0]]
    for row, logits in enumerate(stepped):
        whole = (
            model(input_ids=torch.tensor([[*rows[row], last[row]]], device=model.device), use_cache=False)
            .logits[0, -1]
            .float()
        )
        if not torch.allclose(logits, whole, rtol=2e-2, atol=2e-2 * float(whole.abs().max())):
            return False
    return True


def optional_inputs(model: Any) -> frozenset[str]:
    """Which of the inputs that not every model has this one takes. Reading a signature is slow: once per chunk, not per token."""
    base = base_model(model)  # an adapter's own signature says nothing
    return frozenset({"position_ids", "logits_to_keep"} & inspect.signature(base.forward).parameters.keys())


def step_logits(
    model: Any, known: frozenset[str], ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache
) -> Tensor:
    """Logits of the last position, float32 [rows, V]; `known` are the model's `optional_inputs`."""
    optional = {name: value for name, value in (("position_ids", positions), ("logits_to_keep", 1)) if name in known}
    output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **optional)
    last: Tensor = output.logits[:, -1].float()
    return last
