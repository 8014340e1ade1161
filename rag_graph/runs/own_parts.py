"""Parts of a run that a researcher brings along: scorers, a retriever, a readout. Plain functions and classes of their own file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from rag_graph.config import RetrievalConfig
from rag_graph.errors import ConfigError, DataError
from rag_graph.evaluation.functions import Scorer
from rag_graph.retrieval_methods import DENSE_METHODS

if TYPE_CHECKING:  # opening a run loads no torch
    from rag_graph.rag.context_pool import MakeRetriever
    from rag_graph.reward.readouts import OwnReadout


@dataclass(frozen=True, slots=True)
class OwnParts:
    """
    scorers: node -> a function in TRL's signature or of one episode, which gives numbers in [0, 1], or None where there is nothing to observe
        (`rag_graph.evaluation.functions`). None in place of a function: the node is predicted.
    retriever: passages of one task -> what ranks them; takes the place of `retrieval.method`.
    readout: filled scores [B, N], graph, tasks [B] -> what each node pays, [B, N]; takes the place of the formulas of
        `reward.readout`, whose imputer and graph learning stay. Or a `Readout`, which takes its place as a whole.
    """

    scorers: Mapping[str, Scorer | None] = field(default_factory=dict)
    retriever: MakeRetriever | None = None
    readout: OwnReadout | None = None

    def names(self) -> dict[str, Any]:
        """What the manifest says of them."""
        named: dict[str, Any] = {"scorers": {node: name_of(scorer) for node, scorer in self.scorers.items()}}
        named |= {"retriever": self.retriever and name_of(self.retriever)}
        named |= {"readout": self.readout and name_of(self.readout)}
        return {kind: name for kind, name in named.items() if name}

    def check(self, config: RetrievalConfig) -> None:
        """Raises ConfigError for a part that cannot be called, and an own retriever beside an encoder that it puts aside."""
        parts = {
            **{f"scorers['{node}']": scorer for node, scorer in self.scorers.items()},
            "retriever": self.retriever,
            "readout": self.readout,
        }
        for name, part in parts.items():
            if part is not None and not callable(part) and not (name == "readout" and _is_readout(part)):
                raise ConfigError(
                    f"{name}: a {type(part).__name__}, which cannot be called. Give a function; for a retriever the class itself, or a function that makes one."
                )
        if self.retriever is not None and config.method in DENSE_METHODS:
            raise ConfigError(
                f"retrieval.method={config.method} and a retriever of your own: there is nothing for its encoder to do. "
                "Set retrieval.method=bm25; your retriever takes its place."
            )

    def check_same(self, stated: Mapping[str, Any], where: str) -> None:
        """Raises DataError where a run was made with other parts than these; `stated` is what its manifest says."""
        mine = self.names()
        if mine == dict(stated):
            return
        needed = ", ".join(f"{kind}={name}" for kind, name in stated.items()) or "none"
        given = ", ".join(f"{kind}={name}" for kind, name in mine.items()) or "none"
        raise DataError(
            f"{where}: this run was made with your own parts ({needed}), and now you gave: {given}. "
            "Open it in Python with the same ones, as in Run(path, scorers=..., retriever=..., readout=...) or resume(path, ...)."
        )


def _is_readout(part: Any) -> bool:
    from rag_graph.reward.readout import Readout  # loads torch, which opening a run does not

    return isinstance(part, Readout)


def name_of(part: Any) -> str:
    """How a manifest identifies a function, class or object: its name, and a digest of what it does."""
    if isinstance(part, partial):
        return f"partial {name_of(part.func)}{_digest(repr((part.args, sorted(part.keywords.items()))))}"
    if isinstance(part, FunctionType):
        return part.__qualname__ + _digest(_code(part))
    kind = part if isinstance(part, type) else type(part)
    methods = "".join(_code(item) for item in vars(kind).values() if isinstance(item, FunctionType))
    return kind.__qualname__ + _digest(
        methods + ("" if isinstance(part, type) else repr(getattr(part, "__dict__", "")))
    )


def _digest(text: str) -> str:
    return "#" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:6]


def _code(function: FunctionType) -> str:
    """What a function is made of: instructions, constants, names, defaults, what it closes over."""

    def told(code: CodeType) -> str:
        constants = [told(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
        return f"{code.co_code.hex()}{constants}{code.co_names}"

    closed = [repr(cell.cell_contents) for cell in function.__closure__ or ()]
    return f"{told(function.__code__)}{function.__defaults__}{closed}"
