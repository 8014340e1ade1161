"""What a check of a judge says equals the definitions by hand, and finds the biases that were planted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas
import pytest
from scipy.stats import spearmanr

from rag_graph.errors import ConfigError
from rag_graph.evaluation.statistics import Interval
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.offline.judge_check import JudgeCheck, check_judges, judges_in, shown
from rag_graph.reward.offline.table import read_logged

GRAPH = AuxiliaryGraph.build(
    name="judged",
    tasks={"good": 1.0},
    criteria={"helpful": {"metric": "judge", "args": {"question": "Is it helpful?"}}, "brief": {}},
    edges=[("helpful", "good", "indicates"), ("brief", "good", "indicates")],
)


def rows(
    number: int = 160, length: float = 0.0, position: float = 0.0, shift: float = 0.0, noise: float = 0.1, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows in groups of two. The judge gives what people give, plus `length` a doubling of the length beyond 8 words, plus `position` at position 1."""
    rng = np.random.default_rng(seed)
    made = []
    for row in range(number):
        human, words = float(rng.uniform(0.4, 0.6)), (2, 4, 8, 16, 32)[row // 2 % 5]
        judge = (
            human
            + length * math.log2(words / 8)
            + position * (row % 2 == 0)
            + shift
            + noise * float(rng.uniform(-1, 1))
        )
        made.append(
            {
                "group": f"g{row // 2}",
                "good": human,
                "helpful": min(1.0, max(0.0, judge)),
                "response": "word " * words,
                "position": row % 2 + 1,
            }
        )
    return made


def checked(table: list[dict[str, Any]]) -> JudgeCheck:
    (found,), notes = check_judges(read_logged(pandas.DataFrame(table), GRAPH), ["helpful"])
    assert notes == []
    return found


def test_the_numbers_are_those_of_the_definitions() -> None:
    table = rows(60, length=0.05, shift=0.05)
    found = checked(table)
    judge, human = (np.array([row[name] for row in table]) for name in ("helpful", "good"))
    first, second = (np.floor(values * 4 + 0.5).astype(int) for values in (judge, human))
    observed = float(((first - second) ** 2).mean())
    by_chance = float(((first[:, None] - second[None]) ** 2).mean())
    assert found.kappa.mean == pytest.approx(1 - observed / by_chance, abs=1e-6)
    assert found.spearman.mean == pytest.approx(float(spearmanr(judge, human).statistic), abs=1e-6)
    assert found.bias.mean == pytest.approx(float((judge - human).mean()), abs=1e-6)
    doublings = np.log2([len(row["response"].split()) for row in table])
    assert found.doubling is not None
    assert found.doubling.mean == pytest.approx(float(np.polyfit(doublings, judge - human, 1)[0]), abs=1e-6)
    assert found.length is not None
    assert found.length.mean == pytest.approx(float(spearmanr(judge - human, doublings).statistic), abs=1e-6)
    assert [(one.position, one.rows) for one in found.positions] == [("1", 30), ("2", 30)]
    assert found.positions[0].bias.mean == pytest.approx(float((judge - human)[::2].mean()), abs=1e-6)
    assert found.positions[0].apart.mean == pytest.approx(
        float((judge - human)[::2].mean() - (judge - human)[1::2].mean()), abs=1e-6
    )
    assert (found.goals, found.rows, found.groups, found.marks) == (("good",), 60, 30, 5)


def test_a_judge_without_bias_is_said_to_have_none() -> None:
    said = checked(rows()).said
    assert said[0].startswith(
        "'helpful' against 'good', 160 answers: it orders answers as people do, beyond chance: rank correlation 0."
    )
    assert said[1].startswith("its mean is that of people, as far as these rows can say: ")
    assert said[2].startswith("the length of an answer changes nothing, as far as these rows can say: ")
    assert said[3] == "the position changes nothing, as far as these rows can say"


def test_planted_biases_are_found_with_their_size() -> None:
    found = checked(rows(length=0.06, position=0.1, shift=-0.15))
    assert found.doubling is not None
    assert found.doubling.low < 0.06 < found.doubling.high
    assert found.doubling.low > 0.03
    assert found.said[1].startswith("it marks lower than people: -0.")
    assert found.said[2].startswith("it marks long answers higher than people do: +0.06 [+0.0")
    assert found.said[2].endswith("]")
    assert found.said[3].startswith("it marks answers at position 1 higher than elsewhere: +0.")
    assert found.positions[0].apart.low < 0.1 < found.positions[0].apart.high


def test_a_judge_that_tells_nothing_apart() -> None:
    table = rows()
    for row in table:
        row["helpful"] = 0.5
    found = checked(table)
    assert found.spearman.mean == 0
    assert found.said[0].startswith(
        "'helpful' against 'good', 160 answers: it does not order answers as people do, as far as these rows can say"
    )
    assert found.said[-1].startswith("a judge that tells little apart mirrors what people prefer")
    for row in table:
        row["good"] = 0.5
    assert math.isnan(checked(table).kappa.mean), "one mark everywhere"


def test_what_the_table_lacks_is_said() -> None:
    table = rows(12)
    for row in table:
        del row["response"], row["position"]
    found = checked(table)
    assert (found.length, found.doubling, found.positions) == (None, None, ())
    assert "bias by length is not known: no column 'response' holds the texts" in found.said
    assert "bias by position is not known: no column 'position' has two values" in found.said
    for row in table:
        row["response"] = "one length"
    assert "bias by length is not known: all answers have one length" in checked(table).said


def test_too_few_rows_are_a_note() -> None:
    table = rows(12)
    for row in table[3:]:
        row["helpful"] = None
    found, notes = check_judges(read_logged(pandas.DataFrame(table), GRAPH), ["helpful"])
    assert found == []
    assert notes == [
        "judge 'helpful': 3 rows have both its score and a human goal, and 4 are needed to say how far they agree"
    ]


def test_which_nodes_are_judges() -> None:
    assert judges_in(GRAPH, None) == ("helpful",)
    assert judges_in(GRAPH, ["brief", "brief"]) == ("brief",)
    with pytest.raises(ConfigError, match="judges: 'good' is a goal, and a judge is compared with it"):
        judges_in(GRAPH, ["good"])
    with pytest.raises(
        ConfigError, match="judges: 'helpfull' is no criterion of graph 'judged'. Did you mean 'helpful'"
    ):
        judges_in(GRAPH, ["helpfull"])


def test_texts_and_positions_of_a_table() -> None:
    table = pandas.DataFrame(
        {
            "good": [0.1, 0.2, 0.3, 0.4],
            "response": ["two words", "", None, [{"role": "assistant", "content": "one two three"}]],
            "position": [1.0, None, 2.0, 10.0],
        }
    )
    found = read_logged(table, GRAPH)
    assert found.words[[0, 1, 3]].tolist() == [2, 0, 3]
    assert math.isnan(found.words[2])
    assert found.positions == ("1", None, "2", "10")


def test_intervals_in_two_digits() -> None:
    nan = float("nan")
    assert shown(Interval(0.123, 0.1, 0.2)) == "0.12 [0.10, 0.20]"
    assert shown(Interval(0.123, -0.1, 0.2), True) == "+0.12 [-0.10, +0.20]"
    assert shown(Interval(0.5, nan, nan)) == "0.50 [not known]"
    assert shown(Interval(nan, nan, nan)) == "not known"
