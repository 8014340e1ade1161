"""Checks of what a graph file asks a judge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rag_graph.errors import near_miss

ARGUMENTS = {"question": str, "scale": list, "reference": bool, "judge": str}
"""Arguments of metric `judge`; see `rag_graph.evaluation.judging`."""


def check_judge(
    location: tuple[str | int, ...], args: Any, by_item: bool = False
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Problems with the `args` of a node that asks a judge: (place, message).

    Args:
        by_item: the node is a rubric: each item is a question.
    """
    args = args if isinstance(args, dict) else {}
    for name, value in args.items():
        place = (*location, "args", name)
        if name not in ARGUMENTS:
            yield (
                place,
                f"metric 'judge' has no argument '{name}'.{near_miss(str(name), ARGUMENTS)} It takes {', '.join(ARGUMENTS)}.",
            )
        elif name == "scale":
            if not _is_scale(value):
                yield place, f"{value!r} is not a scale: two numbers, the lower one first, as in [1, 5]."
        elif not isinstance(value, ARGUMENTS[name]) or value == "":
            yield place, f"{value!r} is not {'true or false' if ARGUMENTS[name] is bool else 'text'}."
    if not by_item and not args.get("question"):
        yield (*location, "args"), "metric 'judge' needs args: {question: WHAT TO ASK ABOUT AN ANSWER}."


def _is_scale(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one) for one in value):
        return False
    return bool(value[0] < value[1])
