"""The pools of answers: what is drawn is what the model says, the measures are right, and every readout is judged on the same scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from rag_graph.records import Episode, Example

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "pool"


@pytest.fixture
def pool(experiment: Callable[[str], Any]) -> Any:
    """The modules of the experiment, by name."""
    return experiment("pool")


# ---------------------------------------------------------------------- measures


def test_the_optimal_policy_has_the_weights_the_goal_and_the_kl_of_its_formula(pool: Any) -> None:
    """Rewards 0 and ln 3 at beta 1: weights 1/4 and 3/4; KL = 1/4 ln 1/2 + 3/4 ln 3/2."""
    rewards, goals = np.array([[0.0, math.log(3)]]), np.array([[0.2, 1.0]])
    found = pool.measures.tilted(rewards, goals, 1.0)
    assert found.weights.tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]
    assert found.goal.tolist() == [pytest.approx(0.25 * 0.2 + 0.75 * 1.0)]
    assert found.kl == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_beta_is_found_for_a_kl_with_one_beta_for_all_prompts(pool: Any) -> None:
    """The second prompt has equal rewards: its KL stays 0, so the mean is half of the first prompt's."""
    rewards, goals = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[0.2, 1.0], [0.0, 1.0]])
    target = (0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2
    found = pool.measures.policy_at(rewards, goals, target)
    assert found.kl == pytest.approx(target, abs=1e-6)
    assert found.goal.tolist() == [pytest.approx(0.8, abs=1e-5), pytest.approx(0.5)]


def test_a_kl_that_the_answers_do_not_allow_gives_the_largest_there_is(pool: Any) -> None:
    rewards, goals = np.array([[3.0, 1.0, 2.0, 0.0]]), np.array([[0.7, 0.1, 0.2, 0.3]])
    found = pool.measures.policy_at(rewards, goals, 5.0)
    assert found.kl == pytest.approx(math.log(4))
    assert found.goal.tolist() == [pytest.approx(0.7)]
    tied = pool.measures.policy_at(np.array([[1.0, 1.0, 0.0, 0.0]]), goals, 5.0)
    assert tied.kl == pytest.approx(math.log(2))
    assert tied.goal.tolist() == [pytest.approx(0.4)]


def test_the_best_of_n_is_a_mean_over_all_draws(pool: Any) -> None:
    """Of two out of four, the best is the first with 3/6, the second with 2/6, the third with 1/6. A tie is shared."""
    rewards, goals = np.array([[3.0, 2.0, 1.0, 0.0]]), np.array([[0.1, 0.9, 0.5, 0.3]])
    best_of = pool.measures.best_of
    assert best_of(rewards, goals, 1).tolist() == [pytest.approx(0.45)]
    assert best_of(rewards, goals, 2).tolist() == [pytest.approx(0.1 * 3 / 6 + 0.9 * 2 / 6 + 0.5 / 6)]
    assert best_of(rewards, goals, 4).tolist() == [pytest.approx(0.1)]
    assert best_of(np.array([[1.0, 1.0, 0.0, 0.0]]), goals, 4).tolist() == [pytest.approx(0.5)]
    assert best_of(np.zeros((1, 4)), goals, 2).tolist() == [pytest.approx(0.45)]


def test_pairs_leave_out_equal_goals_and_count_equal_rewards_half(pool: Any) -> None:
    accuracy, counts = pool.measures.pair_accuracy, pool.measures.pair_counts
    goals = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    assert counts(goals).tolist() == [2, 0]
    right = accuracy(np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), goals)
    assert right[0] == 1
    assert math.isnan(right[1])
    assert accuracy(np.array([[1.0, 1.0, 0.0]]), goals[:1]).tolist() == [0.75]
    assert accuracy(np.array([[0.0, 1.0, 2.0]]), goals[:1]).tolist() == [0]


def test_spearman_is_scipys_and_zero_for_a_reward_that_says_nothing(pool: Any) -> None:
    rng = np.random.default_rng(0)
    rewards, goals = rng.integers(0, 4, (6, 8)) / 4, rng.integers(0, 4, (6, 8)) / 4
    found = pool.measures.spearman(rewards, goals)
    assert found.tolist() == [
        pytest.approx(stats.spearmanr(x, y).statistic) for x, y in zip(rewards, goals, strict=True)
    ]
    assert pool.measures.spearman(np.ones((1, 3)), np.array([[0.0, 1.0, 2.0]])).tolist() == [0]
    assert math.isnan(pool.measures.spearman(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]))[0])


def test_the_scale_of_a_reward_does_not_matter_and_no_reward_is_the_worst(pool: Any) -> None:
    rng = np.random.default_rng(1)
    rewards, goals = rng.normal(size=(5, 6)), rng.random((5, 6))
    values, kls = pool.measures.measure(rewards, goals)
    scaled, _ = pool.measures.measure(100 * rewards - 7, goals)
    for name in pool.measures.METRICS:
        assert scaled[name] == pytest.approx(values[name], abs=1e-4)
    assert list(kls.values()) == [pytest.approx(kl, abs=1e-6) for kl in (0.5, 1.0)] + [
        pytest.approx(math.log(6), abs=1e-6)
    ]
    order = pool.measures.standardised(np.array([[0.0, np.nan, -5.0]]))[0]
    assert order[1] < order[2] < order[0]
    assert pool.measures.standardised(np.full((1, 3), np.nan)).tolist() == [[0, 0, 0]]


def test_prompts_of_one_source_are_one_unit_of_an_interval(pool: Any) -> None:
    """With one prompt a source it is the t interval of a mean; each prompt written twice, under its source, changes nothing."""
    values = np.array([0.1, 0.5, 0.4, 0.9, 0.3])
    clustered = pool.measures.clustered
    found = clustered(values, np.ones(5), np.arange(5))
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert found == (pytest.approx(values.mean()), pytest.approx(low), pytest.approx(high))
    twice = clustered(np.repeat(values, 2), np.ones(10), np.repeat(np.arange(5), 2))
    assert twice == (pytest.approx(found.mean), pytest.approx(found.low), pytest.approx(found.high))
    weighted = clustered(np.array([1.0, 0.0, np.nan]), np.array([3.0, 1.0, 9.0]), np.arange(3))
    assert weighted.mean == 0.75


# ---------------------------------------------------------------------- drawing


def test_what_is_drawn_is_what_a_whole_pass_says(pool: Any, tiny_model: Callable[[int], Any]) -> None:
    model, _ = tiny_model(0)
    model.eval()
    prompts, stops = [[5, 6, 7, 8], [9, 10]], list(range(100, 180))
    found = list(pool.drawing.draw(model, prompts, [0, 1], 6, 5, stops, 2))
    alone = [answers for n in (0, 1) for answers in pool.drawing.draw(model, [prompts[n]], [n], 6, 5, stops, 1)]
    project = pool.drawing.projection(model.config.hidden_size)
    assert {answer["ended"] for answers in found for answer in answers} == {True, False}
    for prompt, answers, others in zip(prompts, found, alone, strict=True):
        for answer, other in zip(answers, others, strict=True):
            assert answer["ids"] == other["ids"]
            ids = answer["ids"]
            assert answer["ended"] == (len(ids) < 5)
            with torch.no_grad():
                output = model(input_ids=torch.tensor([[*prompt, *ids]]), output_hidden_states=True)
            logs, hidden = output.logits[0].log_softmax(-1), output.hidden_states[-1][0]
            places = range(len(prompt) - 1, len(prompt) - 1 + len(ids))
            said = sum(float(logs[place, token]) for place, token in zip(places, ids, strict=True))
            if answer["ended"]:  # which token ended it is not kept: its log-probability is that of one of them
                rest = answer["logprob"] - said
                assert min(abs(rest - float(logs[len(prompt) - 1 + len(ids), stop])) for stop in stops) < 1e-3
            else:
                assert answer["logprob"] == pytest.approx(said, abs=1e-3)
            mean = hidden[len(prompt) :].mean(0) if ids else hidden[len(prompt) - 1]
            assert answer["embedding"] == pytest.approx((mean @ project).tolist(), abs=2e-3)


def test_drawing_goes_on_where_it_was_stopped(pool: Any, tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, _ = tiny_model(0)
    model.eval()
    lines: list[dict[str, Any]] = [{"max_new_tokens": 4, "stop_ids": [3]}]
    lines += [{"number": n, "id": f"p{n}", "ids": [5 + n, 6]} for n in range(4)]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    told: list[int] = []
    pool.drawing.draw_file(model, asked, whole, 3, 2, told.append)
    assert told == [0, 1, 2, 3, 4]
    part.write_text(whole.read_text()[: len("".join(whole.read_text().splitlines(keepends=True)[:2])) + 20])
    told.clear()
    pool.drawing.draw_file(model, asked, part, 3, 2, told.append)
    assert told == [2, 3, 4]
    assert part.read_text() == whole.read_text()


# ---------------------------------------------------------------------- graphs, criteria, rows


def test_the_graphs_state_facts_only_and_every_criterion_is_measured(pool: Any) -> None:
    for one in pool.pools.POOLS.values():
        graph = one.graph
        relations = graph.spec.relation_types()
        assert {relations[edge.relation].role for edge in graph.spec.edges} - {"neither"} == {"fact"}
        outside = {name for name, criterion in graph.spec.criteria.items() if criterion.metric == "external"}
        assert set(pool.criteria.CRITERIA[one.name]) - {one.task} == outside
        assert 8 <= len(graph.spec.criteria) <= 12


def drawn(pool: Any, task: str, text: str, response: str, others: tuple[str, ...] = (), **more: Any) -> Any:
    episode = Episode("e", Example("x", task, {"input": text}, more.pop("references", ())), "", response, **more)
    return pool.answers.Drawn(episode, -math.log(2) * 4, 3, others)


def test_criteria_give_the_numbers_that_a_reader_counts(pool: Any) -> None:
    one = drawn(pool, "headline", "Anna Berg opened a shop in Oslo on Monday", "Anna opened shop shop")
    scores = {name: measure(one) for name, measure in pool.criteria.CRITERIA["headline"].items()}
    assert scores == {
        "ended": 1, "ordered": 0.75, "entity": 1, "lead": 0.5, "fluent": pytest.approx(0.5), "fresh": 0.75,
        "copied": 0.25, "predicate": 1,
    }  # fmt: skip
    dialogue = "#Person1#: My dog is ill, Tom. The dog eats nothing.\n#Person2#: Call the vet about your dog."
    said = drawn(pool, "summary", dialogue, "Tom calls the vet about #Person1#'s dog the vet about", truncated=True)
    scores = {name: measure(said) for name, measure in pool.criteria.CRITERIA["dialogue"].items()}
    assert (scores["ended"], scores["speaker"], scores["both"], scores["first_person"]) == (0, 1, 1, 0)
    assert scores["repeats"] == pytest.approx(2 / 10)
    assert scores["topic"] == pytest.approx(1 / 5)  # dog; not call, eats, ill, nothing: the first four of the others
    who = "Who wrote Hamlet ?"
    right = drawn(
        pool, "kind", who, "It asks for a name. -> person", ("x -> person", "x -> place"), references=("person",)
    )
    scores = {name: measure(right) for name, measure in pool.criteria.CRITERIA["kind"].items()}
    assert scores == {
        "ended": 1, "valid": 1, "rule": 1, "agree": 0.5, "consistent": 1, "grounded": 0, "fluent": pytest.approx(0.5),
        "single": 1, "wordy": 0, "names": 0, "kind": 1,
    }  # fmt: skip
    wrong = drawn(pool, "kind", who, "It asks for a name. -> number", references=("person",))
    measures = pool.criteria.CRITERIA["kind"]
    assert [measures[name](wrong) for name in ("rule", "consistent", "kind")] == [0, 0, 0]


def test_no_criterion_reads_the_reference(pool: Any) -> None:
    for name, one in pool.pools.POOLS.items():
        texts = ("Where is the shop of Anna ?", "It is in Oslo. -> place")
        scores = [
            pool.criteria.score(name, one.graph, [drawn(pool, one.task, *texts, ("b",), references=(reference,))])[0]
            for reference in ("place", "number")
        ]
        goals = [row.pop(one.task) for row in scores]
        assert scores[0] == scores[1]
        assert goals[0] > goals[1]


def test_one_reader_for_pools_and_human_judgements(pool: Any, real_data: Path, tmp_path: Path) -> None:
    rows = pool.pools.read_pool(real_data / "human_labels/frank.dev.jsonl")
    assert (len(rows), rows[0].goal, rows[0].scores["factcc"]) == (1320, pytest.approx(2 / 3), 1.0)
    row = pool.pools.Row(
        "a/0", "a", {"c": 0.5}, 0.25, "s", "hi", {"input": "x"}, ("y",), ("p",), -1.5, 2, False, (1.0,)
    )
    path = tmp_path / "pool.jsonl"
    path.write_text(row.to_json() + "\n")
    assert pool.pools.read_pool(path) == [row]


def test_three_fifths_of_the_sources_are_for_choices(pool: Any) -> None:
    parts = [pool.pools.part_of(f"source-{n}") for n in range(5000)]
    assert parts.count("dev") / 5000 == pytest.approx(0.6, abs=0.03)
    assert pool.pools.Row("a/0", "a", {}, 0.0, "source-3").part == pool.pools.part_of("source-3")


# ---------------------------------------------------------------------- judging


@pytest.fixture
def made(pool: Any) -> Any:
    """40 prompts with 4 answers, two prompts a source; the goal is .7 faithful + .3 lead."""
    rng = np.random.default_rng(0)
    graph = pool.pools.POOLS["headline"].graph
    rows = []
    for group in range(40):
        for k in range(4):
            scores = {name: float(value) for name, value in zip(graph.spec.criteria, rng.random(10), strict=True)}
            goal = 0.7 * scores["faithful"] + 0.3 * scores["lead"]
            rows.append(pool.pools.Row(f"{group}/{k}", str(group), scores, goal, f"s{group // 2}", f"answer {k}"))
    return pool.stored.Stored("headline", rows, graph)


def test_masks_keep_sources_apart_and_the_test_part_out_of_fits(pool: Any, made: Any) -> None:
    for mask in range(5):
        for part in ("dev", "test"):
            fit, judged = made.split(part, mask)
            assert made.is_dev[fit].all()
            assert (made.is_dev[judged] == (part == "dev")).all()
            assert not set(made.sources[fit]) & set(made.sources[judged])
            assert judged
    assert made.split("dev", 0) == made.split("dev", 0)
    assert made.split("dev", 0) != made.split("dev", 1)
    shown = [len(scores) for group in made.visible(0.5, 0) for scores in group]
    assert np.mean(shown) == pytest.approx(5, abs=0.5)
    assert all(len(scores) == 10 for group in made.visible(0.0, 0) for scores in group)


def test_readouts_are_judged_on_the_same_scores(pool: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ridge finds a linear goal; nothing that is judged shows its goal; a second readout changes nothing for the first."""
    asked: list[Mapping[str, float]] = []
    plain = pool.judge.GraphReward.node_rewards

    def watched(self: Any, episodes: Any) -> Any:
        asked.extend(episode.scores for episode in episodes)
        return plain(self, episodes)

    monkeypatch.setattr(pool.judge, "CELLS", (pool.stored.Cell(0.3, 0.0), pool.stored.Cell(0.3, 0.5)))
    alone = pool.judge.judge_mask(made, "test", 0, ["ridge"])
    monkeypatch.setattr(pool.judge.GraphReward, "node_rewards", watched)
    both = pool.judge.judge_mask(made, "test", 0, ["flat", "ridge"])
    assert np.array_equal(alone["ridge"], both["ridge"], equal_nan=True)
    fit, judged = made.split("test", 0)
    goals_seen = sum("headline" in scores for scores in asked)
    assert 0 < goals_seen < 4 * 4 * len(fit)  # those to learn from, in two cells with two readouts
    pairs = pool.measures.METRICS.index("pairs")
    assert np.isfinite(both["ridge"][0, pairs, judged]).all()
    assert np.isnan(both["ridge"][0, pairs, fit]).all()
    ridge, flat = (np.nanmean(both[name][0, pairs]) for name in ("ridge", "flat"))
    assert ridge > 0.9
    assert ridge > flat + 0.1


def test_the_summary_compares_the_default_with_the_best_of_the_others(
    pool: Any, made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pool.outcome, "CELLS", (pool.stored.Cell(0.3, 0.0),))
    monkeypatch.setattr(pool.outcome, "DEFAULT", "ours")
    metrics, prompts = len(pool.measures.METRICS), len(made.goals)

    def judged(level: float, known: slice) -> Any:
        values = np.full((1, metrics, prompts), np.nan)
        values[..., known] = level
        return values

    def one_mask(known: slice) -> dict[str, Any]:
        values = {"ours": judged(0.6, known), "good": judged(0.7, known), "poor": judged(0.1, known)}
        extra = {f"{name}/kl": np.zeros((1, 3)) for name in values} | {f"{name}/seconds": np.ones(1) for name in values}
        return values | extra

    (record,) = pool.outcome.summary(made, [one_mask(slice(0, 20)), one_mask(slice(10, 40))], ["ours", "good", "poor"])
    assert record["readouts"]["good"]["pairs"] == [0.7, 0.7, 0.7]
    assert record["difference"]["best_of_all"] == ["good", -0.1, -0.1, -0.1]
    text = pool.outcome.overall({"cells": [record], "readouts": ["ours", "good", "poor"]}, "pairs")
    assert text.splitlines() == [
        "pairs, mean over 1 cells: good 0.700, ours 0.600, poor 0.100",
        "ours is furthest below the best other readout (good) by -0.100: headline, 0.3 of goals seen, 0 of criteria hidden",
    ]
    path = tmp_path / "judged.npz"
    pool.judge.keep(path, one_mask(slice(0, 20)))
    assert np.array_equal(pool.judge.kept(path)["ours"], judged(0.6, slice(0, 20)), equal_nan=True)


@pytest.mark.slow
def test_a_stored_pool_is_scored_and_judged(
    real_data: Path, tmp_path: Path, check_reduced: Callable[[str, Mapping[str, float]], None]
) -> None:
    """The commands of the page on answers that were drawn before; the numbers of expected.json."""
    answers = str(real_data / "pools/headline.jsonl")
    out, pools = tmp_path / "results.json", str(tmp_path / "pools")
    sample = ("sample.py", "--pool", "headline", "--from", answers, "--out", pools)
    judge = (
        "judge.py",
        "--pools",
        pools,
        "--readouts",
        "flat",
        "ridge",
        "--masks",
        "3",
        "--workers",
        "1",
        "--out",
        str(out),
    )
    for script, *arguments in (sample, judge):
        done = subprocess.run(
            [sys.executable, str(FOLDER / script), *arguments], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
    cells = json.loads(out.read_text())["cells"]
    (cell,) = (c for c in cells if (c["goals_seen"], c["criteria_hidden"]) == (0.3, 0.0))
    check_reduced("pool", {name: found["pairs"][0] for name, found in cell["readouts"].items()})
