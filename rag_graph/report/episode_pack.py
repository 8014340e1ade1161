"""The episodes of a run in a form that fits into a page: compressed, and a sample of them where they are too many."""

from __future__ import annotations

import base64
import gzip
from typing import Any, NamedTuple

from rag_graph.errors import DataError
from rag_graph.report.run import Run
from rag_graph.runtime import read_jsonl, to_json

MOST_TEXT = 32_000_000
"""Characters of JSON that a browser unpacks in a moment."""
MOST_PACKED = 9_000_000
"""Characters in the page."""
KEPT = ("id", "task", "update", "prompt", "draft", "response", "references", "evidence", "scores", "reserved", "error", "reward", "paid", "imputed", "gates")  # fmt: skip
PARTS = ("train", "before", "after", "without_retrieval")

Rows = list[dict[str, Any]]


class EpisodePack(NamedTuple):
    packed: str
    """base64 of gzip of JSON `{rows, contexts}`."""
    said: str
    """How many of how many, and how they were chosen."""


def pack_episodes(run: Run, most_text: int = MOST_TEXT, most_packed: int = MOST_PACKED) -> EpisodePack:
    """Everything, or every k-th episode of each part, so many that the page stays small. A failed one is always kept."""
    parts: dict[str, Rows] = {}
    for part in PARTS:
        try:
            rows = run.episode_records(part)
        except DataError:
            continue
        parts[part] = [
            {"part": part, **{key: row[key] for key in KEPT if row.get(key) not in (None, "", [], {})}} for row in rows
        ]
        for row in parts[part]:
            row.setdefault("scores", {})
    total = sum(map(len, parts.values()))
    contexts = _contexts(run)
    share = min(1.0, most_text / max(1, sum(len(to_json(row)) for rows in parts.values() for row in rows)))
    while True:
        chosen = [row for rows in parts.values() for row in _spread(rows, share)]
        cited = {piece["id"] for row in chosen for piece in row.get("evidence", ())}
        text = to_json(
            {"rows": chosen, "contexts": {name: contexts[name] for name in sorted(cited) if name in contexts}}
        )
        packed = base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode()
        if len(packed) <= most_packed or len(chosen) <= 1:
            break
        share *= 0.95 * most_packed / len(packed)
    if not total:
        return EpisodePack(packed, "No episode has been written yet.")
    if len(chosen) == total:
        return EpisodePack(packed, f"All {total:,} episodes.")
    return EpisodePack(
        packed,
        f"A sample: {len(chosen):,} of {total:,} episodes, every {1 / share:.1f}th in the order they were made, and each that failed, so that "
        "this file stays small. All of them are in the run folder (episodes.jsonl, evaluation/).",
    )


def _spread(rows: Rows, share: float) -> Rows:
    """`share` of the rows, evenly, the first and every failed one among them."""
    if share >= 1:
        return rows
    return [row for n, row in enumerate(rows) if int((n + 1) * share) > int(n * share) or n == 0 or row.get("error")]


def _contexts(run: Run) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(run.path.glob("contexts/*.jsonl")):
        found |= {row["id"]: (row["title"], row["text"]) for _, row in read_jsonl(path)}
    return found
