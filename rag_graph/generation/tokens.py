"""Prompts as token ids, and ids as a padded block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase


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
