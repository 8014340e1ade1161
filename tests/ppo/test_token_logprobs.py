"""The fused log-probabilities against autograd's own."""

from __future__ import annotations

import pytest
import torch

from rag_graph.ppo import token_logprobs as module
from rag_graph.ppo.token_logprobs import token_logprobs, token_logprobs_and_entropy


def inputs(
    bias: bool, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(13, 6, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(31, 6, generator=generator, dtype=dtype).requires_grad_()
    offset = torch.randn(31, generator=generator, dtype=dtype).requires_grad_() if bias else None
    return hidden, weight, offset, torch.randint(0, 31, (13,), generator=generator)


def plain(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tokens: torch.Tensor, temperature: float
) -> torch.Tensor:
    return (
        (torch.nn.functional.linear(hidden, weight, bias) / temperature)
        .log_softmax(-1)
        .gather(-1, tokens[:, None])[:, 0]
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("keep", "chunk"), [(1 << 20, 1 << 20), (1 << 20, 600), (0, 600)], ids=["whole", "chunks", "computed again"]
)
def test_values_and_gradients(monkeypatch: pytest.MonkeyPatch, keep: int, chunk: int, bias: bool) -> None:
    monkeypatch.setattr(module, "KEEP_BYTES", keep)
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    given = inputs(bias)
    wanted = [value for value in given[:3] if value is not None]
    weights = torch.randn(13, dtype=torch.float64)
    expected = plain(*given, 0.7)
    found = token_logprobs(*given, 0.7)
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad((expected * weights).sum(), wanted), torch.autograd.grad((found * weights).sum(), wanted), strict=True
    ):  # fmt: skip
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_of_no_token_the_gradients_are_zero() -> None:
    hidden, weight = torch.zeros(0, 4, requires_grad=True), torch.rand(6, 4, requires_grad=True)
    token_logprobs(hidden, weight, None, torch.zeros(0, dtype=torch.long), 1.0).sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    assert hidden.grad is not None


def test_entropy() -> None:
    hidden, weight, bias, tokens = inputs(True)
    logprobs, entropy = token_logprobs_and_entropy(hidden, weight, bias, tokens, 1.3)
    distribution = torch.distributions.Categorical(logits=torch.nn.functional.linear(hidden, weight, bias) / 1.3)
    assert torch.allclose(entropy, distribution.entropy(), rtol=0, atol=1e-12)
    assert torch.allclose(logprobs, distribution.log_prob(tokens), rtol=0, atol=1e-12)


def test_under_autocast_the_products_are_bfloat16_and_the_sums_float32() -> None:
    hidden, weight, _, tokens = inputs(False, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = token_logprobs(hidden, weight, None, tokens, 1.0)
    assert found.dtype == torch.float32
    expected = plain(hidden, weight, None, tokens, 1.0)
    assert 1e-6 < (found - expected).abs().max() < 0.1
    found.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
    gradient = torch.autograd.grad(expected.sum(), weight)[0]
    assert torch.nn.functional.cosine_similarity(weight.grad.flatten(), gradient.flatten(), dim=0) > 0.999


def test_a_frozen_layer_gets_no_gradient() -> None:
    hidden, weight, _, tokens = inputs(False)
    token_logprobs(hidden, weight.detach(), None, tokens, 1.0).sum().backward()
    assert hidden.grad is not None
