"""What a function sees in place of a reference that is hidden by design.

On a share of the episodes the goal is hidden from the reward (`reward.reserved`, `reward.goal_observed`), so the reference is too. An empty text
or None in its place would be scored in silence; these objects raise an error that explains itself as soon as they are used. They also stand in the
place of a reference that the data do not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from rag_graph.errors import DataError

WHY = (
    "the reference of this row is hidden by design: its goal is not shown to the reward (reward.reserved, reward.goal_observed), or the data have none. "
    "Name the column as a parameter, and the function is not called for such a row; or return None where the value is a Hidden."
)


class HiddenReferenceError(DataError):
    """A function used a reference that is hidden by design. The node counts as not observed there, not as failed."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise HiddenReferenceError(WHY)


class Hidden:
    """The value of the reference's column in a row whose reference is hidden. Only `repr` and `isinstance` work on it."""

    def __repr__(self) -> str:
        return f"<Hidden: {WHY}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying and other libraries look for is just not there
            raise AttributeError(name)
        _refuse()

    def __reduce__(self) -> tuple[type[Hidden], tuple[()]]:
        return Hidden, ()

    __str__ = __format__ = __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __call__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __float__ = __int__ = __index__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse


class HiddenReferences(tuple[str, ...]):
    """The references of an episode where they are hidden: there are none (`if episode.example.references` is False), and to look for one in
    them raises."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        _refuse()

    def __getitem__(self, position: Any) -> Any:
        _refuse()

    def __contains__(self, text: object) -> bool:
        _refuse()

    def __reduce__(self) -> tuple[type[HiddenReferences], tuple[()]]:
        return HiddenReferences, ()


def used_hidden(error: BaseException) -> bool:
    """Whether an error came from the use of a hidden reference: directly, on the way, or as the type that a library did not expect."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HiddenReferenceError) or "Hidden" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
