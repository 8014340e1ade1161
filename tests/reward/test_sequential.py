"""A test that is looked at after every update errs as seldom as it says, and sees what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rag_graph.reward.sequential import BETS, BLOCK, DEPENDENT, EVERY, MOST, Best, Evidence, Sums


def test_the_evidence_is_the_formula() -> None:
    evidence, values, bound = Evidence(), [[0.2, 0.9], [1.0], [0.4, 0.6]], 0.5
    level = [evidence.see(update, bound) for update in values][-1]
    bets = [math.prod(1 + bet * (y - bound) / bound for update in values for y in update) for bet in BETS]
    assert level == pytest.approx(math.log(sum(bets) / len(BETS) / 2))  # the first beginning has the weight 1/2


def test_a_change_may_begin_later_and_an_update_counts_for_so_many_values() -> None:
    evidence = Evidence()
    for _ in range(EVERY):
        evidence.see([0.0], 0.5)
    level = evidence.see([1.0] * (3 * MOST), 0.5)
    # What began first has lost nearly everything with the largest bet; what begins now, with the weight 1/6, has not.
    totals = [(0.5 * (1 - bet) ** EVERY + 1 / 6) * (1 + bet) ** MOST for bet in BETS]
    assert level == pytest.approx(math.log(sum(totals) / len(BETS)))


def test_it_reaches_its_level_as_seldom_as_it_says() -> None:
    """At the bound itself, the worst case, where each update has a mean of its own that is right on average."""
    random = np.random.default_rng(0)
    reached = 0
    for _ in range(100):
        evidence = Evidence()
        levels = (evidence.see((random.random(6) < random.choice([0.2, 0.4])).tolist(), 0.3) for _ in range(60))
        reached += max(levels) >= math.log(10)
    assert reached <= 10


def test_the_upper_bound_covers_independent_and_dependent_means() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        sums, noise = Sums(), 0.0
        for _ in range(20):
            noise = 0.6 * noise + 0.8 * random.standard_normal()
            sums.add((random.random(16) < min(1.0, max(0.0, 0.5 + 0.1 * noise))).astype(float).tolist())
        covered += sums.upper(2.0, DEPENDENT) >= 0.5
    assert covered >= 0.9 * 300
    nothing = Sums()
    nothing.add([0.0] * 30)
    assert nothing.mean == 0.0
    assert 0.03 < nothing.upper(3.0) < 0.15, "30 times nothing does not mean never"


def test_the_best_is_kept_and_never_below_what_is_true() -> None:
    random, best = np.random.default_rng(2), Best()
    found = [best.see((random.random(8) < 0.4).astype(float).tolist(), 3.0) for _ in range(80)]
    assert any(found)
    assert 0.4 <= best.bound < 0.6
    assert [update for update, lower in enumerate(found) if lower and (update + 1) % BLOCK] == []
    before = best.bound
    for _ in range(80):
        best.see([1.0] * 8, 3.0)
    assert best.bound == before
