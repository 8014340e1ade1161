"""Policy and value model as one module, and the forward passes of PPO. Shapes: B episodes, P prompt tokens (left-padded), T
response tokens, H hidden size, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


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
        self.score = nn.Linear(weight.shape[-1], 1, device=weight.device, dtype=torch.float32)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)


class ActorCritic(nn.Module):
    """Policy and value model in one module, so that one `prepare` wraps both."""

    def __init__(self, policy: PreTrainedModel, value_model: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        self.shared = isinstance(value_model, SharedValueHead)
        self.config = policy.config
        self.is_gradient_checkpointing = getattr(policy, "is_activation_checkpointing", False)

    def gradient_checkpointing_enable(self, **kwargs: Any) -> None:
        self.policy.gradient_checkpointing_enable(**kwargs)
        self.is_gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        self.policy.gradient_checkpointing_disable()
        self.is_gradient_checkpointing = False

    def forward(self, query_responses: Tensor, pad_id: int, num_response: int) -> tuple[Tensor, Tensor]:
        """Tokens [B, P+T] -> logits [B, T, V] and values [B, T] at the positions that predict the response."""
        if self.shared:
            logits, hidden = response_logits(self.policy, query_responses, pad_id, num_response, hidden=True)
            assert hidden is not None
        else:
            logits, _ = response_logits(self.policy, query_responses, pad_id, num_response)
            critic = getattr(self.value_model, str(self.value_model.base_model_prefix))
            hidden = critic(**_inputs(query_responses, pad_id), use_cache=False)[0][:, -num_response - 1 : -1]
        score: nn.Module = self.value_model.score  # type: ignore[assignment]
        return logits, score(hidden.to(next(score.parameters()).dtype)).squeeze(-1).float()


def _inputs(query_responses: Tensor, pad_id: int) -> dict[str, Tensor]:
    mask = query_responses != pad_id
    return {
        "input_ids": query_responses.masked_fill(~mask, 0),
        "attention_mask": mask,
        "position_ids": mask.cumsum(1) - mask.long(),
    }


def response_logits(
    policy: nn.Module, query_responses: Tensor, pad_id: int, num_response: int, hidden: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits [B, T, V] that predict the response, and the last hidden states [B, T, H] where asked.

    The head runs on response positions only: with a large vocabulary that is the largest saving over stock.
    """
    output = policy(
        **_inputs(query_responses, pad_id),
        logits_to_keep=num_response + 1,
        output_hidden_states=hidden,
        use_cache=False,
        return_dict=True,
    )
    last = output.hidden_states[-1][:, -num_response - 1 : -1] if hidden else None
    return output.logits[:, :-1].float(), last
