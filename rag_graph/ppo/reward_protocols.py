"""What a reward is to a trainer: the call, and what a reward may have beside it. Knows no trainer and no tensor."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

Row = dict[str, Any]
Reward = float | None | Sequence[float]
RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "self")
"""Arguments that every reward gets by name. A column of the same name cannot be passed on."""


class RewardFunction(Protocol):
    """TRL's GRPO signature. One value per completion:

    - a number, paid at the end of the response;
    - a list of numbers, one per token of `completion_ids`, paid where the token was written;
    - None: not observed. An episode that no function observed takes no part in the update.

    A trainer calls it once for each episode of an update. What a reward may have beside the call is said by the protocols below; a
    reward has a part when it has all methods of its protocol.
    """

    __name__: str

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> Sequence[Reward]: ...


@runtime_checkable
class LearningReward(Protocol):
    """A reward that learns. Each call keeps what it scored, in order; after the policy's step it learns from what was kept (score
    first, fit after)."""

    def take_kept(self) -> list[Any]:
        """What was kept since the last time, in order; it is forgotten here. The entries can be pickled: they travel between processes."""
        ...

    def learn(self, kept: Sequence[Any]) -> None:
        """Learn from the kept entries of one update, of all processes."""
        ...


@runtime_checkable
class InfluencedReward(Protocol):
    """A reward that learns by a meta-gradient, as `GraphReward` does. Both methods are about the episodes that were
    kept since the last update; they stay kept."""

    wants_influence: bool
    """False: the two methods are not called."""

    def held_out(self) -> list[float | None]:
        """The held-out objective of each kept episode, None where there is none."""
        ...

    def move(self, influence: Sequence[float]) -> None:
        """Take the influence of each kept episode: how far one more step on it would move the policy along the gradient of the
        held-out objective."""
        ...


@runtime_checkable
class PacedReward(Protocol):
    """A reward that depends on how far the training is."""

    def advance(self, progress: float, kl: float) -> None:
        """progress: share of the training done, in [0, 1]. kl: of the last update, to the reference; NaN where it is not known."""
        ...


@runtime_checkable
class MeasuredReward(Protocol):
    """A reward that reports about itself."""

    def metrics(self) -> dict[str, float]:
        """Numbers that are logged with the update."""
        ...


@runtime_checkable
class ScoringReward(LearningReward, Protocol):
    """A reward that learns, and that can say how good answers are in units that no training moves. An evaluation asks it."""

    def measure(self, kept: Sequence[Any]) -> dict[str, float]:
        """Numbers about the kept entries of all processes, such as mean scores. Nothing is learned from them."""
        ...


@runtime_checkable
class StatefulReward(Protocol):
    """A reward whose state belongs into checkpoints: nested dicts and lists of tensors, numbers and texts."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class ShapingReward(Protocol):
    """A reward whose numbers alone may not make an episode observed, such as `PotentialShaping`."""

    observes: bool


class WrappedReward:
    """A reward around another one. Learning, state, metrics and progress are those of the reward inside: trainers look for them there.

    Args:
        inside: the reward that is called.
        name: of the whole, in logs.
    """

    def __init__(self, inside: Any, name: str | None = None) -> None:
        self.inside = inside
        self.__name__ = name or name_of(inside)


def name_of(function: Any) -> str:
    """The name of a reward in logs."""
    return str(getattr(function, "__name__", type(function).__name__))


def layers_of(function: Any) -> Iterator[Any]:
    """A reward, then what it wraps: by `WrappedReward`, `functools.partial`, `functools.wraps`, or as a bound method of the reward."""
    while function is not None:
        yield function
        if isinstance(function, WrappedReward):
            function = function.inside
        elif isinstance(function, partial):
            function = function.func
        elif inspect.ismethod(function):
            function = None if isinstance(function.__self__, type) else function.__self__
        else:
            function = getattr(function, "__wrapped__", None)


def has_part(reward: Any, part: type[Any]) -> bool:
    """Whether a reward has all methods of a protocol. An attribute of the same name that cannot be called is not one of them."""
    methods = [name for name, value in vars(part).items() if callable(value) and not name.startswith("_")]
    return isinstance(reward, part) and all(callable(getattr(reward, name)) for name in methods)
