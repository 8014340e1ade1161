"""Log-probabilities of given tokens, straight from hidden states: the [tokens, vocabulary] logits never reach autograd.

    log p_t = y_t - logsumexp(y),    y = W h / temperature
    d log p_t / d y = onehot(t) - softmax(y)

The backward pass turns the log-softmax of the forward pass into the gradient in place, so one buffer of that size lives instead of
the four that `gather - logsumexp` keeps; beyond KEEP_BYTES it is thrown away and computed again, CHUNK_BYTES at a time (as the fused
cross-entropy of Hsu et al. 2024, arXiv 2410.10989, does for a mean loss).

Shapes: n tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

KEEP_BYTES = 512 << 20
CHUNK_BYTES = 16 << 20


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The precision of log-probabilities and values: float32 for half precision, and float64 stays."""
    return torch.promote_types(dtype, torch.float32)


def token_logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probability of each token, [n], differentiable in hidden, weight and bias: float32, or float64 where the layer is.

    Args:
        hidden: [n, H], the states that predict the tokens.
        weight, bias: [V, H] and [V] of the output layer.
        tokens: int64 [n].
        temperature: the logits are divided by it.
    """
    logprobs: Tensor = _TokenLogprobs.apply(hidden, weight, bias, tokens, temperature)  # type: ignore[no-untyped-call]
    return logprobs


@torch.no_grad()
def token_logprobs_and_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """As `token_logprobs`, with the entropy in nats of each token's distribution, [n] each; no gradients."""
    layer = _Layer(hidden, weight, bias, temperature)
    logprobs, entropy = hidden.new_empty((2, len(tokens)), dtype=layer.precision).unbind()
    for part in layer.chunks(len(tokens)):
        distribution = layer.log_softmax(part)
        logprobs[part] = distribution.gather(-1, tokens[part, None]).squeeze(-1)
        entropy[part] = -(distribution.exp() * distribution).sum(-1)
    return logprobs, entropy


class _Layer:
    """The output layer in the precision of the surrounding autocast; the temperature divides the hidden states."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> None:
        device = hidden.device.type
        self.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        self.precision = at_least_float32(self.dtype)
        self.scaled = (hidden / temperature).to(self.dtype)
        self.kernel = weight.to(self.dtype)
        self.offset = None if bias is None else (bias / temperature).to(self.dtype)

    def chunks(self, n: int) -> list[slice]:
        rows = max(1, CHUNK_BYTES // (self.precision.itemsize * len(self.kernel)))
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    def log_softmax(self, part: slice) -> Tensor:
        logits = torch.nn.functional.linear(self.scaled[part], self.kernel, self.offset)
        return logits.log_softmax(-1, dtype=self.precision)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float
    ) -> Tensor:
        layer = _Layer(hidden, weight, bias, temperature)
        keep = any(ctx.needs_input_grad) and layer.precision.itemsize * len(tokens) * len(weight) <= KEEP_BYTES
        logprobs = hidden.new_empty(len(tokens), dtype=layer.precision)
        ctx.kept = []
        for part in layer.chunks(len(tokens)):
            distribution = layer.log_softmax(part)
            logprobs[part] = distribution.gather(-1, tokens[part, None]).squeeze(-1)
            if keep:
                ctx.kept.append(distribution)
        ctx.save_for_backward(tokens)
        ctx.layer, ctx.temperature, ctx.dtypes = layer, temperature, (hidden.dtype, weight.dtype)
        return logprobs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        layer: _Layer = ctx.layer
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        hidden_dtype, weight_dtype = ctx.dtypes
        hidden_gradient = torch.empty_like(layer.scaled) if wants_hidden else None
        weight_gradient = torch.zeros_like(layer.kernel, dtype=weight_dtype) if wants_weight else None
        bias_gradient = (
            torch.zeros(len(layer.kernel), dtype=weight_dtype, device=gradient.device) if wants_bias else None
        )
        for index, part in enumerate(layer.chunks(len(tokens))):
            slope = ctx.kept[index] if ctx.kept else layer.log_softmax(part)
            slope.exp_().mul_(-gradient[part, None])
            slope.scatter_add_(1, tokens[part, None], gradient[part, None])  # [chunk, V] d loss / d logits
            if bias_gradient is not None:
                bias_gradient += slope.sum(0) / ctx.temperature
            slope = slope.to(layer.dtype)
            if hidden_gradient is not None:
                hidden_gradient[part] = slope @ layer.kernel
            if weight_gradient is not None:
                if weight_dtype == layer.dtype:
                    weight_gradient.addmm_(slope.t(), layer.scaled[part])
                else:
                    weight_gradient += slope.t() @ layer.scaled[part]
        ctx.kept = []  # used up in place
        if hidden_gradient is not None:
            hidden_gradient = (hidden_gradient / ctx.temperature).to(hidden_dtype)
        return hidden_gradient, weight_gradient, bias_gradient, None, None
