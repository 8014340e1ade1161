"""The reward functions of a trainer: how they are called (once for each episode), weighted, taught, logged and kept. Knows no trainer.

Shapes: B episodes, T response tokens, F reward functions.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rag_graph.errors import TrainingError
from rag_graph.ppo.reward_protocols import (
    RESERVED,
    InfluencedReward,
    LearningReward,
    MeasuredReward,
    PacedReward,
    Reward,
    RewardFunction,
    Row,
    ShapingReward,
    StatefulReward,
    has_part,
    layers_of,
    name_of,
)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the reward functions said, weighted and added."""

    end: Tensor  # [B] paid at the end of the response, NaN where no function observed the episode
    dense: Tensor  # [B, T] paid at a token
    each: Tensor  # [F, B] sum per function, NaN where it did not observe the episode

    @property
    def total(self) -> Tensor:
        """[B], NaN where not observed."""
        return self.end + self.dense.sum(1)

    def to(self, device: torch.device) -> Scored:
        return Scored(self.end.to(device), self.dense.to(device), self.each.to(device))


class Rewards:
    """Several reward functions as one.

    Args:
        functions: one or several.
        weights: one per function, default 1.

    Raises:
        TrainingError: no function, another number of weights, or one reward that learns given twice.
    """

    def __init__(
        self, functions: RewardFunction | Sequence[RewardFunction], weights: Sequence[float] | None = None
    ) -> None:
        several = isinstance(functions, Sequence) and not isinstance(functions, str)
        self.functions: list[Any] = list(functions) if several else [functions]  # type: ignore[arg-type]
        unfit = [
            function for function in self.functions if not callable(function) or isinstance(function, torch.nn.Module)
        ]
        if unfit:
            raise TrainingError(
                f"reward_funcs: {type(unfit[0]).__name__} is no reward function. Give a function of prompts, completions, completion_ids and "
                "**columns; to use a reward model, call it inside one."
            )
        self.weights = [1.0] * len(self.functions) if weights is None else list(weights)
        if len(self.weights) != len(self.functions) or not self.functions:
            raise TrainingError(f"{len(self.weights)} reward_weights for {len(self.functions)} reward_funcs.")
        if not all(map(math.isfinite, self.weights)):
            raise TrainingError(f"reward_weights {self.weights}: every weight must be a finite number.")
        self.names: list[str] = []
        for name in map(name_of, self.functions):
            others = (f"{name}_{n}" for n in itertools.count(1))
            self.names.append(next(n for n in itertools.chain([name], others) if n not in self.names))
        learning = [layer for layer in self.layers() if has_part(layer, LearningReward)]
        twice = next((layer for n, layer in enumerate(learning) if any(layer is other for other in learning[:n])), None)
        if twice is not None:
            raise TrainingError(
                f"reward_funcs: {name_of(twice)} is given twice, so each episode would be scored and learned from twice. Give it once, with "
                "the sum of its reward_weights."
            )

    def score(
        self,
        rows: list[Row],
        completions: list[Any],
        completion_ids: list[list[int]],
        num_tokens: int,
        trainer_state: Any = None,
    ) -> Scored:
        """Call every function on the completions of `rows`; `num_tokens` is T. A function that asks for `trainer_state` gets it, as in
        TRL; one that is a coroutine is awaited.

        Raises:
            TrainingError: a function returned another number of values than there are completions, another number of token
                rewards than the completion has tokens, or something that is no finite number.
        """
        end, dense = torch.zeros(len(rows)), torch.zeros(len(rows), num_tokens)
        each = torch.full((len(self.functions), len(rows)), math.nan)
        observed = torch.zeros(len(rows), dtype=torch.bool)
        for index, (function, weight) in enumerate(zip(self.functions, self.weights, strict=True)):
            name = self.names[index]
            observes = all(layer.observes for layer in layers_of(function) if isinstance(layer, ShapingReward))
            values = _values(function, name, rows, completions, completion_ids, trainer_state)
            for row, value in enumerate(values):
                if value is None:
                    continue
                numbers = _numbers(value, name, completions[row])
                if numbers.ndim == 0:
                    end[row] += weight * numbers
                elif len(numbers) != len(completion_ids[row]):
                    raise TrainingError(
                        f"reward '{name}' returned {len(numbers)} token rewards for a completion of {len(completion_ids[row])} tokens, "
                        f"{completions[row]!r}. One number per entry of completion_ids is expected, the end token included."
                    )
                else:
                    dense[row, : len(numbers)] += weight * numbers
                each[index, row] = numbers.sum()
                observed[row] |= observes
        scored = Scored(end.masked_fill(~observed, math.nan), dense, each)
        if not scored.total[observed].isfinite().all():
            raise TrainingError(
                f"the weighted sum of {', '.join(self.names)} is too large for a number. Scale the rewards down."
            )
        return scored

    def layers(self) -> list[Any]:
        """Every reward, the ones inside others included."""
        return [layer for function in self.functions for layer in layers_of(function)]

    @property
    def by_influence(self) -> list[InfluencedReward]:
        """The functions that learn by a meta-gradient."""
        return [reward for reward in self.layers() if has_part(reward, InfluencedReward) and reward.wants_influence]

    def learn(self, gather: Callable[[list[Any]], list[Any]] = list) -> None:
        """Let each function that can learn from what it scored since the last update.

        Args:
            gather: joins the kept entries of all processes, in their order; called on every process.
        """
        for reward in self.layers():
            if has_part(reward, LearningReward):
                reward.learn(gather(reward.take_kept()))

    def forget(self) -> None:
        """Nothing that was scored since the last update is learned from: it was an evaluation."""
        for reward in self.layers():
            if has_part(reward, LearningReward):
                reward.take_kept()

    def advance(self, progress: float, kl: float = math.nan) -> None:
        """Tell the functions that ask for it how much of the training is done, and how far the policy is from its reference."""
        for reward in self.layers():
            if has_part(reward, PacedReward):
                reward.advance(min(1.0, progress), kl)

    def metrics(self) -> dict[str, float]:
        """What the functions report about themselves."""
        found: dict[str, float] = {}
        for reward in self.layers():
            if has_part(reward, MeasuredReward):
                found |= reward.metrics()
        return found

    def _states(self) -> dict[str, StatefulReward]:
        return {
            name if depth == 0 else f"{name}/{depth}": layer
            for name, function in zip(self.names, self.functions, strict=True)
            for depth, layer in enumerate(layers_of(function))
            if has_part(layer, StatefulReward)
        }

    def state_dict(self) -> dict[str, Any]:
        """State by function, of those that have one."""
        return {name: reward.state_dict() for name, reward in self._states().items()}

    def load_state_dict(self, state: dict[str, Any], only: Any = None) -> None:
        """Restore the state from `state_dict`, of all functions or of one."""
        for name, reward in self._states().items():
            if name in state and (only is None or only is reward):
                reward.load_state_dict(state[name])


def _values(
    function: Any,
    name: str,
    rows: list[Row],
    completions: list[Any],
    completion_ids: list[list[int]],
    trainer_state: Any,
) -> Sequence[Reward]:
    """What a function returns, one value per completion."""
    columns = columns_of(rows)
    if _takes(function, "trainer_state"):
        columns["trainer_state"] = trainer_state
    lacking = _lacking(function, {"completions", "completion_ids", *columns})
    if lacking:
        raise TrainingError(
            f"reward '{name}' needs {', '.join(lacking)}, and the rows have no such column. Their columns: {', '.join(rows[0])}."
        )
    values = _called(function, completions=completions, completion_ids=completion_ids, **columns)
    if not isinstance(values, Sized):
        raise TrainingError(f"reward '{name}' returned {values!r}. A list with one value per completion is expected.")
    if len(values) != len(rows):
        raise TrainingError(f"reward '{name}' returned {len(values)} values for {len(rows)} completions.")
    return values  # type: ignore[return-value]


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins do not say
        return []


def _takes(function: Any, name: str) -> bool:
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in _parameters(function))


def _lacking(function: Any, given: set[str]) -> list[str]:
    """Arguments without a default that a function asks for and would not get."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in _parameters(function) if p.kind in kinds and p.default is p.empty and p.name not in given]


def _called(function: Any, /, **arguments: Any) -> Any:
    result = function(**arguments)
    if not inspect.iscoroutine(result):
        return result
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop running already in this one
        return thread.submit(asyncio.run, result).result()


def _numbers(value: Any, name: str, completion: Any) -> Tensor:
    try:
        numbers = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        numbers = torch.empty((0, 0))
    if numbers.ndim > 1:
        raise TrainingError(
            f"reward '{name}' returned {value!r} for completion {completion!r}. A number, None, or a list of numbers, one per token, is expected."
        )
    if not numbers.isfinite().all():
        bad = numbers.flatten()[~numbers.isfinite().flatten()][0].item()
        raise TrainingError(
            f"reward '{name}' is {bad} for completion {completion!r}. Return None for what was not observed."
        )
    return numbers


def columns_of(rows: list[Row]) -> dict[str, list[Any]]:
    """Rows -> the keyword arguments of a reward: `prompts`, and every other column under its name, but for `RESERVED`."""
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in RESERVED}
    return {"prompts": columns.pop("prompt"), **columns}
