"""Tests that may be looked at after every update: has the mean of a quantity in [0, 1] risen beyond a bound?

`Evidence` is an e-process (Ramdas et al. 2023, arXiv 2210.01948): as long as the mean, given all that came before, stays within the bound, the
probability that it ever reaches 1 / a is at most a (Ville's inequality), over a run of any length and however its updates depend on each other.
It bets on the values (Waudby-Smith & Ramdas 2024, arXiv 2010.09686) from every update on, because a change may begin at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

BETS = (0.1, 0.3, 0.9)
"""Shares of what can be staked; the evidence is the mean over them."""
FIRST_UPDATES, FIRST_VALUES = 4, 32
"""The beginning of a run: so many updates at least, and so many values."""
BLOCK = 10
"""Updates of a block. A stretch is 1, 2, 4 or 8 blocks: those up to block k, as many as divide k."""
MOST = 8
"""Values that an update counts for at most. A power below 1 of a bet is a fair bet too (Jensen); what all answers of one update share counts less so."""
EVERY = 5
"""Updates from one possible beginning of a change to the next."""
STRETCHES = (1, 2, 4, 8)
DEPENDENT = 4.0
"""The variance of a mean over updates, against that of independent ones: (1 + r) / (1 - r) for an autocorrelation r of .6."""


def log_sum(values: Sequence[float]) -> float:
    """log of the sum of exp(values); -inf without any."""
    top = max(values, default=-math.inf)
    return top + math.log(math.fsum(math.exp(value - top) for value in values)) if top > -math.inf else top


@dataclass
class Evidence:
    """log of sum_j w_j prod_{t >= j} L_t, the mean over the BETS b: L = prod_i (1 + b (y_i - m) / m) over the values y of an update with the bound m, to the power MOST / n where there are n > MOST values;
    w_j = 1 / (j (j + 1)) is the weight of a change that begins with the j-th of the updates 1, 1 + EVERY, ... (a mixture as in e-detectors, Shin et al. 2022, arXiv 2203.03532)."""

    logs: list[float] = field(default_factory=lambda: [-math.inf] * len(BETS))
    updates: int = 0

    def see(self, values: Sequence[float], bound: float) -> float:
        """Take in the values of one update, each in [0, 1]; the bound is in (0, 1], and known before. Returns the log of the evidence."""
        self.updates += 1
        number_of_begin, rest = divmod(self.updates - 1, EVERY)
        begin = -math.log((number_of_begin + 1) * (number_of_begin + 2)) if rest == 0 else -math.inf
        power = min(1.0, MOST / max(1, len(values)))
        for number, bet in enumerate(BETS):
            gained = power * math.fsum(math.log1p(bet * (value - bound) / bound) for value in values)
            self.logs[number] = log_sum([self.logs[number], begin]) + gained
        return log_sum(self.logs) - math.log(len(BETS))


@dataclass
class Sums:
    """Values of some updates: [number, sum, sum of squares, updates, sum of means, sum of squared means]."""

    sums: list[float] = field(default_factory=lambda: [0.0] * 6)

    def add(self, values: Sequence[float]) -> None:
        total, mean = math.fsum(values), math.fsum(values) / len(values)
        new = (len(values), total, math.fsum(v * v for v in values), 1, mean, mean * mean)
        self.sums = [old + more for old, more in zip(self.sums, new, strict=True)]

    @property
    def mean(self) -> float:
        return self.sums[1] / max(1.0, self.sums[0])

    def upper(self, deviations: float, dependent: float = 1.0) -> float:
        """An upper confidence bound of the mean: so many standard errors above it.

        The variance of the mean is that of independent values, with one made-up value at 0 and one at 1, so that it is never 0; and what the means of
        updates vary beyond that, `dependent` times.
        """
        number, total, squares, updates, means, squared = self.sums
        centre = (total + 1) / (number + 2)
        within = max((squares + 1) / (number + 2) - centre * centre, 0.0) / (number + 2)
        spread = max(squared - means * means / max(1.0, updates), 0.0) / max(1.0, updates - 1)
        beyond = max(spread / updates - within, 0.0) if updates > 1 else 0.0
        return self.mean + deviations * math.sqrt(within + dependent * beyond)


@dataclass
class Best:
    """The least upper confidence bound of the mean over all stretches so far. Fed with losses (1 - score), it is the best that a score was."""

    blocks: list[list[float]] = field(default_factory=list)
    current: list[float] = field(default_factory=lambda: [0.0] * 6)
    looks: int = 0
    bound: float = math.inf
    mean: float = math.nan

    def see(self, values: Sequence[float], deviations: float) -> bool:
        """Take in the values of one update. True where the bound has become lower.

        Args:
            deviations: standard errors of the first look; a later look takes more, so that all of them together err as seldom.
        """
        block = Sums(self.current)
        block.add(values)
        self.current = block.sums
        if block.sums[3] < BLOCK:
            return False
        self.blocks = [*self.blocks, block.sums][-STRETCHES[-1] :]
        self.current = [0.0] * 6
        self.looks += 1
        length = next(length for length in reversed(STRETCHES) if self.looks % length == 0)
        stretch = Sums([math.fsum(column) for column in zip(*self.blocks[-length:], strict=True)])
        # Spending 1 / (k (k + 1)) of the error at look k, by the tail of the normal distribution.
        upper = stretch.upper(math.sqrt(deviations**2 + 2 * math.log(self.looks * (self.looks + 1))), DEPENDENT)
        if stretch.sums[0] < FIRST_VALUES or upper >= self.bound:
            return False
        self.bound, self.mean = upper, stretch.mean
        return True
