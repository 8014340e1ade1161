"""The episodes of a run in a form that fits into a page: compressed, and a sample of them where they are too many."""

from __future__ import annotations

import base64
import gzip
from typing import Any, NamedTuple

from rag_graph.runs.run import Run
from rag_graph.runtime import to_json

MOST_TEXT = 32_000_000
"""Characters of JSON that a browser unpacks in a moment."""
MOST_PACKED = 9_000_000
"""Characters in the page."""
MOST_FAILED = 500
"""Failed episodes of a part that are kept whatever else is left out."""
LONG = 20_000
"""Characters of one text that are kept."""
KEPT = ("id", "task", "update", "prompt", "prompt_cut", "draft", "response", "references", "evidence", "scores", "reserved", "failed", "error", "reward", "paid", "imputed", "gates", "items", "rationales")  # fmt: skip
PARTS = ("train", "before", "after", "without_retrieval")

Rows = list[dict[str, Any]]


class EpisodePack(NamedTuple):
    packed: str
    """base64 of gzip of JSON `{rows, contexts}`."""
    said: str
    """How many of how many, and how they were chosen."""


def pack_episodes(run: Run, most_text: int = MOST_TEXT, most_packed: int = MOST_PACKED) -> EpisodePack:
    """Everything, or every k-th episode of each part, so many that the page stays small; failed ones first."""
    parts = _read(run)
    total = sum(map(len, parts.values()))
    contexts = _contexts(run)
    share = min(1.0, most_text / max(1, sum(len(to_json(row)) for rows in parts.values() for row in rows)))
    size = total + 1
    while True:
        chosen = [row for rows in parts.values() for row in _spread(rows, share)]
        packed = _packed(chosen, contexts)
        if len(packed) <= most_packed or len(chosen) >= size:
            break
        size, share = len(chosen), share * 0.95 * most_packed / len(packed)
    said = f"All {total:,} episodes." if total else "No episode has been written yet."
    if len(chosen) < total:
        said = (
            f"A sample: {len(chosen):,} of {total:,} episodes, evenly in the order they were made, and those that failed (up to {MOST_FAILED}), so that "
            "this file stays small. All of them are in the run folder (episodes.jsonl, evaluation/)."
        )
    return EpisodePack(packed, said)


def _packed(rows: Rows, contexts: dict[str, tuple[str, str]]) -> str:
    cited = {piece["id"] for row in rows for piece in row.get("evidence", ())}
    text = to_json({"rows": rows, "contexts": {name: contexts[name] for name in sorted(cited) if name in contexts}})
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def _read(run: Run) -> dict[str, Rows]:
    """Part -> its episodes."""
    return {
        part: [
            {
                "part": part,
                "scores": {},
                **{key: _short(row[key]) for key in KEPT if row.get(key) not in (None, "", [], {})},
            }
            for row in run.episode_records(part)
        ]
        for part in PARTS
        if run.episode_file(part).exists()
    }


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:LONG]} … ({len(value) - LONG:,} more characters in the run folder)"
    return value


def _spread(rows: Rows, share: float) -> Rows:
    """`share` of the rows, evenly, and the first failed ones."""
    if share >= 1:
        return rows
    failed = {n for n, row in enumerate(rows) if row.get("error") or row.get("failed")}
    most = set(sorted(failed)[: max(1, int(MOST_FAILED * min(1.0, 10 * share)))])
    return [
        row for n, row in enumerate(rows) if n in most or (n not in failed and int((n + 1) * share) > int(n * share))
    ]


def _contexts(run: Run) -> dict[str, tuple[str, str]]:
    names = sorted(path.stem for path in run.path.glob("contexts/*.jsonl"))
    rows = [row for name in names for row in run.context_records(name)]
    return {row["id"]: (_short(row["title"]), _short(row["text"])) for row in rows}
