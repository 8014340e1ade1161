"""A table becomes arrays, or an error that says what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.reward.offline.table import read_logged

ROWS = [
    {"group": "a", "right": 0.5, "goal": 1.0},
    {"group": "a", "right": None, "goal": None},
    {"group": "b", "right": 0.25, "goal": 0.0},
]


def written(folder: Path, rows: Sequence[dict[str, Any]], kind: str) -> Path:
    path = folder / f"t.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "frame"])
def test_every_kind_of_table_says_the_same(tmp_path: Path, graph: AuxiliaryGraph, kind: str) -> None:
    table = pd.DataFrame(ROWS) if kind == "frame" else written(tmp_path, ROWS, kind)
    found = read_logged(table, graph)
    assert found.groups.tolist() == [0, 0, 1]
    assert np.nan_to_num(found.goals, nan=-1).tolist() == [1, -1, 0]
    assert np.nan_to_num(found.scores[:, graph.index["right"]], nan=-1).tolist() == [0.5, -1, 0.25]
    assert np.isnan(found.scores[:, graph.index["form"]]).all()
    assert (found.grouped_by, found.rows.tolist(), found.notes) == ("group", [0, 1, 2], ())


def told(graph: AuxiliaryGraph, rows: Sequence[dict[str, Any]], **how: Any) -> str:
    with pytest.raises(DataError) as error:
        read_logged(pd.DataFrame(rows), graph, how)  # type: ignore[arg-type]
    return str(error.value)


def test_scores_of_another_scale_get_a_remedy(graph: AuxiliaryGraph) -> None:
    rows = [{"right": value, "goal": 0.5} for value in (1, 3, 5, None)]
    assert told(graph, rows).startswith("row 1: node 'right': 2 of 3 scores are outside [0, 1]; they go from 1 to 5.")
    assert "--rescale right=1:5, in Python rescale={'right': (1, 5)}" in told(graph, rows)
    found = read_logged(pd.DataFrame(rows), graph, {"rescale": {"right": (1, 5)}})
    assert found.scores[:3, graph.index["right"]].tolist() == [0, 0.5, 1]
    turned = read_logged(pd.DataFrame(rows), graph, {"rescale": {"right": (5, 1)}})
    assert turned.scores[:3, graph.index["right"]].tolist() == [1, 0.5, 0]
    assert "outside [2, 5]" in told(graph, rows, rescale={"right": (2, 5)})
    assert "right=1:1: two different numbers" in told(graph, rows, rescale={"right": (1, 1)})
    assert "rescale: 'rihgt' is no node of the graph. Did you mean 'right'?" in told(
        graph, rows, rescale={"rihgt": (1, 5)}
    )


def test_a_misspelt_node_is_told_and_may_be_left_out(graph: AuxiliaryGraph) -> None:
    rows = [{"rigth": 0.1, "goal": 0.5, "noise": 1, "form": 1}]
    assert "column 'rigth' is no node" in told(graph, rows)
    assert "Did you mean 'right'?" in told(graph, rows)
    assert "--ignore rigth" in told(graph, rows)
    assert read_logged(pd.DataFrame(rows), graph, {"ignore": ["rigth"]}).scores.shape == (1, 4)
    both = [{**rows[0], "right": 0.2}]
    assert read_logged(pd.DataFrame(both), graph).notes == (
        "1 columns are no nodes of the graph and were passed over: rigth",
    )


def test_no_column_of_any_node(graph: AuxiliaryGraph) -> None:
    said = told(graph, [{"score": 1, "id": 2}])
    assert (
        "no column of any node of graph 'made'. It has the columns score, id; the graph has the nodes form, goal"
        in said
    )


def test_an_empty_table_and_columns_that_come_twice(tmp_path: Path, graph: AuxiliaryGraph) -> None:
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(DataError, match=r"t\.jsonl: no row"):
        read_logged(tmp_path / "t.jsonl", graph)
    (tmp_path / "t.csv").write_text("right,goal,right\n0.1,0.2,0.3\n")
    with pytest.raises(DataError, match=r"t\.csv: the column 'right' comes twice"):
        read_logged(tmp_path / "t.csv", graph)
    with pytest.raises(DataError, match="has the column 'right' twice"):
        read_logged(pd.DataFrame([[1, 2]], columns=["right", "right"]), graph)


def test_tasks_are_named_where_there_are_several(made_graph: Callable[..., AuxiliaryGraph]) -> None:
    two = made_graph(("right", "indicates", 1.0), tasks=("one", "two"))
    rows = [
        {"right": 0.1, "one": 0.5, "two": None, "kind": "one"},
        {"right": 0.1, "one": 0.3, "two": 1.0, "kind": "two"},
    ]
    assert "the graph has the tasks one, two, and no column 'task' says which" in told(two, rows)
    found = read_logged(pd.DataFrame(rows), two, {"task": "kind"})
    assert found.tasks.tolist() == [two.index["one"], two.index["two"]]
    assert found.goals.tolist() == [0.5, 1.0]
    assert found.notes == ("1 scores are of nodes that do not bear on the task of their row; they were passed over",)
    wrong = [{**rows[0], "kind": "onee"}, rows[1]]
    assert "row 0: 'onee' is no task of the graph. Did you mean 'one'? Known: one, two." in told(
        two, wrong, task="kind"
    )


def test_what_rows_belong_together(graph: AuxiliaryGraph) -> None:
    rows = [{"prompt": p, "source": s, "goal": 0.5} for p, s in (("p", 1), ("p", 1), ("q", 1), (None, 1))]
    frame = pd.DataFrame(rows)
    found = read_logged(frame, graph)
    assert (found.groups.tolist(), found.grouped_by) == ([0, 0, 1, 2], "prompt")
    alone = read_logged(frame, graph, {"group": "row"})
    assert (alone.groups.tolist(), alone.grouped_by) == ([0, 1, 2, 3], "row")
    said = told(graph, rows, group="source")
    assert "all rows are of one group by the column 'source', so none can be held out" in said
    assert "--group row" in said
    assert "no column 'sourc' for the groups. Did you mean 'source'?" in told(graph, rows, group="sourc")


def test_a_pair_is_in_one_group_and_texts_are_no_pair(graph: AuxiliaryGraph) -> None:
    rows = [{"chosen.right": 0.9, "rejected.right": 0.1}, {"chosen.right": 0.5, "rejected.right": 0.6}]
    found = read_logged(pd.DataFrame(rows), graph)
    assert (found.pairs.tolist(), found.groups.tolist(), found.rows.tolist()) == (
        [[0, 1], [2, 3]],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    )
    said = told(graph, [{"chosen": "good", "rejected": "bad", "goal": 1.0}])
    assert "hold texts, and a pair needs scores: columns chosen.NODE and rejected.NODE" in said


def test_many_problems_are_told_at_once_and_counted(graph: AuxiliaryGraph) -> None:
    said = told(graph, [{"right": f"bad{row}", "goal": 0.5} for row in range(25)])
    assert said.count("which is no number") == 10
    assert said.endswith("and 15 more problems")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "frame"])
def test_a_row_without_a_rubric_has_no_such_node(tmp_path: Path, kind: str) -> None:
    graph = load_graph("{format: 1, name: r, tasks: {goal: {goal: 1}}, criteria: {rubric: {items: rubric}}}")
    items: Any = [{"criterion": "a", "weight": 3}, {"criterion": "b", "weight": 1}]
    rows = [
        {"goal": 1.0, "rubric": items, "scores.rubric": [1.0, 0.0]},
        {"goal": 1.0, "rubric": items, "scores.rubric": None},  # a rubric that nobody scored
        {"goal": 1.0, "rubric": [], "scores.rubric": None},
        {"goal": 1.0, "rubric": None, "scores.rubric": None},
    ]
    if kind == "csv":
        rows = [
            {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
            for row in rows
        ]
    table = read_logged(pd.DataFrame(rows) if kind == "frame" else written(tmp_path, rows, kind), graph)
    at = graph.index["rubric"]
    np.testing.assert_allclose(table.scores[:, at], [0.75, np.nan, np.nan, np.nan])
    assert table.absent[:, at].tolist() == [False, False, True, True]
    assert not table.notes
    numbers = pd.DataFrame(
        {"goal": [1.0, 0.5], "rubric": [0.5, None]}
    )  # no items in the table: a score that is missing
    assert not read_logged(numbers, graph).absent.any()


@pytest.mark.parametrize("table", [[{"goal": 1.0}], {"goal": [1.0]}])
def test_what_is_no_table_gets_a_remedy(graph: AuxiliaryGraph, table: Any) -> None:
    with pytest.raises(DataError, match=r"the table: a (list|dict).*pandas\.DataFrame\(rows\)"):
        read_logged(table, graph)


def test_infinite_scores_are_no_end_of_a_scale(graph: AuxiliaryGraph) -> None:
    with pytest.raises(DataError, match=r"row 1: node 'right': 1 of 2 scores are infinite") as told:
        read_logged(pd.DataFrame({"right": [0.5, float("inf")], "goal": [1.0, 1.0]}), graph)
    assert "--rescale" not in str(told.value)
