"""The contribution of each node to a reward: exact Shapley values, or the gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rag_graph.errors import ConfigError
from rag_graph.reward.batch import Batch
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readout import Paid

MAX_SHAPLEY = 12


def attribute(model: RewardModel, batch: Batch, auxiliary: float, method: str) -> dict[int, float]:
    """Node position -> its share of the reward of one episode; see `GraphReward.attribute`.

    Args:
        batch: of one episode.
        auxiliary: eta.

    Raises:
        ConfigError: too many nodes for 'shapley', or another method.
    """
    known, baseline = batch.scores.values[0], model.imputer.base.means.detach()

    def reward(values: Tensor) -> Tensor:
        scores, contexts, _ = batch.rows([0] * len(values))
        paid: Paid = model(scores._replace(values=values), auxiliary, contexts)
        return paid.total

    in_play = model.topology.applies[batch.scores.tasks[0]] & ~batch.scores.absent[0]
    players = (in_play & batch.scores.observed[0]).nonzero().squeeze(-1).tolist()
    if method == "shapley":
        with torch.no_grad():
            found = shapley_attribution(reward, known, baseline, players)
    elif method == "gradient":
        found = gradient_attribution(reward, known, baseline)
    else:
        raise ConfigError(f"attribution method '{method}': 'shapley' or 'gradient'.")
    return {node: float(found[node]) if node in players else 0.0 for node in in_play.nonzero().squeeze(-1).tolist()}


def gradient_attribution(reward: Callable[[Tensor], Tensor], scores: Tensor, baseline: Tensor) -> Tensor:
    """[N] gradient times distance from the baseline: exact where the reward is linear, a local view where it is not.

    Args:
        reward: [B, N] scores -> [B]; scores, baseline: [N].
    """
    at = scores.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(at[None]).sum(), at)
    return gradient * (scores - baseline)


def shapley_attribution(
    reward: Callable[[Tensor], Tensor], scores: Tensor, baseline: Tensor, players: Sequence[int]
) -> Tensor:
    """[N] exact Shapley values (Shapley 1953): a node's mean marginal contribution over all orders in which nodes go from the
    baseline to their score. They sum to reward(scores) - reward(baseline) over the players.

    Args:
        reward: [B, N] scores -> [B]; players: positions of at most MAX_SHAPLEY nodes; all others stay at their score.

    Raises:
        ConfigError: more players: 2^n coalitions are computed.
    """
    n = len(players)
    if n > MAX_SHAPLEY:
        raise ConfigError(
            f"exact Shapley values of {n} nodes take 2^{n} rewards; at most {MAX_SHAPLEY} nodes can be computed. Use method='gradient'."
        )
    coalitions = torch.arange(2**n)
    member = (coalitions[:, None] >> torch.arange(n)) & 1  # [2^n, n]
    x = scores.repeat(2**n, 1)
    x[:, list(players)] = torch.where(member.bool(), scores[list(players)], baseline[list(players)])
    value = reward(x).double()
    size = member.sum(1)
    log_factorial = torch.lgamma(torch.arange(n + 1, dtype=torch.float64) + 1)
    found = torch.zeros(len(scores), dtype=torch.float64)
    for k, node in enumerate(players):
        without = coalitions[member[:, k] == 0]
        s = size[without]
        weight = (log_factorial[s] + log_factorial[n - s - 1] - log_factorial[n]).exp()
        found[node] = (weight * (value[without | (1 << k)] - value[without])).sum()
    return found.to(scores.dtype)
