"""Which scores are bought within a limit: the inclusion probability of each, and the hard stop.

Poisson sampling: every score is drawn by itself, so with probabilities p the price is met in expectation, sum of price p = limit (Horvitz & Thompson 1952; Hajek 1964).

    random    p = min(1, c)                        one number c for all
    active    p = max(floor, min(1, c d^POWER))    d = expected value / price (`acquisition.py`)

c is found by bisection. What is drawn may cost more than the limit: where the draw is more than STOP standard deviations above it, the rest is not bought.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

POWER = 2.0
"""How much more likely what is worth more is bought. Chosen on frank and the dev part of the pool `headline` (experiments/budget)."""
STOP = 3.0
FLOOR_PART = 0.25
"""Of the limit that the floor may take."""


class Offer(NamedTuple):
    """What is for sale. n answers, N nodes."""

    price: Matrix  # [n, N], 0 where nothing is for sale
    share: (
        Matrix  # [n, N] probability with which a score is asked for anyway at most (`observe`, `reward.goal_observed`)
    )
    goal: Mask  # [n, N] True at each answer's own task
    behind: Mask  # [n, N] True at scores that are asked for only where the goal's is
    reserved: Matrix  # [n] probability that the goal is bought for audits, whatever is drawn


def price_of(offer: Offer, chance: Matrix) -> float:
    """Expected price, those of reserved goals included. chance: [n, N] inclusion probability beside `share`."""
    drawn = offer.share * chance
    goal = (1 - offer.reserved) * np.where(offer.goal, drawn, 0.0).sum(-1)
    known = np.where(offer.behind, goal[:, None], np.where(offer.goal, (1 - offer.reserved)[:, None], 1.0))
    return float((offer.price * drawn * known).sum() + reserved_price(offer))


def reserved_price(offer: Offer) -> float:
    return float((np.where(offer.goal, offer.price, 0.0).sum(-1) * offer.reserved).sum())


def chances(offer: Offer, limit: float, value: Matrix | None = None, floor: float = 0.0) -> Matrix:
    """[n, N] in (0, 1]: the probability of each score beside its `share`, such that the expected price is the limit, or less if everything costs less.

    Args:
        value: [n, N] what each score is worth; None: all the same chance.
        floor: the least chance; at most FLOOR_PART of what all would have if it were the same for all.
    """
    for_sale = offer.price > 0
    ones = np.ones_like(offer.price)
    if price_of(offer, ones) <= limit:
        return ones
    alike = _scaled(offer, limit, ones, 0.0)
    if value is None or not for_sale.any():
        return alike
    density = np.where(for_sale, value / np.where(for_sale, offer.price, 1.0), 0.0) ** POWER
    if density.max() <= 0:
        return alike
    return _scaled(offer, limit, density / density.max(), min(floor, FLOOR_PART * float(alike[for_sale].min())))


def _scaled(offer: Offer, limit: float, density: Matrix, floor: float) -> Matrix:
    """Bisection on the logarithm of c."""
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        chance = np.clip(np.exp(middle) * density, floor, 1.0)
        low, high = (low, middle) if price_of(offer, np.where(offer.price > 0, chance, 1.0)) > limit else (middle, high)
    return np.where(offer.price > 0, np.clip(np.exp(low) * density, max(floor, 1e-9), 1.0), 1.0)


def stop_at(offer: Offer, chance: Matrix, limit: float) -> float:
    """What the drawn scores may cost at most."""
    drawn = offer.share * chance
    variance = float((offer.price**2 * drawn * (1 - drawn)).sum())
    return limit + STOP * math.sqrt(variance)


def within(bought: Mask, price: Matrix, most: float, order: Matrix | None = None) -> Mask:
    """The bought scores that fit into `most`, in the order of the rows, or of `order` [n, N] from the least; from the first that does not fit on, none."""
    places = np.flatnonzero(bought & (price > 0))
    if order is not None:
        places = places[np.argsort(order.reshape(-1)[places], kind="stable")]
    total = np.cumsum(price.reshape(-1)[places])
    kept = bought.copy()
    kept.reshape(-1)[places[total > most * (1 + 1e-9)]] = False
    return kept
