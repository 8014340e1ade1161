"""Batched text generation: prompts in, texts out, in the order they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Response:
    """What the model wrote; `truncated` when it did not end by itself."""

    text: str
    truncated: bool


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each prompt, without special tokens at the end, cut from the left to `max_tokens`."""
    encoded = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    return [ids[-max_tokens:] or [tokenizer.eos_token_id] for ids in encoded]


def pad_left(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of ids -> ids [B, T] padded on the left, and their mask [B, T]."""
    length = max(map(len, sequences))
    ids = torch.full((len(sequences), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), length), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, length - len(sequence) :] = torch.tensor(sequence)
        mask[row, length - len(sequence) :] = 1
    return ids.to(device), mask.to(device)


@torch.no_grad()
def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    max_prompt_tokens: int,
    batch_size: int = 64,
    temperature: float = 0.0,
    bf16: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[Response]:
    """Continue each prompt.

    Args:
        temperature: 0 decodes greedily; above 0 samples from the whole distribution.
        bf16: autocast to bfloat16.
        progress: called with the number of prompts done after each batch.
    """
    if not prompts:
        return []
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}),
    )
    encoded = encode_prompts(tokenizer, prompts, max_prompt_tokens)
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    responses: dict[int, Response] = {}
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = pad_left([encoded[row] for row in rows], tokenizer.pad_token_id, model.device)
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        for row, answer in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
            responses[row] = decode_response(tokenizer, answer)
        if progress:
            progress(len(rows))
    model.train(was_training)
    return [responses[row] for row in range(len(prompts))]


def greedy_writer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig, batch_size: int, bf16: bool = False
) -> Callable[[Sequence[str]], list[Response]]:
    """Prompts -> greedy responses, with the lengths of a run's config."""
    return partial(
        generate_texts,
        model,
        tokenizer,
        max_new_tokens=config.max_new_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
        batch_size=batch_size,
        bf16=bf16,
    )


def decode_response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Response:
    """Text up to the end token."""
    ended = tokenizer.eos_token_id in ids
    kept = ids[: list(ids).index(tokenizer.eos_token_id)] if ended else ids
    return Response(tokenizer.decode(kept, skip_special_tokens=True).strip(), not ended)
