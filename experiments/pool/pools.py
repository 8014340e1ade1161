"""The four pools: which prompts, how many tokens, how many prompts, and what a row of a stored pool holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rag_graph.config import RetrievalConfig
from rag_graph.data.examples import examples_from_rows
from rag_graph.data.files import read_rows
from rag_graph.data.load import load_contexts
from rag_graph.data.prompts import render_prompt
from rag_graph.generation.generate import Response
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import Dataset
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.records import ContextNode, Evidence, Example
from rag_graph.runtime import read_jsonl

GRAPHS = Path(__file__).parent / "graphs"
PROMPTS = 480
"""Prompts of a pool at most."""
DEV_SHARE = 0.6
"""Share of the sources that choices may look at; the rest is the test part."""
MOST_EVIDENCE = RetrievalConfig(method="bm25", k=2, token_budget=320, draft=False)


@dataclass(frozen=True)
class Pool:
    """
    instruction: the first line of every prompt.
    shots: (input, answer) examples written here; or how many rows are taken from the head of `shots_from`.
    """

    name: str
    task: str
    instruction: str
    max_new_tokens: int
    max_prompt_tokens: int
    shots: Sequence[tuple[str, str]] | int
    shots_from: str | None = None

    @property
    def graph(self) -> AuxiliaryGraph:
        return load_graph(GRAPHS / f"{self.name}.yaml")


KINDS = (
    ("Who wrote Hamlet ?", "It asks for the name of somebody. -> person"),
    ("What does NASA stand for ?", "It asks what the letters mean. -> abbreviation"),
    ("How many legs does a spider have ?", "It asks for a count. -> number"),
    ("What is photosynthesis ?", "It asks for an explanation. -> description"),
    ("Which city hosted the 1936 Olympics ?", "It asks for a city. -> place"),
    ("What instrument did Louis Armstrong play ?", "It asks for an object. -> thing"),
    ("When did the Titanic sink ?", "It asks for a date. -> number"),
    ("Why do leaves turn red ?", "It asks for a reason. -> description"),
)

POOLS = {
    pool.name: pool
    for pool in (
        Pool("headline", "headline", "Shorten each text to a headline.", 24, 320, 3),
        Pool(
            "dialogue", "summary", "Summarise each dialogue in one sentence.", 48, 1400, 3, "dialogsum/train.jsonl.gz"
        ),
        Pool("question", "answer", "Answer each question in a few words of the text.", 16, 1400, 3),
        Pool("kind", "kind", "Say what each question asks for: {labels}.", 32, 400, KINDS),
    )
}


@dataclass(frozen=True)
class Prompt:
    """One prompt of a pool, and the example and evidence behind it. `source`: prompts that share a passage have one."""

    example: Example
    text: str
    source: str
    evidence: tuple[Evidence, ...] = ()


def prompts_of(pool: Pool, limit: int = PROMPTS) -> list[Prompt]:
    """The prompts of a pool, in the order of its file.

    Raises:
        DataError: the data set is not there, or has a bad row.
    """
    graph = pool.graph
    task = graph.spec.tasks[pool.task]
    assert task.dataset is not None
    examples = _examples(pool, task.dataset, graph)
    if isinstance(pool.shots, int):
        shots = examples[: pool.shots]
        if pool.shots_from is None:
            examples = examples[pool.shots :]
        else:
            shots = _examples(pool, Dataset(path=pool.shots_from), graph)[: pool.shots]
        written = [(shot, shot.references[0]) for shot in shots]
    else:
        written = [(Example("shot", pool.task, {"input": text}), answer) for text, answer in pool.shots]
    examples = examples[:limit]
    contexts = load_contexts(graph, "train", examples)
    gold = {context.local_id: context for context in contexts}
    head = pool.instruction.replace("{labels}", ", ".join(task.label_words)) + "\n\n"
    for shot, answer in written:
        head += f"{render_prompt(task, shot, _gold(shot, gold))} {answer}\n\n"
    context_pool = ContextPool(graph, contexts, MOST_EVIDENCE) if contexts else None
    pipeline = RagPipeline(graph, context_pool, MOST_EVIDENCE, _NoWriter())
    return [
        Prompt(
            one.example,
            head + one.prompt,
            one.example.supporting[0] if one.example.supporting else one.example.id,
            one.evidence,
        )
        for one in pipeline.prepare(examples)
    ]


def _examples(pool: Pool, dataset: Dataset, graph: AuxiliaryGraph) -> list[Example]:
    rows = read_rows(dataset, "train", graph.root)
    return examples_from_rows(pool.task, graph.spec.tasks[pool.task], rows)


def _gold(shot: Example, gold: dict[str, ContextNode]) -> list[Evidence]:
    """The passage that holds the answer of a shown example, if the data name one."""
    return [Evidence(gold[name], 1.0, 1) for name in shot.supporting if name in gold]


class _NoWriter:
    """No draft is written: every pool retrieves by the question alone."""

    def __call__(self, prompts: Sequence[str]) -> list[Response]:
        raise AssertionError("a pool writes no drafts")

    def fuse(self, prompts: Any, weights: Any, fusion: Any) -> list[Response]:
        raise AssertionError("a pool fuses no passages")


# ---------------------------------------------------------------------- stored rows


@dataclass(frozen=True)
class Row:
    """A scored answer. A row of human judgements has the first four fields only."""

    id: str
    group: str
    scores: dict[str, float]
    goal: float
    source: str = ""
    response: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    logprob: float = float("nan")
    tokens: int = 0
    ended: bool = True
    embedding: tuple[float, ...] = ()

    @property
    def part(self) -> Literal["dev", "test"]:
        return part_of(self.source or self.group)

    def to_json(self) -> str:
        return json.dumps(self.__dict__, ensure_ascii=False)


def part_of(source: str) -> Literal["dev", "test"]:
    """Whether a source belongs to the part that choices may look at (`DEV_SHARE` of them, by a hash of the name) or to the test part."""
    digest = hashlib.blake2b(source.encode(), digest_size=8).digest()
    return "dev" if int.from_bytes(digest, "big") / 2**64 < DEV_SHARE else "test"


def read_pool(path: Path) -> list[Row]:
    """Rows of a stored pool, or of a file of human judgements: id, group, scores (node -> [0, 1]), goal, and what else a row holds.

    Raises:
        DataError: no such file, or a line that is no JSON object.
    """
    rows = []
    for _, row in read_jsonl(path):
        known = {name: row[name] for name in Row.__dataclass_fields__ if name in row}
        lists = {name: tuple(known[name]) for name in ("references", "evidence", "embedding") if name in known}
        rows.append(Row(**(known | lists)))
    return rows
