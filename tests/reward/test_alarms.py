"""Each alarm has a course of training in which it must fire and one in which it must not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch

from rag_graph.reward.alarms import EARLY, NAMES, WINDOW, Alarms, trend_t

Step = tuple[float, float, float, float, float]
"""utility, goal, residual, error, kl"""


def noise(seed: int, scale: float = 0.02) -> Iterator[float]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield scale * torch.randn((), generator=generator).item()


def run(course: Callable[[int], Step], updates: int = 120, seed: int = 0) -> Alarms:
    alarms, jitter = Alarms(), noise(seed)
    for update in range(updates):
        utility, goal, residual, error, kl = course(update)
        alarms.see(utility + next(jitter), goal + next(jitter), residual + next(jitter), error, kl)
    return alarms


def fired(alarms: Alarms) -> set[str]:
    return {entry["alarm"] for entry in alarms.history}


def healthy(update: int) -> Step:
    """Reward and goal rise together, predictions are right on average, the error falls."""
    share = update / 120
    return 0.2 + 0.5 * share, 0.2 + 0.5 * share, 0.0, 0.8 - 0.2 * share, 2.0 * share


def hacked(update: int) -> Step:
    """The reward goes on rising, from half of the run the goal falls."""
    share = update / 120
    return 0.2 + 0.5 * share, 0.6 - 0.4 * abs(share - 0.5) * 2, 0.0, 0.8, 4.0 * share


def plateau(update: int) -> Step:
    """Both reach their best and stay: no alarm, however long."""
    share = min(1.0, update / 60)
    return 0.2 + 0.5 * share, 0.2 + 0.5 * share, 0.0, 0.6, 3.0 * update / 120


def drifting(update: int) -> Step:
    """Predictions of the goal come to exceed what is observed, by less than the noise of one update."""
    return 0.5, 0.5, max(0.0, (update - 40) / 80) * 0.05, 0.8, 1.0


def failing(update: int) -> Step:
    """The imputer's error grows to three times what it was."""
    return 0.5, 0.5, 0.0, 0.4 + 0.8 * max(0.0, min(1.0, (update - 40) / 50)), 1.0


@pytest.mark.parametrize(
    ("name", "course"),
    [("overoptimisation", hacked), ("miscalibration", drifting), ("imputer_error", failing), ("past_peak", hacked)],
)
def test_it_fires_where_it_must(name: str, course: Callable[[int], Step]) -> None:
    for seed in range(5):
        assert name in fired(run(course, seed=seed)), seed


def stationary(update: int) -> Step:
    """Nothing changes but the KL."""
    return 0.5, 0.5, 0.0, 0.8, 0.01 * update


def from_nothing(update: int) -> Step:
    """A policy that first fails at everything, so that there is nothing to predict, and then learns; predictions are off at first."""
    share = max(0.0, (update - 25) / 95)
    return 0.8 * share, 0.8 * share, 0.25 * 0.9**update, 0.0 if update < 25 else 0.35, 2.0 * share


def improving(update: int) -> Step:
    """The imputer gets better all along, and its bias goes away."""
    return 0.5, 0.5, 0.2 * 0.93**update, 0.9 * 0.99**update, 1.0


@pytest.mark.parametrize("course", [healthy, plateau, stationary, from_nothing, improving])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_silent_where_nothing_is_wrong(name: str, course: Callable[[int], Step]) -> None:
    false = sum(name in fired(run(course, seed=seed)) for seed in range(20))
    assert false <= 1, f"{false} of 20 sound runs"


def test_each_alarm_is_silent_in_the_others_course() -> None:
    assert "imputer_error" not in fired(run(hacked))
    assert "miscalibration" not in fired(run(failing))
    assert fired(run(drifting)) == {"miscalibration"}
    assert fired(run(failing)) == {"imputer_error"}


def test_few_binary_goals_and_many_updates_are_no_alarm() -> None:
    """Three reserved goals of 0 or 1 an update, or one on every fifth, over hundreds of updates in which nothing happens."""
    false = dict.fromkeys(NAMES, 0)
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        alarms, sparse = Alarms(), seed % 2 == 1
        for update in range(500):
            few = 1 if sparse else 3
            goals = (torch.rand(few, generator=generator) < 0.5).float()
            known = not sparse or update % 5 == 0
            goal = goals.mean().item() if known else math.nan
            residual = 0.5 - goal
            utility = 0.5 + 0.1 * torch.randn((), generator=generator).item() + 0.0002 * update
            alarms.see(utility, goal, residual, 0.9, 0.01 * update, few)
        for name in fired(alarms):
            false[name] += 1
    assert max(false.values()) <= 3, f"false alarms in 30 runs: {false}"


def test_a_utility_that_is_unknown_is_no_rise() -> None:
    alarms = run(lambda update: (math.nan, 0.9 - update / 200, 0.0, 0.8, 1.0))
    assert "overoptimisation" not in fired(alarms)


def test_a_fall_without_a_larger_kl_is_not_past_the_peak() -> None:
    def back(update: int) -> Step:  # the policy returns to where it was, and the goal with it
        share = 1 - abs(update / 120 - 0.5) * 2
        return 0.5, 0.2 + 0.4 * share, 0.0, 0.8, 4.0 * share

    assert "past_peak" not in fired(run(back))


def test_it_goes_off_when_its_condition_has_gone_and_says_when_it_came() -> None:
    def recovers(update: int) -> Step:
        return failing(update) if update < 110 else (0.5, 0.5, 0.0, 0.3, 1.0)

    alarms = run(recovers, 150)
    assert alarms.active == {}
    assert alarms.metrics()["alarms/imputer_error"] == 0.0
    (entry,) = alarms.history
    assert EARLY < entry["update"] <= 111
    assert "early it was" in entry["seen"]


def test_nothing_to_see_is_nothing_learned() -> None:
    alarms = Alarms()
    for _ in range(100):
        assert alarms.see(math.nan, math.nan, math.nan, math.nan) == []
    assert alarms.history == []


def test_a_state_taken_back_goes_on_as_before() -> None:
    first = run(hacked, 70)
    second = Alarms()
    second.load_state_dict(first.state_dict())
    for update in range(70, 120):
        assert first.see(*hacked(update)) == second.see(*hacked(update))
    assert first.history == second.history


def test_the_trend_is_the_t_statistic_of_the_slope() -> None:
    from scipy.stats import linregress

    values = [0.1, 0.5, 0.2, 0.7, 0.6, 0.9, 0.4]
    line = linregress(range(7), values)
    assert trend_t(values) == pytest.approx(line.slope / line.stderr)
    assert trend_t([1.0] * WINDOW) == 0.0
