"""Trimming a byte-level BPE vocabulary to a corpus: smaller head and embedding, the same tokens on that corpus.

The kept set is closed under the merges that lead to each kept token, so BPE on the corpus takes the same path as before; the
byte alphabet and all special tokens stay, so any other text still encodes, into more tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rag_graph.errors import ModelError
from rag_graph.generation.end_tokens import declare_end_tokens, end_token_ids


def trim_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Iterable[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Drop every token that the corpus never needs. Changes `model` in place.

    Raises:
        ModelError: the tokenizer is no byte-level BPE.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "BPE" or state["model"].get("byte_fallback"):
        raise ModelError(
            "model.trim_vocabulary: only byte-level BPE vocabularies can be trimmed. Set trim_vocabulary: false."
        )
    ends = tokenizer.convert_ids_to_tokens(list(end_token_ids(model, tokenizer)))
    kept = _kept_tokens(state, tokenizer.backend_tokenizer, corpus)
    vocabulary: dict[str, int] = state["model"]["vocab"]
    old = {**vocabulary, **{token["content"]: token["id"] for token in state["added_tokens"]}}
    order = sorted(kept, key=lambda token: old[token])
    new = {token: position for position, token in enumerate(order)}
    state["model"]["vocab"] = {token: new[token] for token in order if token in vocabulary}
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if _in(pair, new)]
    state["added_tokens"] = [{**token, "id": new[token["content"]]} for token in state["added_tokens"]]
    _renumber(state.get("post_processor"), new)

    special = {
        name: str(getattr(tokenizer, name))
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if getattr(tokenizer, name, None)
    }
    trimmed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), padding_side="left", **special
    )
    trimmed.chat_template = tokenizer.chat_template
    rows = torch.tensor([old[token] for token in order])
    weights = model.get_input_embeddings().weight.data[rows].clone()
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    head_weights = head.weight.data[rows].clone()
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    model.get_input_embeddings().weight.data.copy_(weights)
    if not tied:
        model.get_output_embeddings().weight.data.copy_(head_weights)
    model.config.bos_token_id = trimmed.bos_token_id
    declare_end_tokens(model, trimmed, [new[token] for token in ends if token in new])
    model.config.vocab_size = len(rows)
    return model, trimmed


def _in(pair: list[str] | str, new: dict[str, int]) -> bool:
    left, right = pair if isinstance(pair, list) else pair.split(" ")
    return left in new and right in new and left + right in new


def _kept_tokens(state: dict[str, Any], backend: Tokenizer, corpus: Iterable[str]) -> set[str]:
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in state["model"]["merges"]]
    rank = {(left, right): position for position, (left, right) in enumerate(merges)}
    vocabulary = state["model"]["vocab"]
    used: set[str] = set()
    for encoding in backend.encode_batch(list(corpus), add_special_tokens=False):
        used.update(encoding.tokens)
    kept = {letter for letter in ByteLevel.alphabet() if letter in vocabulary}
    kept |= {token["content"] for token in state["added_tokens"]}
    for token in used:
        kept |= _path(token, rank) if token in vocabulary else {token}
    return kept


def _path(token: str, rank: dict[tuple[str, str], int]) -> set[str]:
    """Every token that BPE forms on its way to `token`."""
    symbols = list(token)
    formed = {*symbols, token}
    while len(symbols) > 1:
        best = min(range(len(symbols) - 1), key=lambda i: rank.get((symbols[i], symbols[i + 1]), len(rank)))
        if (symbols[best], symbols[best + 1]) not in rank:
            break
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
        formed.add(symbols[best])
    return formed


def _renumber(node: Any, new: dict[str, int]) -> None:
    if isinstance(node, dict):
        if "ids" in node and "tokens" in node:
            node["ids"] = [new[token] for token in node["tokens"]]
        for value in node.values():
            _renumber(value, new)
    elif isinstance(node, list):
        for value in node:
            _renumber(value, new)
