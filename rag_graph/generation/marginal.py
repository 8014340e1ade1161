"""Answers marginalised over the passages they were read from (Lewis et al. 2020, arXiv 2005.11401).

    RAG-Sequence  p(y|x) = sum_z p(z|x) prod_i p(y_i | x, z, y_<i)      eq. 1: one passage for the whole answer
    RAG-Token     p(y|x) = prod_i sum_z p(z|x) p(y_i | x, z, y_<i)      eq. 2: every token from a mixture, as REPLUG ensembles

Each example has prompts, one per passage z, and weights p(z|x) that add up to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.errors import ModelError
from rag_graph.generation.end_tokens import before_end
from rag_graph.generation.kv_cache import new_cache
from rag_graph.generation.sampling import sample_responses
from rag_graph.generation.steps import decodes_step_by_step, optional_inputs, step_logits
from rag_graph.generation.tokens import pad_left

Ids = Sequence[int]


def answer_log_probs(model: Any, prompts: Sequence[Ids], answers: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """log p(y_i | prompt, y_<i) of given answers, with gradients where they are on.

    Returns:
        log-probabilities [B, T], 0 beyond an answer, and the mask [B, T].
    """
    longest = max(map(len, answers))
    ids, mask = pad_left([[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)], 0, model.device)
    known = optional_inputs(model)
    optional: dict[str, Any] = {}
    if "position_ids" in known:
        optional["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if "logits_to_keep" in known:
        optional["logits_to_keep"] = longest + 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **optional).logits[:, -longest - 1 : -1]
    found = logits.float().log_softmax(-1).gather(-1, ids[:, -longest:, None])[..., 0]
    lengths = torch.tensor([len(answer) for answer in answers], device=ids.device)
    within = torch.arange(longest, device=ids.device)[None] >= longest - lengths[:, None]  # answers end together
    return found.masked_fill(~within, 0.0), within


def answer_scores(model: Any, prompts: Sequence[Ids], answers: Sequence[Ids], batch_size: int) -> Tensor:
    """log p(y | prompt) [B], summed over tokens, with gradients where they are on; read in batches of similar length."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]) + len(answers[row]))
    totals = [torch.zeros(0, device=model.device)]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found, _ = answer_log_probs(model, [prompts[row] for row in rows], [answers[row] for row in rows])
        totals.append(found.sum(1))
    return torch.cat(totals)[torch.tensor(order, device=model.device).argsort()]


def check_decoding(model: Any, what: str) -> None:
    """Raises ModelError where a model cannot stand beside other prompts in a padded batch: state-space models cannot."""
    if not decodes_step_by_step(model):
        raise ModelError(
            f"{what} scores answers to prompts of different lengths together, which {type(model).__name__} cannot do. "
            "Use retrieval.fusion=concat and retrieval.learn.method=none."
        )


def rag_sequence_log_prob(log_weights: Tensor, answer_totals: Tensor) -> Tensor:
    """Eq. 1: log p(z|x) [..., Z] and log p(y|x, z) [..., Z] -> log p(y|x) [...]."""
    return (log_weights + answer_totals).logsumexp(-1)


def rag_token_log_prob(log_weights: Tensor, token_log_probs: Tensor) -> Tensor:
    """Eq. 2: log p(z|x) [..., Z] and log p(y_i|x, z, y_<i) [..., Z, T] -> log p(y|x) [...]."""
    return (log_weights[..., None] + token_log_probs).logsumexp(-2).sum(-1)


@torch.no_grad()
def rag_sequence_responses(
    model: Any,
    queries: Sequence[Sequence[Ids]],
    weights: Sequence[Sequence[float]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    pad_id: int,
    batch_size: int,
) -> list[list[int]]:
    """The best of the greedy answers to each passage, every one judged by all passages (the paper's thorough decoding).

    Args:
        queries: for each example the token ids of its prompts, one per passage.
        weights: for each example p(z|x), adding up to 1.
    """
    check_decoding(model, "fusion=rag_sequence")
    flat = [query for alternatives in queries for query in alternatives]
    drafts = iter(sample_responses(model, flat, max_new_tokens, None, 1.0, stop_ids, pad_id, batch_size))
    candidates = [list(dict.fromkeys(tuple(next(drafts)) for _ in alternatives)) for alternatives in queries]
    pairs = [
        (query, answer or (*stop_ids, 0)[:1])
        for alternatives, answers in zip(queries, candidates, strict=True)
        if len(answers) > 1
        for answer in answers
        for query in alternatives
    ]
    scores = answer_scores(model, [query for query, _ in pairs], [answer for _, answer in pairs], batch_size).cpu()
    chosen, start = [], 0
    for alternatives, answers, mine in zip(queries, candidates, weights, strict=True):
        best = 0
        if len(answers) > 1:
            end = start + len(answers) * len(alternatives)
            table = scores[start:end].reshape(len(answers), len(alternatives))
            best = int(rag_sequence_log_prob(torch.tensor(mine).log(), table).argmax())
            start = end
        chosen.append(list(answers[best]))
    return chosen


@torch.no_grad()
def rag_token_responses(
    model: Any,
    queries: Sequence[Sequence[Ids]],
    weights: Sequence[Sequence[float]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    pad_id: int,
    batch_size: int,
) -> list[list[int]]:
    """Greedy on the mixture: at each step the token with the largest sum_z p(z|x) p(y_i | x, z, y_<i), fed to every passage.

    Args: as `rag_sequence_responses`; `batch_size` counts prompts.
    """
    check_decoding(model, "fusion=rag_token")
    responses: list[list[int]] = []
    start = 0
    while start < len(queries):
        end, rows = start + 1, len(queries[start])
        while end < len(queries) and rows + len(queries[end]) <= batch_size:
            rows += len(queries[end])
            end += 1
        responses += _mixture(model, queries[start:end], weights[start:end], max_new_tokens, stop_ids, pad_id)
        start = end
    return responses


def _mixture(
    model: Any,
    queries: Sequence[Sequence[Ids]],
    weights: Sequence[Sequence[float]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    pad_id: int,
) -> list[list[int]]:
    ids, mask = pad_left([query for alternatives in queries for query in alternatives], 0, model.device)
    device = ids.device
    owner = torch.tensor([row for row, a in enumerate(queries) for _ in a], device=device)
    weight = torch.tensor([value for row in weights for value in row], device=device)[:, None]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache, known = new_cache(model), optional_inputs(model)
    written = torch.full((len(queries), max_new_tokens), pad_id, device=device)
    going = torch.ones(len(queries), dtype=torch.bool, device=device)
    stops = torch.tensor(stop_ids, dtype=torch.long, device=device)
    for t in range(max_new_tokens):
        probability = step_logits(model, known, ids, mask, positions, cache).softmax(-1) * weight
        mixture = torch.zeros(len(queries), probability.shape[1], device=device).index_add(0, owner, probability)
        mixture[:, pad_id] = -1.0
        token = mixture.argmax(-1)
        written[going, t] = token[going]
        going = going & ~torch.isin(token, stops)
        if not going.any():
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        positions = positions[:, -1:] + 1
        ids = token[owner, None]
    return [before_end(line, [pad_id]) for line in written.tolist()]
