"""Prompts as token ids, and ids as a padded block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from rag_graph.sentences import without_middle


@dataclass(frozen=True, slots=True)
class TokenRoom:
    """What a policy reads: how its tokenizer counts texts, and how long a prompt may be, both without special tokens."""

    count: Callable[[Sequence[str]], list[int]]
    most: int


class EncodedPrompts(NamedTuple):
    """Token ids of each prompt, and whether it was cut to fit."""

    ids: list[list[int]]
    cut: list[bool]


Shorten = Callable[[int, Callable[[str], bool]], str]
"""Which of the prompts, and what tells if a text fits -> a shorter text of it that fits; empty where there is none."""


def token_room(tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int) -> TokenRoom:
    """Room for prompts of `max_prompt_tokens`, the special tokens that `encode_prompts` adds among them."""

    def count(texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        return list(map(len, tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]))

    (probe,) = encode_prompts(tokenizer, ["a"], 1_000)
    return TokenRoom(count, max(1, max_prompt_tokens - max(0, len(probe) - count(["a"])[0])))


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each prompt, with the begin token where the tokenizer adds one, and never an end token. Of a prompt of more than `max_tokens`
    the middle is left out."""
    return encode_fitting(tokenizer, prompts, max_tokens).ids


def encode_fitting(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_tokens: int,
    templated: bool = False,
    shorten: Shorten | None = None,
) -> EncodedPrompts:
    """The same, and which prompts were cut. Begin and end of a prompt stay: words in its middle go, or tokens where not even two words fit.

    Args:
        templated: the texts come from a chat template, which has written the special tokens itself.
        shorten: makes a prompt that is too long shorter, instead.
    """

    def fits(text: str) -> bool:
        return len(_encoded(tokenizer, [text], templated)[0]) <= max_tokens

    found = _encoded(tokenizer, prompts, templated)
    cut = [len(ids) > max_tokens for ids in found]
    for row in (row for row, long in enumerate(cut) if long):
        text = shorten(row, fits) if shorten else without_middle(prompts[row], fits)
        found[row] = _encoded(tokenizer, [text], templated)[0] if text else found[row]
        found[row] = _without_middle_ids(found[row], max_tokens, tokenizer.bos_token_id)
    return EncodedPrompts(found, cut)


def _encoded(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], templated: bool) -> list[list[int]]:
    encoded = tokenizer(list(prompts), add_special_tokens=not templated)["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    result = []
    for ids in encoded:
        kept = ids[:-1] if ids and not templated and ids[-1] == end != begin else ids
        if len(kept) > 1 and begin is not None and kept[0] == kept[1] == begin:
            kept = kept[1:]  # a text that begins with the token itself
        result.append(list(kept) or [end if begin is None else begin])
    return result


def _without_middle_ids(ids: list[int], most: int, begin: int | None) -> list[int]:
    if len(ids) <= most:
        return ids
    head = ids[:1] if most > 1 and ids[0] == begin else []
    front = (most - len(head)) // 2
    return [*head, *ids[len(head) : len(head) + front], *ids[len(ids) - (most - len(head) - front) :]]


def answer_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of answers as they follow a prompt, the end token last."""

    def encode(parts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(list(parts), add_special_tokens=False)["input_ids"] if parts else []
        return ids

    plain, spaced = encode(["a", " a"])
    written = encode(texts if plain == spaced else [f" {text}" for text in texts])
    return [[*ids, tokenizer.eos_token_id] for ids in written]


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
