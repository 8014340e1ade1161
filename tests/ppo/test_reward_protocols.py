"""What a reward may have beside the call is found in it, and in what it wraps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.reward_protocols import LearningReward, MeasuredReward, WrappedReward, has_part, layers_of, name_of
from rag_graph.ppo.token_rewards import Redistributed


class Learner:
    """Learns the prompts that it was called with."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.learned: list[str] = []

    def __call__(self, prompts: list[str], **_: Any) -> list[float]:
        self.kept += prompts
        return [1.0] * len(prompts)

    def take_kept(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept

    def learn(self, kept: Sequence[str]) -> None:
        self.learned += kept


def test_a_wrapped_reward_learns_reports_and_is_kept_as_if_it_were_bare(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(1)

    class Whole(Learner):
        progress = 0.0
        kl = math.nan

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

    wraps: list[Callable[[Any], Any]] = [lambda inner: inner, lambda inner: Redistributed(inner, tokenizer), by_closure]
    for wrap in wraps:
        inner = Whole()
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


def test_an_attribute_is_not_the_method_of_a_protocol() -> None:
    reward: Any = Learner()
    reward.metrics = {}
    rewards = Rewards(reward)
    assert rewards.metrics() == {}
    assert has_part(rewards.functions[0], LearningReward)
    assert not has_part(rewards.functions[0], MeasuredReward)


def test_a_bound_method_of_a_reward_learns() -> None:
    reward = Learner()
    rewards = Rewards(reward.__call__)
    rewards.score([{"prompt": "a"}], ["x"], [[9]], 1)
    rewards.learn()
    assert reward.learned == ["a"]


def test_one_learner_given_twice_is_refused() -> None:
    reward = Learner()
    with pytest.raises(TrainingError, match=r"Learner is given twice.*sum of its reward_weights"):
        Rewards([reward, functools.partial(reward)])


@pytest.mark.parametrize("wrap", [lambda r: r, functools.partial, WrappedReward], ids=["bare", "partial", "wrapped"])
def test_shaping_alone_is_no_observation_whatever_wraps_it(wrap: Callable[[Any], Any]) -> None:
    class Shaping(WrappedReward):
        observes = False

        def __call__(self, prompts: list[str], **_: Any) -> list[float]:
            return [1.0] * len(prompts)

    class Passing(WrappedReward):
        def __call__(self, **columns: Any) -> Any:
            return self.inside(**columns)

    shaping = Shaping(None, "shaping")
    given = Passing(shaping) if wrap is WrappedReward else wrap(shaping)
    scored = Rewards([lambda prompts, **_: [None] * len(prompts), given]).score([{"prompt": "a"}], ["x"], [[9]], 1)
    assert math.isnan(scored.total.item())


def test_a_column_that_a_reward_needs_and_the_rows_lack_is_named() -> None:
    def exact(prompts: list[str], answer: list[str], **_: Any) -> list[float]:
        return [0.0] * len(prompts)

    with pytest.raises(
        TrainingError, match="'exact' needs answer, and the rows have no such column. Their columns: prompt, reference"
    ):
        Rewards(exact).score([{"prompt": "a", "reference": "b"}], ["x"], [[9]], 1)
