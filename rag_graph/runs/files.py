"""The files of a run folder as what they should be: each is checked when it is read, and what is damaged can be left out.

The shapes say what the rest of the package relies on. More keys than these may be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from rag_graph.errors import DamagedFileError
from rag_graph.stored_file import check_regular, damaged, read_json, read_records, using

T = TypeVar("T")
MOST_UPDATES = 10**9


class Shape(TypedDict):
    """No conversion: a text is no number."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]


class Status(Shape):
    status: str
    error: NotRequired[str]
    host: NotRequired[str]


class Git(Shape):
    commit: str
    dirty: NotRequired[bool | None]


class ChangedPart(Shape):
    part: str
    was: str
    now: str


class Manifest(Shape):
    started: str
    config_hash: str
    graph_hash: str
    graph_root: str
    rag_graph: str
    command: list[str]
    data: dict[str, str]
    versions: dict[str, str | None]
    git: Git | None
    own_parts: dict[str, str | dict[str, str]]
    callbacks: list[str]
    changed_parts: NotRequired[list[ChangedPart]]
    resumed: NotRequired[list[str]]


class Mean(Shape):
    mean: float | None
    low: float | None
    high: float | None


class Measured(Shape):
    task: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class Part(Shape):
    mean_task_score: Mean
    results: list[Measured]
    task_scores: dict[str, float | None]
    shown: dict[str, float] | None
    missing: NotRequired[dict[str, int]]
    judged: NotRequired[dict[str, float | None]]


class WithoutRetrieval(Part):
    loss: Mean


class Results(Shape):
    before: Part
    after: Part
    gain: Mean
    without_retrieval: WithoutRetrieval | None
    seconds: dict[str, float]
    peak_memory_bytes: int | None


class ProposalRecord(Shape):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    kind: str
    source: str
    target: str
    stated: str
    proposed: str
    evidence: str


class QuotedAnswer(Shape):
    id: str
    prompt: str
    response: str


class Alarm(Shape):
    update: int
    alarm: str
    of: str
    seen: str
    advice: str
    part: str
    episodes: list[str]
    examples: list[QuotedAnswer]


class GraphReport(Shape):
    proposals: list[ProposalRecord]
    alarms: list[Alarm]


class Piece(Shape):
    id: str
    rank: NotRequired[int]
    score: NotRequired[float | None]
    scores: NotRequired[dict[str, float | None]]
    reason: NotRequired[str]


class EpisodeRecord(Shape):
    id: str
    task: str
    update: NotRequired[int | None]
    prompt: str
    draft: NotRequired[str | None]
    response: str
    references: NotRequired[list[str]]
    evidence: NotRequired[list[Piece]]
    scores: NotRequired[dict[str, float | None]]
    reserved: NotRequired[dict[str, float | None]]
    failed: NotRequired[dict[str, str]]
    error: NotRequired[str | None]
    reward: NotRequired[float | None]
    paid: NotRequired[dict[str, float | None]]
    imputed: NotRequired[dict[str, float | None]]
    gates: NotRequired[dict[str, float | None]]
    items: NotRequired[dict[str, list[dict[str, Any]]]]
    rationales: NotRequired[dict[str, str]]


class ContextRecord(Shape):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    id: str
    node: str
    title: str
    text: str
    source: str
    links: list[str]


@cache
def _adapter(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def problem_of(value: Any, shape: type) -> str:
    """What in a value is not as its shape says, by its place; an empty text where all is."""
    try:
        _adapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place + ': ' if place else ''}{first['msg'][0].lower()}{first['msg'][1:]}"
    return ""


def problem_of_metrics(row: dict[str, Any]) -> str:
    """What is wrong with a line of metrics.jsonl; an empty text where nothing is."""
    stage, update = row.get("stage"), row.get("update")
    if not isinstance(stage, str):
        return "has no stage"
    if stage == "ppo" and (type(update) is not int or not 0 < update < MOST_UPDATES):
        return f"has no update, a whole number ({update!r:.30})"
    for key, value in row.items():
        if key != "stage" and not (value is None or isinstance(value, int | float)):
            return f"has {value!r:.30} for {key!r:.60}, not a number"
        if key.startswith("graph/") and value is not None and not 0 <= value <= 1:
            return f"has the strength {value!r:.30} for {key!r:.60}, not a number from 0 to 1"
    return ""


def missing_updates(rows: Sequence[dict[str, Any]], last: int | None = None) -> str:
    """Which updates of PPO have no line, or more than one, as a text; an empty text where all have one.

    Args:
        last: the update that the run ended with, where that is known.
    """
    made, expected = [row["update"] for row in rows], 1
    for update in made:
        if update != expected:
            gone = f"{expected} to {update - 1}" if update > expected + 1 else f"{expected}"
            return f"has no line of update {gone}" if update > expected else f"has two lines of update {update}"
        expected += 1
    return f"ends at update {len(made)} of {last}" if last is not None and len(made) < last else ""


class RunFiles:
    """Reads the files of a run.

    Args:
        skip_damaged: leave out what is damaged, and say so in `damage`, instead of raising.

    Attributes:
        damage: one sentence for each file that is damaged, in the order in which they were met.
    """

    def __init__(self, folder: Path, skip_damaged: bool = False) -> None:
        self.folder, self.skip_damaged, self.damage = folder, skip_damaged, list[str]()

    def note(self, error: Exception) -> None:
        """Say what is damaged, once."""
        if str(error) not in self.damage:
            self.damage.append(str(error))

    def whole(self, read: Callable[[], T], otherwise: Callable[[], T]) -> T:
        """What `read` finds; where that is damaged and may be left out, something else.

        Raises:
            DamagedFileError: what `read` raises.
        """
        try:
            return read()
        except DamagedFileError as error:
            if not self.skip_damaged:
                raise
            self.note(error)
            return otherwise()

    def json(self, name: str, shape: type, needed: bool = False) -> Any:
        """A JSON file of that shape; None where there is none, or where it is damaged and may be left out.

        Raises:
            DamagedFileError: it is damaged, or missing and needed.
        """

        def read() -> Any:
            path = self.folder / name
            found = read_json(path)
            if found is None and needed:
                raise damaged(path, "is missing")
            problem = problem_of(found, shape) if found is not None else ""
            if problem:
                raise damaged(path, problem)
            return found

        return self.whole(read, lambda: None)

    def lines(self, name: str, check: Callable[[Any], str]) -> list[dict[str, Any]]:
        """The lines of a `.jsonl` file; none where there is no file.

        Args:
            check: line -> what is wrong with it, or an empty text.

        Raises:
            DamagedFileError: a line is damaged, or the file cannot be read.
        """
        on_damage = self.note if self.skip_damaged else None
        return self.whole(lambda: read_records(self.folder / name, check, on_damage), list)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl."""
        return self.lines("metrics.jsonl", problem_of_metrics)

    def episodes(self, path: Path) -> list[dict[str, Any]]:
        """All lines of a file of episodes."""
        return self.lines(str(path.relative_to(self.folder)), lambda row: problem_of(row, EpisodeRecord))

    def contexts(self, split: str) -> list[dict[str, Any]]:
        """All lines of the passages of a split; there is a file of each."""
        path = self.folder / f"contexts/{split}.jsonl"
        if not path.exists():
            self.whole(lambda: _missing(path), lambda: None)
        return self.lines(f"contexts/{split}.jsonl", lambda row: problem_of(row, ContextRecord))


def _missing(path: Path) -> None:
    raise damaged(path, "is missing")


def check_model(folder: Path) -> None:
    """Whether the files of a saved model can be read; whether they fit each other is seen when it is loaded.

    Raises:
        DamagedFileError: one of them is no file, no JSON of its kind, or not as long as it should be.
    """
    from safetensors import safe_open

    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink() and not path.suffix:
            continue  # a module of an encoder
        check_regular(path)
        kind = list if path.name == "modules.json" else dict
        if path.suffix == ".json" and not isinstance(read_json(path, finite=False), kind):
            raise damaged(path, f"is no JSON {'list' if kind is list else 'object'}")
        if path.suffix == ".safetensors":
            with using(path), safe_open(path, "numpy"):
                pass
