"""The arms on real text: goals that leaving something out does not satisfy, rules that read the text alone, a KL that is held, a fair table."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from rag_graph.config import load_config
from rag_graph.data.load import load_data
from rag_graph.graph import load_graph
from rag_graph.records import Episode, Example
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.workbench import Workbench


@pytest.fixture
def text(experiment: Callable[[str], Any]) -> Any:
    """The modules of the experiment, by name."""
    return experiment("text")


def episode(task: str, text: str, reference: str, response: str) -> Episode:
    return Episode("1", Example("1", task, {"input": text}, (reference,)), prompt="", response=response)


# ---------------------------------------------------------------------- goals and criteria


def test_a_headline_without_whom_it_is_about_is_worth_nothing(text: Any) -> None:
    reference = "Spain condemned the attack in Damascus"
    without = episode("headline", "", reference, "condemned the attack in")
    assert text.scorers.headline(without) == 0.0  # ROUGE-L alone would pay .8
    half = episode("headline", "", reference, "Spain condemned the attack")
    assert text.scorers.headline(half) == pytest.approx(0.8 / 2)  # 4 of 6 words in order; one of two names
    assert text.scorers.headline(episode("headline", "", reference, reference)) == 1.0


def test_a_summary_without_its_people_is_worth_nothing(text: Any) -> None:
    reference = "#Person1# and Tom meet at the club."
    assert text.scorers.summary(episode("summary", "", reference, "They meet at the club.")) == 0.0
    assert text.scorers.summary(episode("summary", "", reference, reference)) == 1.0


def test_half_of_an_answer_is_worth_less_than_half(text: Any) -> None:
    assert text.scorers.answer(episode("answer", "", "Barack Obama", "Obama")) == pytest.approx(2 / 3 / 2)


@pytest.mark.parametrize(
    ("rule", "said", "label"),
    [
        ("keywords", "Red Sox beat Yankees in playoff", "sports"),
        ("keywords", "A day like any other", None),
        ("outlet", "New moons found (SPACE.com)", "technology"),
        ("country", "Talks in Iran go on", "world"),
        ("money", "Profits rise 5 percent", "business"),
        ("result", "Lakers 98-91 Jazz", "sports"),
        ("lexicon", "a brilliant , moving film", "positive"),
        ("lexicon", "it is not good", "negative"),
        ("lexicon", "a film", None),
        ("turn", "clever jokes , but boring", "negative"),
        ("turn", "clever jokes", None),
        ("lacks", "without a plot", "negative"),
        ("craft", "a portrait of grief", "positive"),
    ],
)
def test_a_rule_names_a_label_or_says_nothing(text: Any, rule: str, said: str, label: str | None) -> None:
    assert getattr(text.rules, rule)(said) == label


def test_agreement_is_missing_where_the_rule_says_nothing(text: Any) -> None:
    score = text.scorers.agreement(text.rules.money)
    assert score(episode("topic", "Shares fall", "business", "business")) == 1.0
    assert score(episode("topic", "Shares fall", "business", "world")) == 0.0
    assert score(episode("topic", "A cup is won", "sports", "sports")) is None


@pytest.mark.parametrize("task", ["labels", "headline", "dialogue", "question"])
def test_every_node_without_a_metric_has_a_function_and_no_relation_is_a_rule(text: Any, task: str) -> None:
    graph = load_graph(Path(text.settings.__file__).parent / "graphs" / f"{task}.yaml")
    tasks, criteria = graph.spec.tasks, graph.spec.criteria
    own = {name for name, one in criteria.items() if one.metric == "external"}
    own |= {name for name, one in tasks.items() if "external" in one.metrics}
    assert own == set(text.scorers.SCORERS[task])
    assert {edge.relation for edge in graph.spec.edges} <= {"bounds", "indicates", "indicates_low", "grounds"}


# ---------------------------------------------------------------------- training


def test_the_coefficient_of_the_kl_moves_towards_its_target(text: Any) -> None:
    steered = text.settings.steered
    assert steered(0.1, 0.3, 0.3) == pytest.approx(0.1)
    assert steered(0.1, 0.36, 0.3) == pytest.approx(0.12)
    assert steered(0.1, 9.0, 0.3) == pytest.approx(0.2)
    assert steered(0.1, 0.0, 0.3) == pytest.approx(0.05)
    assert steered(0.01, 0.0, 0.3) == text.settings.LEAST_COEFFICIENT


def test_nothing_of_dev_is_read_while_settings_are_chosen(text: Any) -> None:
    assert "dev" in load_graph(text.settings.config_of("labels", 0, "dev", []).graph).to_yaml()
    tuning = text.settings.config_of("labels", 100, "tune", [])
    assert "dev.jsonl" not in load_graph(tuning.graph).to_yaml()
    assert tuning.data.test_share == pytest.approx(0.3)


def test_every_example_comes_equally_often(text: Any) -> None:
    examples = [Example(str(number), "topic", {"input": ""}) for number in range(5)]
    batches = text.one_token.order(examples, 2, seed=3)
    seen = [example.id for _ in range(5) for example in next(batches)]
    assert sorted(seen) == sorted(2 * [str(number) for number in range(5)])


def test_a_few_of_each_task_are_chosen(text: Any) -> None:
    examples = [Example(f"{task}{n}", task, {"input": ""}) for n in range(4) for task in ("topic", "sentiment")]
    kept = text.one_token.chosen(examples, 3, seed=0)
    assert [example.task for example in kept] == 3 * ["topic"] + 3 * ["sentiment"]
    assert len({example.id for example in kept}) == 6


# ---------------------------------------------------------------------- the table


def cell(arm: str, seed: int, score: float) -> dict[str, Any]:
    return {
        "task": "labels",
        "arm": arm,
        "seed": seed,
        "score": score,
        "before": 0.5,
        "kl": 0.3,
        "processor_seconds": 30,
    }


def test_differences_are_paired_by_seed_and_adjusted_over_the_arms(text: Any) -> None:
    scores = {"expected_goal": (0.6, 0.7, 0.8), "flat": (0.5, 0.61, 0.69), "random": (0.6, 0.7)}
    cells = [cell(arm, seed, score) for arm, each in scores.items() for seed, score in enumerate(each)]
    found = {arm: (values, p) for arm, values, p in text.table.differences(cells)}
    assert [value for (value,) in found["flat"][0]] == pytest.approx([0.1, 0.09, 0.11])
    assert [value for (value,) in found["random"][0]] == [0, 0]
    # t = .1 / (.01 / sqrt 3), t^2 = 300, with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2), doubled by Holm
    assert found["flat"][1] == pytest.approx(2 * (1 - math.sqrt(300 / 302)))
    assert found["random"][1] == 1.0
    told = io.StringIO()
    text.table.show(Console(file=told, width=200), "labels", cells)
    assert "+0.100 [" in told.getvalue()


def test_the_goal_at_equal_kl_is_read_off_the_line_between_two_looks(text: Any) -> None:
    curve = [{"kl": 0.0, "score": 0.4}, {"kl": 0.2, "score": 0.6}, {"kl": 0.3, "score": 0.5}]
    assert text.table.at_kl(curve, 0.15) == pytest.approx(0.55)
    assert text.table.at_kl(curve, 0.25) == pytest.approx(0.55)
    assert text.table.at_kl(curve, 0.9) == pytest.approx(0.5)
    assert text.table.at_kl([{"kl": 0.2, "goal": 0.6}], 0.1) is None


def test_sampled_goals_are_drawn_with_the_numbers_of_the_seed(text: Any) -> None:
    settings = ["model.scratch.num_layers=1", "model.scratch.hidden_size=48", "data.train=20", "data.test=3"]
    config = load_config(None, [*settings, "retrieval.method=none"])
    graph = load_graph(config.graph)
    data = load_data(graph, config.data, 0)
    torch.manual_seed(0)
    bench = Workbench(config, graph, OwnParts(), data)
    first, again = (text.cells.sampled_goals(bench, data.test, 7) for _ in range(2))
    assert first == again
    assert len(first) == text.cells.SAMPLES * len(data.test)
    assert all(0 <= goal <= 1 for goal in first)


def test_a_new_cell_takes_the_place_of_the_same(text: Any) -> None:
    kept = text.run.kept([cell("flat", 0, 0.1), cell("flat", 1, 0.2)], [cell("flat", 1, 0.3)])
    assert [one["score"] for one in kept] == [0.1, 0.3]


# ---------------------------------------------------------------------- one-token answers


class Tokens:
    """A tokenizer of a few words."""

    eos_token_id = 0

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return {1: " world", 2: " sports"}.get(ids[0], " other")


class Table:
    """A policy that is a table: logits [prompts, V] are what is trained."""

    def __init__(self, one_token: Any, graph: Any, prompts: int) -> None:
        names = ["Red Sox win playoff", "Troops attack Baghdad"]
        self.logits = torch.zeros(prompts, 4, requires_grad=True)
        self.reference = torch.zeros(prompts, 4)
        self.trained, self.tokenizer, self.graph = [self.logits], Tokens(), graph
        rows = [
            Example(str(n), "topic", {"input": names[n % 2]}, (("sports", "world")[n % 2],)) for n in range(prompts)
        ]
        right = {example.id: 2 - int(example.id) % 2 for example in rows}
        self.prompts = one_token.Prompts(rows, rows, {}, right)
        self._step = one_token.Policy.step
        self.as_reference = lambda: torch.no_grad()

    def logprobs(self, names: list[str]) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return self.reference[[int(name) for name in names]].log_softmax(-1)
        return self.logits[[int(name) for name in names]].log_softmax(-1)

    def step(self, optimizer: Any, loss: torch.Tensor) -> None:
        self._step(self, optimizer, loss)


def test_a_policy_learns_the_goal_from_rewards(
    text: Any, check_reduced: Callable[[str, Mapping[str, float]], None]
) -> None:
    """With the goal always observed, a table of logits learns the right labels; the curve says so."""
    config = text.settings.config_of(
        "labels", 0, "dev", ["ppo.updates=40", "ppo.batch_size=64", "ppo.learning_rate=0.3", "reward.goal_observed=1.0"]
    )
    policy = Table(text.one_token, load_graph(config.graph), prompts=16)
    curve: list[dict[str, float]] = []
    assert list(text.one_token.learn_rewards(policy, config, 2.0, 0, curve)) == list(range(1, 41))
    assert curve[0]["kl"] == 0.0
    assert curve[0]["observed"] == 1.0
    check_reduced("text", {"goal": curve[-1]["goal"]})
