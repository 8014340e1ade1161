"""Parts of a run that a researcher brings along: scorers, a retriever, a readout, callbacks. Plain functions and classes of their own file."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from rag_graph.config import RetrievalConfig
from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.functions import Scorer
from rag_graph.own_code import digest_of
from rag_graph.retrieval_methods import DENSE_METHODS
from rag_graph.runs.named_scorers import NamedScorer

if TYPE_CHECKING:  # opening a run loads no torch
    from transformers import TrainerCallback

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
    named: node -> a scorer that the config names; its code is loaded by `functions`.
    by_file: nodes that the config names and for which a function is in `scorers`: it is known by its file, as the named one was.
    callbacks: they watch the training, and are no part of what a run is.
    """

    scorers: Mapping[str, Scorer | None] = field(default_factory=dict)
    retriever: MakeRetriever | None = None
    readout: OwnReadout | None = None
    named: Mapping[str, NamedScorer] = field(default_factory=dict)
    by_file: Collection[str] = ()
    callbacks: Sequence[TrainerCallback | type[TrainerCallback]] = ()

    def functions(self) -> dict[str, Scorer | None]:
        """Node -> scorer. Loads the code of those that the config names.

        Raises:
            ConfigError: code that cannot be imported, or lacks the function.
        """
        return {**{node: scorer.load() for node, scorer in self.named.items()}, **self.scorers}

    def names(self) -> dict[str, Any]:
        """What the manifest says of them."""
        scorers = {
            node: name_by_file(scorer) if node in self.by_file else name_of(scorer)
            for node, scorer in self.scorers.items()
        }
        named: dict[str, Any] = {"scorers": {**{node: one.name for node, one in self.named.items()}, **scorers}}
        named |= {"retriever": self.retriever and name_of(self.retriever)}
        named |= {"readout": self.readout and name_of(self.readout)}
        return {kind: name for kind, name in named.items() if name}

    def check(self, config: RetrievalConfig) -> None:
        """
        Raises:
            ConfigError: a part that cannot be called or loaded, an own retriever beside an encoder that it puts aside, or a callback that is none.
        """
        parts = {
            **{f"scorers['{node}']": scorer for node, scorer in self.functions().items()},
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
        for callback in self.callbacks:
            if not _is_callback(callback):
                raise ConfigError(
                    f"callbacks: {callback!r} is no callback. Give objects, or classes, that derive from transformers.TrainerCallback, in a list."
                )

    def check_same(self, stated: Mapping[str, Any], where: str, accept_changed: Collection[str] = ()) -> None:
        """Whether a run was made with these parts; `stated` is what its manifest says.

        Args:
            accept_changed: parts that may have changed: nodes, "retriever", "readout".

        Raises:
            DataError: it was made with other parts. ConfigError: `accept_changed` names no part of the run.
        """
        then, now = _flat(stated), _flat(self.names())
        for part in accept_changed:
            if part not in then:
                raise ConfigError(
                    f"accept_changed (--accept-changed) {part}: the run was made without such a part.{near_miss(part, then)} "
                    f"Its parts: {', '.join(then) or 'none'}."
                )
        differing = [part for part in {**then, **now} if then.get(part) != now.get(part)]
        refused = [part for part in differing if part not in accept_changed or part not in now]
        if not refused:
            return
        needed = ", ".join(f"{kind}={name}" for kind, name in stated.items()) or "none"
        given = ", ".join(f"{kind}={name}" for kind, name in self.names().items()) or "none"
        text = (
            f"{where}: this run was made with your own parts ({needed}), and now you gave: {given}. "
            "Open it in Python with the same ones, as in Run(path, scorers=..., retriever=..., readout=...) or resume(path, ...)."
        )
        changed = [part for part in refused if part in then and part in now]
        if changed:
            shown = ", ".join(f"'{part}'" for part in changed)
            options = " ".join(f"--accept-changed {part}" for part in changed)
            text += (
                f" The code of {shown} is not what it was. If that is meant, such as a retry that was added, say so: "
                f"accept_changed=[{shown}] in Python, {options} on the command line."
            )
        raise DataError(text)

    def in_manifest(self) -> dict[str, Any]:
        """All that a manifest says of them: names; files of what the config names, so that a run finds them again; callbacks."""
        return {
            "own_parts": self.names(),
            "scorer_files": {node: one.record() for node, one in self.named.items()},
            "callbacks": [(one if isinstance(one, type) else type(one)).__qualname__ for one in self.callbacks],
        }

    def changes_since(self, stated: Mapping[str, Any]) -> list[dict[str, str]]:
        """A record of each part that is not what a manifest says."""
        then, when = _flat(stated), time.strftime("%Y-%m-%dT%H:%M:%S%z")
        now = _flat(self.names())
        return [
            {"when": when, "part": part, "was": was, "now": now[part]}
            for part, was in then.items()
            if part in now and now[part] != was
        ]


def _flat(names: Mapping[str, Any]) -> dict[str, str]:
    """Part -> its name; scorers by their nodes."""
    return {**names.get("scorers", {}), **{kind: name for kind, name in names.items() if kind != "scorers"}}


def _is_readout(part: Any) -> bool:
    from rag_graph.reward.readout import Readout  # loads torch, which opening a run does not

    return isinstance(part, Readout)


def _is_callback(callback: Any) -> bool:
    from transformers import TrainerCallback

    if isinstance(callback, type):
        return issubclass(callback, TrainerCallback)
    return isinstance(callback, TrainerCallback)


def name_by_file(part: Any) -> str:
    """How a manifest identifies a function that a config names: its name, and a digest of the file that it is in."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(part))
    except TypeError:  # an object, or a builtin
        file = None
    if file is None or not Path(file).is_file():
        return name_of(part)
    return f"{part.__name__}#{digest_of(Path(file))[:6]}"


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
