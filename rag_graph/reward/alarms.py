"""Alarms for reward hacking: four ways in which a reward goes up while what was meant does not.

| alarm | fires when |
|---|---|
| overoptimisation | over the last WINDOW updates the utility that is paid rises and the held-out goal falls, both beyond chance |
| miscalibration | prediction minus observation of audited goals drifts, by a two-sided CUSUM (Page 1954) |
| imputer_error | the error on hidden scores is more than twice its early value |
| past_peak | the held-out goal lies significantly below its best, and the policy has moved on since: sqrt(KL) is larger than at the best (Gao et al. 2023, arXiv 2210.10760) |

An alarm is a reason to look, not a verdict; it says when and by how much. Once it has fired it stays on until its condition has gone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NAMES = ("overoptimisation", "miscalibration", "imputer_error", "past_peak")
WINDOW = 30
EARLY = 20
TREND_T = 3.0
CUSUM_SLACK, CUSUM_LIMIT = 0.5, 12.0
ERROR_FACTOR = 2.0


def trend_t(values: Sequence[float]) -> float:
    """t statistic of the slope of `values` over their index; 0 for fewer than 4."""
    n = len(values)
    if n < 4:
        return 0.0
    x_mean, y_mean = (n - 1) / 2, math.fsum(values) / n
    sxx = math.fsum((x - x_mean) ** 2 for x in range(n))
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in enumerate(values)) / sxx
    rest = math.fsum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in enumerate(values)) / (n - 2)
    return slope / math.sqrt(max(rest, 1e-12) / sxx)


@dataclass
class Alarms:
    """Fed once per update; NaN means that there was nothing to see. All state is plain numbers and lists."""

    utilities: list[float] = field(default_factory=list)
    goals: list[float] = field(default_factory=list)
    kls: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    """The early ones, from which the usual spread is known."""
    errors: list[float] = field(default_factory=list)
    above: float = 0.0
    below: float = 0.0
    recent_error: float = math.nan
    update: int = 0
    active: dict[str, str] = field(default_factory=dict)
    """Alarms that are on, with what was seen."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Every time that an alarm went on."""

    def see(self, utility: float, goal: float, residual: float, error: float, kl: float = math.nan) -> list[str]:
        """Take in one update.

        Args:
            utility: mean of what is paid, in score units, before normalisation.
            goal: mean goal score on reserved episodes.
            residual: mean of prediction - observation over goals that were audited.
            error: root mean squared error on hidden scores.
            kl: of the policy to its reference, in nats; it may come an update late.

        Returns:
            a message for every alarm that went on.
        """
        self.update += 1
        if not math.isnan(goal):  # what follows compares them with each other
            self.goals.append(goal)
            self.utilities.append(utility)
            self.kls.append(kl)
        now = {
            "overoptimisation": self._overoptimisation(),
            "miscalibration": self._miscalibration(residual),
            "imputer_error": self._imputer_error(error),
            "past_peak": self._past_peak(),
        }
        new = {name: text for name, text in now.items() if text and name not in self.active}
        self.active = {name: text for name, text in now.items() if text}
        self.history += [{"update": self.update, "alarm": name, "seen": text} for name, text in new.items()]
        return [f"{name}: {text}" for name, text in new.items()]

    def _overoptimisation(self) -> str:
        if len(self.goals) < WINDOW:
            return ""
        up, down = trend_t(self.utilities[-WINDOW:]), trend_t(self.goals[-WINDOW:])
        if up < TREND_T or down > -TREND_T:
            return ""
        return f"over {WINDOW} updates the paid utility rises (t = {up:.1f}) while the held-out goal falls (t = {down:.1f})"

    def _miscalibration(self, residual: float) -> str:
        if not math.isnan(residual):
            if len(self.residuals) < EARLY:
                self.residuals.append(residual)
            else:
                mean = math.fsum(self.residuals) / EARLY
                spread = math.sqrt(math.fsum((r - mean) ** 2 for r in self.residuals) / (EARLY - 1))
                step = (residual - mean) / max(spread, 1e-3)
                self.above = max(0.0, self.above + step - CUSUM_SLACK)
                self.below = max(0.0, self.below - step - CUSUM_SLACK)
        if max(self.above, self.below) < CUSUM_LIMIT:
            return ""
        which = "more than was observed" if self.above > self.below else "less than was observed"
        return (
            f"predicted goals have drifted to {which} (CUSUM {max(self.above, self.below):.1f}, limit {CUSUM_LIMIT:g})"
        )

    def _imputer_error(self, error: float) -> str:
        if not math.isnan(error):
            if len(self.errors) < EARLY:
                self.errors.append(error)
            self.recent_error = error if math.isnan(self.recent_error) else 0.8 * self.recent_error + 0.2 * error
        early = math.fsum(self.errors) / max(1, len(self.errors))
        if len(self.errors) < EARLY or self.recent_error < ERROR_FACTOR * early:
            return ""
        return f"the error on hidden scores is {self.recent_error:.3f}, early it was {early:.3f}"

    def _past_peak(self) -> str:
        size = WINDOW // 3
        kept = [(goal, kl) for goal, kl in zip(self.goals, self.kls, strict=True) if not math.isnan(kl)]
        if len(kept) < 2 * size:
            return ""
        means = [math.fsum(goal for goal, _ in kept[i : i + size]) / size for i in range(len(kept) - size + 1)]
        peak = max(range(len(means)), key=means.__getitem__)
        best, now = [goal for goal, _ in kept[peak : peak + size]], [goal for goal, _ in kept[-size:]]
        kl_best = math.fsum(kl for _, kl in kept[peak : peak + size]) / size
        kl_now = math.fsum(kl for _, kl in kept[-size:]) / size
        noise = math.sqrt(_variance(best) / size + _variance(now) / size)
        fall = means[peak] - means[-1]
        if kl_now <= kl_best or fall < 4 * noise or fall < 0.02:
            return ""
        at = math.sqrt(max(kl_best, 0)), math.sqrt(max(kl_now, 0))
        return f"the held-out goal was best, {means[peak]:.3f}, at sqrt(KL) {at[0]:.2f}; it is {means[-1]:.3f} at {at[1]:.2f}"

    def metrics(self) -> dict[str, float]:
        """1 where an alarm is on."""
        return {f"alarms/{name}": float(name in self.active) for name in NAMES}

    def state_dict(self) -> dict[str, Any]:
        return {name: _copied(value) for name, value in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, _copied(value))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value)
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
