"""What is written down of where a run's numbers come from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from rag_graph.config import DataConfig, RewardConfig
from rag_graph.data.load import load_data
from rag_graph.errors import DataError
from rag_graph.graph import load_graph
from rag_graph.runs.manifest import check_data, manifest, saved_contexts


def test_the_manifest_says_where_a_number_came_from() -> None:
    record = manifest(7, ["rag-graph", "train"], {"topic/train": "abc"}, "c0ffee", "beef")
    assert record["seed"] == 7
    assert record["data"] == {"topic/train": "abc"}
    assert record["versions"]["numpy"] == numpy.__version__
    assert set(record["git"] or {"commit": "", "dirty": ""}) == {"commit", "dirty"}


def test_the_contexts_of_a_run_are_read_back(finished_run: Path) -> None:
    data = load_data(load_graph("parcels"), DataConfig(train=16, test=8), 0)
    for split, nodes in data.contexts.items():
        assert saved_contexts(finished_run, split) == nodes


def test_data_that_changed_are_named(finished_run: Path) -> None:
    written = json.loads((finished_run / "manifest.json").read_text())
    data = load_data(load_graph("parcels"), DataConfig(train=16, test=8), 0, reserved=RewardConfig().reserved)
    check_data(finished_run, written, data, "Restore them.")
    fewer = {name: value for name, value in data.hashes.items() if name != "summary/test"}
    other = replace(data, hashes={**fewer, "topic/train": "other"})
    with pytest.raises(DataError, match=r"changed since the run began: topic/train, summary/test. Restore them\.$"):
        check_data(finished_run, written, other, "Restore them.")
