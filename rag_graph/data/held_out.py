"""A held-out part for data sets that have none: a share of the rows, whole units only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import networkx

from rag_graph.data.reserved import draw
from rag_graph.errors import DataError
from rag_graph.records import Example

Pair = tuple[Example, str | None]
"""An example, and its weak answer if there is one."""


def divide(rows: Mapping[str, Sequence[Pair]], share: float) -> dict[str, dict[str, list[Pair]]]:
    """Rows of tasks -> the same in two parts, "train" and "test".

    Raises:
        DataError: a task would have no row on one side.
    """
    units = held_out_units((example for pairs in rows.values() for example, _ in pairs), share) if rows else frozenset()
    divided: dict[str, dict[str, list[Pair]]] = {}
    for name, pairs in rows.items():
        parts: dict[str, list[Pair]] = {"train": [], "test": []}
        for example, weak in pairs:
            parts["test" if example.sampling_unit in units else "train"].append((example, weak))
        if not all(parts.values()):
            side = "held-out" if parts["train"] else "training"
            raise DataError(
                f"task '{name}': with data.test_share {share:g}, none of its {len(pairs)} rows is in the {side} part, for rows of one unit (a passage, "
                "a text) stay together. Choose another share, or state a file under 'test:'."
            )
        divided[name] = parts
    return divided


def held_out_units(examples: Iterable[Example], share: float) -> frozenset[str]:
    """The sampling units whose examples are held out, of the tasks together.

    Examples of one unit (`Example.sampling_unit`: the field `unit`, else the text), and units whose examples name the same supporting passage,
    are one group; a group is held out as a whole, in every task. Groups are taken in the order of a hash, until the next one would bring the
    held-out examples further from `share` of all. So the part is the same for every seed, and a row that is added moves few others.

    Args:
        share: of the examples, in (0, 1).

    Returns:
        at least one group, and never all; none where there is only one.
    """
    related = networkx.Graph()
    sizes: dict[str, int] = {}
    for example in examples:
        unit = example.sampling_unit
        sizes[unit] = sizes.get(unit, 0) + 1
        related.add_node(("unit", unit))
        related.add_edges_from((("unit", unit), ("passage", passage)) for passage in example.supporting)
    groups = [
        sorted(name for kind, name in component if kind == "unit")
        for component in networkx.connected_components(related)
    ]
    groups.sort(key=lambda units: draw(0, "held out", units[0]))
    wanted, taken, count = share * sum(sizes.values()), list[list[str]](), 0
    for units in groups[:-1]:
        size = sum(sizes[unit] for unit in units)
        if taken and abs(count + size - wanted) >= abs(count - wanted):
            break
        taken.append(units)
        count += size
    return frozenset(chain.from_iterable(taken))
