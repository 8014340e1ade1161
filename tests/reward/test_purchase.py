"""Probabilities that meet a price, and the hard stop."""

from __future__ import annotations

import numpy as np
import pytest

from rag_graph.reward.purchase import Offer, chances, price_of, reserved_price, stop_at, within


def offer(reserved: float = 0.0) -> Offer:
    """50 answers; columns goal (price 3), two criteria (1 and .1), one that waits for the goal (2), one that is free."""
    price = np.tile([3.0, 1.0, 0.1, 2.0, 0.0], (50, 1))
    share = np.tile([1.0, 0.5, 1.0, 1.0, 1.0], (50, 1))
    goal, behind = (np.tile(row, (50, 1)) for row in ([1, 0, 0, 0, 0], [0, 0, 0, 1, 0]))
    return Offer(price, share, goal.astype(bool), behind.astype(bool), np.full(50, reserved))


def value() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((50, 5)) * [9.0, 1.0, 1.0, 0.1, 5.0]


def test_the_price_is_the_expected_one_by_hand() -> None:
    chance = np.tile([0.4, 0.6, 1.0, 0.5, 1.0], (50, 1))
    assert price_of(offer(), chance) == pytest.approx(50 * (3 * 0.4 + 0.5 * 0.6 + 0.1 + 2 * 0.5 * 0.4))
    known = 0.9 * (3 * 0.4) + 0.5 * 0.6 + 0.1 + 2 * 0.5 * (0.9 * 0.4) + 0.1 * 3
    assert price_of(offer(0.1), chance) == pytest.approx(50 * known)
    assert reserved_price(offer(0.1)) == pytest.approx(50 * 0.1 * 3)


@pytest.mark.parametrize("reserved", [0.0, 0.1])
@pytest.mark.parametrize("limit", [20.0, 60.0, 150.0])
def test_the_limit_is_met_in_expectation(limit: float, reserved: float) -> None:
    for worth in (None, value()):
        chance = chances(offer(reserved), limit, worth, 0.02)
        assert price_of(offer(reserved), chance) == pytest.approx(limit, rel=1e-6)
        assert (chance[:, 4] == 1).all(), "what is free is always asked for"
        assert chance.min() > 0
        assert chance.max() <= 1
    assert len(np.unique(chances(offer(), limit)[:, :4])) == 1, "random: one chance for all"


def test_the_chance_grows_with_value_per_price_and_never_falls_below_the_floor() -> None:
    chance = chances(offer(), 60.0, value(), 0.05)
    density = (value() / np.where(offer().price > 0, offer().price, 1))[:, :4].reshape(-1)
    mine = chance[:, :4].reshape(-1)[np.argsort(density)]
    assert (np.diff(mine) >= 0).all()
    assert mine[0] == pytest.approx(0.05)
    assert mine[-1] == 1


def test_what_costs_less_than_the_limit_is_all_bought_and_the_floor_takes_a_quarter_at_most() -> None:
    assert (chances(offer(), 1000.0, value(), 0.05) == 1).all()
    short = chances(offer(), 2.0, value(), 0.5)
    assert price_of(offer(), short) == pytest.approx(2.0, rel=1e-6)
    assert short[:, :4].min() == pytest.approx(chances(offer(), 2.0)[0, 0] / 4)


def test_the_stop_is_three_deviations_above() -> None:
    chance = np.tile([0.4, 0.6, 1.0, 0.0, 1.0], (50, 1))
    variance = 50 * (9 * 0.4 * 0.6 + 0.3 * 0.7)
    assert stop_at(offer(), chance, 80.0) == pytest.approx(80 + 3 * variance**0.5)


def test_nothing_is_bought_from_the_first_that_does_not_fit() -> None:
    price = np.array([[2.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    bought = np.array([[True, True, True], [True, True, True]])
    assert within(bought, price, 3.5).tolist() == [[True, True, True], [False, False, True]]
    order = np.array([[0.9, 0.8, 1.0], [0.1, 0.2, 1.0]])
    assert within(bought, price, 4.0, order).tolist() == [[False, False, True], [True, True, True]]
