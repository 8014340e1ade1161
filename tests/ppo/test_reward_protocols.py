"""What a reward may have beside the call is found in it, and in what it wraps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.reward_protocols import WrappedReward, layers_of, name_of
from rag_graph.ppo.token_rewards import Redistributed


def test_a_wrapped_reward_learns_reports_and_is_kept_as_if_it_were_bare(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(1)

    class Learner:
        progress = 0.0
        kl = math.nan

        def __init__(self) -> None:
            self.kept: list[str] = []
            self.learned: list[str] = []

        def __call__(self, prompts: list[Any], **_: Any) -> list[float]:
            self.kept += prompts
            return [1.0] * len(prompts)

        def take_kept(self) -> list[str]:
            kept, self.kept = self.kept, []
            return kept

        def learn(self, kept: Sequence[str]) -> None:
            self.learned += kept

        def advance(self, progress: float, kl: float) -> None:
            self.progress, self.kl = progress, kl

        def metrics(self) -> dict[str, float]:
            return {"learned": float(len(self.learned))}

        def state_dict(self) -> dict[str, Any]:
            return {"learned": self.learned}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.learned = state["learned"]

    def by_closure(inner: Any) -> Any:
        @functools.wraps(inner, updated=())
        def pay(prompts: list[Any], **columns: Any) -> list[float]:
            return [2 * value for value in inner(prompts, **columns)]

        return pay

    def pays(number: int, inner: Any, prompts: list[Any], **columns: Any) -> list[float]:
        return [number * value for value in inner(prompts, **columns)]

    wraps: list[Callable[[Any], Any]] = [lambda inner: inner, lambda inner: Redistributed(inner, tokenizer), by_closure]
    for wrap in wraps:
        inner = Learner()
        rewards = Rewards([lambda prompts, **_: [0.0] * len(prompts), wrap(inner)])
        scored = rewards.score([{"prompt": "a"}, {"prompt": "b"}], ["x", "y"], [[9], [9]], 1)
        assert scored.total.tolist() in ([1.0, 1.0], [2.0, 2.0])
        rewards.learn(lambda kept: [*kept, "of another process"])
        assert inner.learned == ["a", "b", "of another process"]
        rewards.advance(1.5, 0.7)
        assert (inner.progress, inner.kl) == (1.0, 0.7)
        assert rewards.metrics() == {"learned": 3.0}
        state = rewards.state_dict()
        inner.learned = []
        rewards.load_state_dict(state)
        assert inner.learned == ["a", "b", "of another process"]
        rewards.score([{"prompt": "c"}], ["x"], [[9]], 1)
        rewards.forget()
        rewards.learn()
        assert len(inner.learned) == 3, "what was scored for an evaluation is not learned from"


def test_the_layers_of_a_reward() -> None:
    def plain(prompts: list[Any], **_: Any) -> list[float]:
        return [0.0] * len(prompts)

    assert list(layers_of(plain)) == [plain]
    wrapped = WrappedReward(functools.partial(plain, weight=2), "outer")
    assert list(layers_of(wrapped)) == [wrapped, wrapped.inside, plain]
    assert [name_of(layer) for layer in layers_of(wrapped)] == ["outer", "partial", "plain"]
