"""The file of an evaluation that was asked for after a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rag_graph.evaluation.evaluate import Evaluation
from rag_graph.runs.recording import evaluation_record
from rag_graph.runtime import write_json


def write_evaluation(
    evaluation: Evaluation, folder: Path, data: Path | None, task: str | None, with_retrieval: bool, out: Path | None
) -> Evaluation:
    """Write it to `out`, else to a new file in `folder`, named after what was evaluated; returns it with its `path`."""
    parts = [data.stem if data else "test", *([task] if task else []), *([] if with_retrieval else ["no_retrieval"])]
    target = out or _new_file(folder, "-".join(parts))
    record = {
        **evaluation_record(evaluation),
        "data": str(data) if data else "held-out part",
        "with_retrieval": with_retrieval,
        "retrieval": evaluation.retrieval,
    }
    write_json(target, record)
    return replace(evaluation, path=target)


def _new_file(folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (folder / f"{stem}-{number}.json").exists():
        number += 1
    return folder / f"{stem}-{number}.json"
