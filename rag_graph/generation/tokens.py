"""Prompts as token ids, and ids as a padded block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int, templated: bool = False
) -> list[list[int]]:
    """Token ids of each prompt, cut to `max_tokens`: tokens at the left end go, the tokenizer's begin token stays.

    Args:
        templated: the texts come from a chat template, which has written the special tokens itself. A plain text gets the begin token
            where the tokenizer adds one, and never an end token.
    """
    encoded = tokenizer(list(prompts), add_special_tokens=not templated)["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    result = []
    for ids in encoded:
        kept = ids[:-1] if ids and not templated and ids[-1] == end != begin else ids
        if len(kept) > 1 and begin is not None and kept[0] == kept[1] == begin:
            kept = kept[1:]  # a text that begins with the token itself
        if len(kept) > max_tokens:
            head = kept[:1] if max_tokens > 1 and kept[0] == begin else []
            kept = [*head, *kept[len(kept) - max_tokens + len(head) :]]
        result.append(kept or [end if begin is None else begin])
    return result


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an answer as it follows a prompt, the end token last."""

    def encode(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids

    return [*encode(text if encode("a") == encode(" a") else f" {text}"), tokenizer.eos_token_id]


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
