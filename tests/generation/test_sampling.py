"""Sampling against the model's own distribution, and against transformers' greedy decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from rag_graph.generation.sampling import sample_responses
from rag_graph.generation.tokens import pad_left

LENGTH = 12


@pytest.fixture
def setting(tiny_model: Callable[[int], Any]) -> tuple[Any, Any, list[list[int]]]:
    model, tokenizer = tiny_model(3)
    texts = ["red", "the red kettle from oslo", "where is it ?", "good bad", "a blue mixer .", "topic"] * 3
    # Float64: no rounding decides between two tokens, on whatever processor.
    return model.double().eval(), tokenizer, tokenizer(texts, add_special_tokens=False)["input_ids"]


def uniforms(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, LENGTH, generator=torch.Generator().manual_seed(seed))


def sample(
    setting: Any, noise: torch.Tensor | None, stop: int | None, batch_size: int = 64, temperature: float = 1.0
) -> list[list[int]]:
    model, tokenizer, queries = setting
    return sample_responses(
        model, queries, LENGTH, noise, temperature, [] if stop is None else [stop], tokenizer.pad_token_id, batch_size
    )


@pytest.mark.parametrize("stops", [False, True])
def test_each_token_is_the_quantile_of_its_number(setting: Any, stops: bool) -> None:
    """Recomputed token by token, each row alone and without a cache."""
    model, tokenizer, queries = setting
    noise = uniforms(len(queries))
    stop = sample(setting, noise, None, temperature=0.7)[0][4] if stops else None  # a token that is written
    ended = 0
    for query, numbers, response in zip(queries, noise, sample(setting, noise, stop, temperature=0.7), strict=True):
        ids = list(query)
        for t, token in enumerate(response):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].double() / 0.7
            logits[tokenizer.pad_token_id] = -torch.inf
            cumulative = logits.softmax(-1).cumsum(-1)
            low = cumulative[token - 1] if token else 0.0
            assert low - 1e-6 <= numbers[t] <= cumulative[token] + 1e-6
            ids.append(token)
        ended += stop in response
        assert response[-1] == stop or len(response) == LENGTH
        assert stop not in response[:-1]
    assert (ended > 0) == stops


def test_a_sample_does_not_depend_on_the_batch(setting: Any) -> None:
    noise = uniforms(18)
    whole = sample(setting, noise, stop=200)
    assert whole == sample(setting, noise, stop=200, batch_size=1) == sample(setting, noise, stop=200, batch_size=5)
    assert whole != sample(setting, uniforms(18, seed=1), stop=200)


def test_greedy_decoding_is_that_of_transformers(setting: Any) -> None:
    model, tokenizer, queries = setting
    stop = sample(setting, None, stop=None)[0][4]  # a token that some answers do write
    found = sample(setting, None, stop=stop)
    ids, mask = pad_left(queries, 0)
    config = GenerationConfig(
        max_new_tokens=LENGTH, do_sample=False, eos_token_id=stop, pad_token_id=tokenizer.pad_token_id
    )
    expected = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, ids.shape[1] :].tolist()
    assert found == [line[: line.index(stop) + 1] if stop in line else line for line in expected]
    assert any(len(line) < LENGTH for line in found)


def test_the_pad_token_is_never_written(setting: Any) -> None:
    model, tokenizer, queries = setting
    pad = tokenizer.pad_token_id
    with torch.no_grad():
        model.get_output_embeddings().weight[pad] += 50 * model.get_output_embeddings().weight[5]
    for noise in (None, uniforms(len(queries)), torch.full((len(queries), LENGTH), 1 - 1e-7)):
        responses = sample_responses(model, queries, LENGTH, noise, 1.0, [], pad, 7)
        assert all(pad not in line and len(line) == LENGTH for line in responses)


def test_every_family_is_decoded_as_transformers_does(family: str, family_model: Callable[[str], Any]) -> None:
    torch.manual_seed(1)
    model = family_model(family).eval()  # float32: in float64 some of these lose padded rows in transformers
    queries = [[5, 6, 7, 8], [9], [3, 4], [10, 11, 12, 13, 14, 15]]
    ids, mask = pad_left(queries, 0)
    config = GenerationConfig(
        max_new_tokens=LENGTH, do_sample=False, eos_token_id=96, pad_token_id=0, suppress_tokens=[0]
    )
    expected = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, ids.shape[1] :].tolist()
    assert sample_responses(model, queries, LENGTH, None, 1.0, [96], 0, 3) == [
        line[: line.index(96) + 1] if 96 in line else line for line in expected
    ]
