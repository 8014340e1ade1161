"""A held-out part for data sets that have none."""

from __future__ import annotations

from rag_graph.data.held_out import held_out_units
from rag_graph.records import Example


def rows(count: int, task: str = "a", **more: object) -> list[Example]:
    return [Example(f"{task}/{n}", task, {"input": f"text {n}"}, **more) for n in range(count)]  # type: ignore[arg-type]


def test_so_many_rows_are_held_out_and_always_the_same() -> None:
    examples = rows(200)
    units = held_out_units(examples, 0.2)
    assert len(units) == 40
    assert held_out_units(reversed(examples), 0.2) == units
    more = held_out_units([*examples, Example("a/new", "a", {"input": "another"})], 0.2)
    assert len(more ^ units) <= 2, "a row more moves few others"
    assert held_out_units(examples, 0.1) < units


def test_a_passage_is_on_one_side_in_all_tasks() -> None:
    """Four questions and a summary of each of 30 passages; two texts are the same; some questions need two passages."""
    examples = [
        Example(f"q/{p}/{n}", "q", {"input": f"{p} {n}"}, unit=f"p{p}", supporting=(f"p{p}", *([f"p{p + 1}"] if p % 10 == 0 else [])))
        for p in range(30)
        for n in range(4)
    ]  # fmt: skip
    examples += [Example(f"s/{p}", "s", {"input": f"passage {p}"}, unit=f"p{p}") for p in range(30)]
    units = held_out_units(examples, 0.3)
    held = [one for one in examples if one.sampling_unit in units]
    assert 0.2 * len(examples) < len(held) < 0.4 * len(examples)
    for first in (0, 10, 20):
        assert (f"p{first}" in units) == (f"p{first + 1}" in units), "one question needs both"
    kept = {passage for one in examples if one not in held for passage in one.supporting}
    assert kept.isdisjoint(passage for one in held for passage in one.supporting)


def test_both_sides_have_something_and_one_group_cannot_be_divided() -> None:
    assert len(held_out_units(rows(3), 0.01)) == 1
    assert len(held_out_units(rows(3), 0.99)) == 2
    assert held_out_units([Example("a", "t", {"input": "x"}), Example("b", "t", {"input": "x"})], 0.5) == frozenset()
