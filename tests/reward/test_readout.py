"""How any readout pays: in which unit, what was not observed, and who has a reward at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rag_graph.reward.model import RewardModel
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.scores import Scores

PAYS_ANYWAY = sorted(name for name, readout in READOUTS.items() if readout.pays_unobserved)


def random_scores(rows: int, seed: int, share: float = 0.5) -> Scores:
    """Episodes of `t` and `u` with easy and hard criteria, a goal that they tell something about, and gaps."""
    generator = torch.Generator().manual_seed(seed)
    tasks = torch.randint(0, 2, (rows,), generator=generator)
    values = torch.rand((rows, 5), generator=generator)
    values[:, 3] = 0.9 + 0.1 * values[:, 3]
    mixed = values[:, 2] * (0.3 + 0.7 * values[:, 4])
    values[torch.arange(rows), tasks] = (mixed > torch.rand(rows, generator=generator)).float()
    observed = torch.rand((rows, 5), generator=generator) < 0.9
    observed[:, :2] = False
    observed[torch.arange(rows), tasks] = torch.rand(rows, generator=generator) < share
    return Scores(values, observed, torch.zeros(rows, 5), tasks)


def taught(model: RewardModel, share: float, updates: int = 10) -> RewardModel:
    """After some updates, as `RewardLearning` makes them: what predicts is fitted to all that was seen."""
    seen: list[Scores] = []
    for update in range(updates):
        seen.append(random_scores(64, update, share))
        model.observe(seen[-1])
        model.refit(Scores(*map(torch.cat, zip(*seen, strict=True))))
        model.settle(seen[-1])
    return model


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_pays_with_a_deviation_of_one(
    name: str, share: float, of_rules: Callable[..., RewardModel]
) -> None:
    """s06: it was between .4 and 1.1, so that one kl_coef was another experiment in each arm."""
    model = taught(of_rules(name, scale="deviation"), share)
    scores = random_scores(2000, 999, share)
    with torch.no_grad():
        paid = model(scores, 0.0)
    apart = [paid.total[paid.paid & (scores.tasks == task)] for task in (0, 1)]
    within = torch.cat([part - part.mean() for part in apart]).std()
    assert within.item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", READOUTS)
def test_the_unit_changes_no_preference(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    """Between answers that were observed alike, the reward in deviations is an affine map of the reward in score units."""
    in_units, plain = (taught(of_rules(name, scale=scale), 1.0) for scale in ("deviation", "score"))
    scores = random_scores(50, 5, 1.0)
    scores = scores._replace(observed=torch.ones(50, 5, dtype=torch.bool), tasks=torch.zeros(50, dtype=torch.long))
    with torch.no_grad():
        one, two = in_units(scores, 0.0).total, plain(scores, 0.0).total
    if not plain.readout.standardises:
        assert torch.allclose(one - one.mean(), (two - two.mean()) / in_units.scale.deviation, atol=1e-4)
    assert torch.corrcoef(torch.stack([one, two]))[0, 1] > 0.85


@pytest.mark.parametrize("name", ["goal_only", "flat", "diffusion"])
def test_what_was_not_observed_pays_nothing(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    for scale in ("score", "deviation"):
        paid = of_rules(name, scale=scale)(two_episodes(goal_observed=False), 0.3)
        assert (paid.values[:, :2] == 0).all()
        assert paid.paid.tolist() == [name != "goal_only"] * 2


@pytest.mark.parametrize("name", PAYS_ANYWAY)
def test_what_is_filled_in_pays_too(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    paid = of_rules(name)(two_episodes(goal_observed=False), 0.0)
    assert paid.paid.all()
    assert (paid.values[:, 0] * paid.weights[:, 0] > 0).all(), "the goal pays what is expected of it"


@pytest.mark.parametrize("name", READOUTS)
def test_an_episode_without_a_score_has_no_reward(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    """s20: it was paid 0."""
    scores = two_episodes()
    nothing = scores._replace(observed=torch.tensor([[False] * 5, [True, False, True, True, True]]))
    assert of_rules(name)(nothing, 0.0).paid.tolist() == [False, True]
