"""A hidden reference says why it is hidden as soon as it is used, and never passes for a value."""

from __future__ import annotations

import copy
import json
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from rag_graph.evaluation.hidden import Hidden, HiddenReferenceError, HiddenReferences, used_hidden

USES: dict[str, Callable[[Any], Any]] = {
    "==": lambda value: value == "lima",
    "== from the left": lambda value: "lima" == value,  # noqa: SIM300
    "in": lambda value: "li" in value,
    "method": lambda value: value.strip(),
    "truth": bool,
    "length": len,
    "number": float,
    "text": str,
    "f-string": lambda value: f"the answer is {value}",
    "format": "{}".format,
    "loop": list,
    "index": operator.itemgetter(0),
    "sum": lambda value: "a" + value,
    "key": lambda value: {value: 1},
    "sort": lambda value: sorted([value, "a"]),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_hidden_value_explains_itself(use: str) -> None:
    with pytest.raises(HiddenReferenceError, match=r"hidden by design.*reserved.*not called for such a row"):
        USES[use](Hidden())


def test_it_shows_why_and_travels() -> None:
    assert "hidden by design" in repr(Hidden())
    assert isinstance(pickle.loads(pickle.dumps([Hidden()]))[0], Hidden)
    assert isinstance(copy.deepcopy(Hidden()), Hidden)
    assert not hasattr(Hidden(), "__array__")


def test_hidden_references_are_none_and_cannot_be_searched() -> None:
    references = HiddenReferences()
    assert not references
    assert len(references) == 0
    for use in (lambda r: r[0], lambda r: "x" in r, lambda r: [*r], " ".join, max):
        with pytest.raises(HiddenReferenceError):
            use(references)
    assert isinstance(pickle.loads(pickle.dumps(references)), HiddenReferences)


def raised(use: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as found:
        use()
    return found.value


def test_an_error_tells_whether_it_came_from_a_hidden_reference() -> None:
    def wrapped() -> None:
        try:
            _ = Hidden() == "x"
        except Exception as error:
            raise KeyError("no score") from error

    assert used_hidden(raised(wrapped))
    assert used_hidden(raised(lambda: json.dumps(Hidden()))), "a library names the type that it did not expect"
    assert not used_hidden(raised(lambda: 1 / 0))
    assert not used_hidden(raised(lambda: re.compile("(")))
