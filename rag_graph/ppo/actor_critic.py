"""Policy and value model as one module, and the one forward pass that PPO asks of them.

Shapes: b rows of a chunk, L tokens of prompt and response, T response tokens, H hidden size.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rag_graph.generation.adapters import base_model
from rag_graph.generation.trunk import Trunk, begun
from rag_graph.ppo.token_logprobs import at_least_float32, token_logprobs, token_logprobs_and_entropy


class Tokens(NamedTuple):
    """Prompts and responses of some episodes as one block, padded on the right: under causal attention no token sees the padding,
    so there is no mask, and the block is no wider than its longest episode."""

    ids: Tensor  # int64 [b, L], 0 where padded
    response: Tensor  # bool [b, T]: a token of the response
    states: Tensor  # int64 [b, T+1]: the position before each response token, and the last one's
    below: Tensor | None = None  # [b, L, H]: what the policy's frozen trunk gives for them, where it is known

    @classmethod
    def of(
        cls,
        queries: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        device: Any = "cpu",
        below: Tensor | None = None,
    ) -> Tokens:
        """A response may be empty, a prompt may not."""
        pairs = list(zip(queries, responses, strict=True))
        length, width = max(len(q) + len(r) for q, r in pairs), max(1, *map(len, responses))
        ids = torch.tensor([[*q, *r] + [0] * (length - len(q) - len(r)) for q, r in pairs], device=device)
        starts = torch.tensor([len(q) for q, _ in pairs], device=device)[:, None]
        lengths = torch.tensor([len(r) for _, r in pairs], device=device)[:, None]
        steps = torch.arange(width + 1, device=device)[None]
        return cls(ids, steps[:, :-1] < lengths, (starts - 1 + steps.minimum(lengths)), below)

    def labels(self) -> Tensor:
        """int64 [n]: the response tokens, row after row."""
        return self.ids.gather(1, (self.states[:, :-1] + 1).clamp(max=self.ids.shape[1] - 1))[self.response]

    def pick(self, hidden: Tensor) -> Tensor:
        """[b, L, H] -> [b, T+1, H]: the states before and after the response's tokens."""
        return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], self.states]


class TokenScores(NamedTuple):
    """What the models say about a response. Positions outside `Tokens.response` hold 0."""

    logprobs: Tensor  # [b, T]
    values: Tensor  # [b, T+1]: before each token, and after the last
    entropy: Tensor | None  # [b, T]


class SharedValueHead(nn.Module):
    """A linear value head on the policy's own backbone, started at zero: V(s_t) = w . h_t + b.

    Fewer parameters and one forward pass less than a separate value model. It is another algorithm, not only a faster one:
    policy and value gradients meet in the backbone.
    """

    base_model_prefix = "backbone"

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = getattr(policy, policy.base_model_prefix)
        weight = policy.get_output_embeddings().weight
        self.score = nn.Linear(weight.shape[-1], 1, device=weight.device, dtype=at_least_float32(weight.dtype))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)


class PolicyForward:
    """Log-probabilities of responses under a causal language model.

    Where the model's logits are its output layer on its last hidden states (probed once on a few tokens: some models scale or cap
    theirs) and its weights are whole on this process, the layer runs on response tokens only and its logits are never kept.
    Otherwise the model computes its logits itself.

    Args:
        trunk: the model's; `Tokens.below` is then not computed again.
    """

    def __init__(self, policy: PreTrainedModel, whole_weights: bool = True, trunk: Trunk | None = None) -> None:
        self.trunk = trunk
        self.num_logits = "logits_to_keep" in inspect.signature(base_model(policy).forward).parameters
        self.fused = whole_weights and _is_plain(policy)

    def __call__(
        self, policy: nn.Module, tokens: Tokens, temperature: float, entropy: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """log-probabilities [b, T], entropy [b, T] where asked, hidden states [b, T+1, H] before and after the tokens."""
        labels, spread = tokens.labels(), None
        if self.fused:
            base = base_model(policy)
            with begun(self.trunk, tokens.below):
                hidden = tokens.pick(getattr(base, base.base_model_prefix)(input_ids=tokens.ids, use_cache=False)[0])
            layer, states = base.get_output_embeddings(), hidden[:, :-1][tokens.response]
            score = token_logprobs_and_entropy if entropy else token_logprobs
            result = score(states, layer.weight, layer.bias, labels, temperature)
            logprobs, spread = result if isinstance(result, tuple) else (result, None)
        else:
            # Only the positions from the first response on, where the model can leave out the others.
            first = int(tokens.states.min())
            keep = {"logits_to_keep": tokens.ids.shape[1] - first} if self.num_logits else {}
            with begun(self.trunk, tokens.below):
                output = policy(input_ids=tokens.ids, use_cache=False, output_hidden_states=True, **keep)
            hidden = tokens.pick(output.hidden_states[-1])
            rows = torch.arange(len(tokens.ids), device=labels.device)[:, None]
            picked = output.logits[rows, tokens.states[:, :-1] - (first if keep else 0)][tokens.response]
            distribution = (picked.to(at_least_float32(picked.dtype)) / temperature).log_softmax(-1)
            logprobs = distribution.gather(-1, labels[:, None]).squeeze(-1)
            if entropy:
                spread = -(distribution.exp() * distribution).sum(-1)
        blank = torch.zeros(tokens.response.shape, dtype=logprobs.dtype, device=tokens.ids.device)
        placed = None if spread is None else blank.masked_scatter(tokens.response, spread)
        return blank.masked_scatter(tokens.response, logprobs), placed, hidden


class ActorCritic(nn.Module):
    """Policy and value model in one module, so that one `prepare` wraps both.

    Args:
        trunk: the policy's, where only its top layers are trained.
        value_trunk: a separate value model's, where it gives the same.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        value_model: nn.Module,
        whole_weights: bool = True,
        trunk: Trunk | None = None,
        value_trunk: Trunk | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        self.shared = isinstance(value_model, SharedValueHead)
        self.config = policy.config
        self.policy_forward = PolicyForward(policy, whole_weights, trunk)
        self.value_trunk = value_trunk

    def forward(self, tokens: Tokens, temperature: float, entropy: bool = False) -> TokenScores:
        """Score responses. Values are at least float32, whatever the precision of the backbone."""
        logprobs, spread, hidden = self.policy_forward(self.policy, tokens, temperature, entropy)
        if not self.shared:
            critic = getattr(self.value_model, str(self.value_model.base_model_prefix))
            with begun(self.value_trunk, tokens.below):
                hidden = tokens.pick(critic(input_ids=tokens.ids, use_cache=False)[0])
        score: nn.Module = self.value_model.score  # type: ignore[assignment]
        values = score(hidden.to(next(score.parameters()).dtype)).squeeze(-1)
        return TokenScores(logprobs, values.to(at_least_float32(values.dtype)), spread)


@torch.no_grad()
def _is_plain(policy: PreTrainedModel) -> bool:
    base = base_model(policy)
    layer = base.get_output_embeddings()
    if type(layer) is not nn.Linear or not hasattr(base, base.base_model_prefix):
        return False
    if getattr(base.config, "final_logit_softcapping", None):  # bends large logits only: a probe might miss it
        return False
    ids = torch.arange(1, 5, device=layer.weight.device)[None] % layer.weight.shape[0]
    was_training = policy.training
    policy.eval()
    direct = layer(getattr(base, base.base_model_prefix)(input_ids=ids, use_cache=False)[0]).float()
    logits = policy(input_ids=ids, use_cache=False).logits.float()
    policy.train(was_training)
    return logits.shape == direct.shape and torch.allclose(
        logits, direct, rtol=1e-4, atol=1e-4 * float(direct.abs().max())
    )
