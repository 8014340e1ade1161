"""What the stages of a run leave."""

from __future__ import annotations

import json
from pathlib import Path

from rag_graph import Run


def test_results_agree_with_the_files_of_each_evaluation(finished_run: Path) -> None:
    results = Run(finished_run).results
    assert results is not None
    for part in ("before", "after"):
        written = json.loads((finished_run / f"evaluation/{part}.json").read_text())
        assert {name: written[name] for name in results[part]} == results[part]
    assert list(results["seconds"]) == ["sft", "evaluation_before", "ppo", "evaluation_after"]
    assert all(seconds > 0 for seconds in results["seconds"].values())
    assert results["without_retrieval"] is None
    assert results["peak_memory_bytes"] > 10**8
