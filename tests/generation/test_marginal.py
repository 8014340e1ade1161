"""RAG-Sequence and RAG-Token against brute force: every answer of a tiny vocabulary, summed over every passage."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rag_graph.generation.marginal import (
    answer_log_probs,
    answer_scores,
    rag_sequence_log_prob,
    rag_sequence_responses,
    rag_token_log_prob,
    rag_token_responses,
)

STOP, PAD, SIZE = 1, 0, 7


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.6, max_position_embeddings=32, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()  # no rounding decides between two answers


PROMPTS = [[2, 3, 4], [5, 6], [4, 4, 2, 3, 5]]
WEIGHTS = [0.5, 0.2, 0.3]


@torch.no_grad()
def token_probability(model: LlamaForCausalLM, prompt: list[int], answer: tuple[int, ...]) -> list[float]:
    """p(y_i | prompt, y_<i), one forward pass without padding."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().softmax(-1)
    return [logits[len(prompt) + i - 1, token].item() for i, token in enumerate(answer)]


def brute_sequence(model: LlamaForCausalLM, answer: tuple[int, ...]) -> float:
    return sum(w * math.prod(token_probability(model, p, answer)) for w, p in zip(WEIGHTS, PROMPTS, strict=True))


def brute_token(model: LlamaForCausalLM, answer: tuple[int, ...]) -> float:
    each = [token_probability(model, prompt, answer) for prompt in PROMPTS]
    return math.prod(sum(w * row[i] for w, row in zip(WEIGHTS, each, strict=True)) for i in range(len(answer)))


def test_log_probs_of_answers_of_different_length(model: LlamaForCausalLM) -> None:
    answers = [(2, 1), (6,), (3, 3, 4, 1)]
    with torch.no_grad():
        found, mask = answer_log_probs(model, PROMPTS, answers)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        assert found[row][mask[row]].exp().tolist() == pytest.approx(token_probability(model, prompt, answer), rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_scores_of_answers_and_their_gradients_do_not_depend_on_the_batches(
    model: LlamaForCausalLM, batch_size: int
) -> None:
    answers, weight = [(2, 1), (6,), (3, 3, 4, 1)], model.get_input_embeddings().weight
    at_once = answer_log_probs(model, PROMPTS, answers)[0].sum(1)
    scores = answer_scores(model, PROMPTS, answers, batch_size)
    assert scores.tolist() == pytest.approx(at_once.tolist(), abs=1e-5)
    turn = torch.tensor([1.0, -2.0, 3.0])
    expected, found = (torch.autograd.grad((turn * each).sum(), weight)[0] for each in (at_once, scores))
    assert found.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_answers_have_no_scores(model: LlamaForCausalLM) -> None:
    assert answer_scores(model, [], [], 2).shape == (0,)


def test_marginals_equal_brute_force_and_add_up_to_one(model: LlamaForCausalLM) -> None:
    log_weights = torch.tensor(WEIGHTS).log()
    totals = {"sequence": 0.0, "token": 0.0}
    for answer in itertools.product(range(SIZE), repeat=3):
        with torch.no_grad():
            each, _ = answer_log_probs(model, PROMPTS, [answer] * 3)
        sequence = rag_sequence_log_prob(log_weights, each.sum(1)).exp().item()
        token = rag_token_log_prob(log_weights, each).exp().item()
        if sum(answer) % 5 == 0:  # the rest is in the sum
            assert sequence == pytest.approx(brute_sequence(model, answer), rel=1e-3)
            assert token == pytest.approx(brute_token(model, answer), rel=1e-3)
        totals["sequence"] += sequence
        totals["token"] += token
    assert totals == pytest.approx({"sequence": 1.0, "token": 1.0}, abs=1e-4)


def test_rag_token_takes_the_likeliest_token_of_the_mixture_at_every_step(model: LlamaForCausalLM) -> None:
    (found,) = rag_token_responses(model, [PROMPTS], [WEIGHTS], 5, [STOP], PAD, 8)
    answer: tuple[int, ...] = ()
    for token in found:
        mixed = {
            other: sum(
                w * token_probability(model, prompt, (*answer, other))[-1]
                for w, prompt in zip(WEIGHTS, PROMPTS, strict=True)
            )
            for other in range(SIZE)
            if other != PAD
        }
        assert token == max(mixed, key=mixed.__getitem__)
        answer = (*answer, token)
    assert found[-1] == STOP or len(found) == 5


def test_rag_sequence_takes_the_best_of_the_candidates(model: LlamaForCausalLM) -> None:
    alone = [rag_sequence_responses(model, [[prompt]], [[1.0]], 4, [STOP], PAD, 8)[0] for prompt in PROMPTS]
    (found,) = rag_sequence_responses(model, [PROMPTS], [WEIGHTS], 4, [STOP], PAD, 8)
    values = {tuple(answer): brute_sequence(model, tuple(answer)) for answer in alone}
    assert len(values) > 1
    assert tuple(found) == max(values, key=values.__getitem__)


def test_batches_change_nothing(model: LlamaForCausalLM) -> None:
    queries = [PROMPTS, PROMPTS[:1], PROMPTS[1:], PROMPTS[::-1]]
    weights = [WEIGHTS, [1.0], [0.6, 0.4], WEIGHTS[::-1]]
    for respond in (rag_token_responses, rag_sequence_responses):
        whole = respond(model, queries, weights, 5, [STOP], PAD, 64)
        assert whole == respond(model, queries, weights, 5, [STOP], PAD, 2)
        assert whole[0] == whole[3], "the order of the passages does not matter"
