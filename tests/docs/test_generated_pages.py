"""The reference pages name everything that the code has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import rag_graph
from rag_graph.config import RunConfig
from rag_graph.records import METRIC_NAMES
from rag_graph.settings_file import flatten


@pytest.fixture(scope="module")
def generated(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("docs/_ext/generated.py")


@pytest.fixture(scope="module")
def pages(generated: ModuleType) -> dict[str, str]:
    found: dict[str, str] = generated.pages()
    return found


def test_the_pages_that_are_kept_are_current(pages: dict[str, str], root: Path) -> None:
    kept = {path.stem: path.read_text() for path in (root / "docs/reference").glob("*.md")}
    assert kept == pages, "run `make docs` and commit docs/reference"


def test_every_key_of_a_config_is_there(pages: dict[str, str]) -> None:
    keys = {key for key in flatten(RunConfig().model_dump(mode="json")) if key != "model.lora"}
    assert [key for key in keys if f"`{key}`" not in pages["config"]] == []
    assert "`model.lora.r`" in pages["config"]
    assert "| `reward.reserved` | `float` | `0.05` |" in pages["config"]


def test_every_metric_relation_and_key_of_a_graph_is_there(pages: dict[str, str], root: Path) -> None:
    assert [name for name in METRIC_NAMES if f"| `{name}` |" not in pages["metrics"]] == []
    assert "| `prerequisite` | rule | gate |" in pages["relations"]
    schema = json.loads((root / "graphs/graph.schema.json").read_text())
    for part in schema["$defs"].values():
        for key in part.get("properties", {}):
            assert f"| `{key}` |" in pages["graph_file"]


def test_every_command_and_option_is_there(pages: dict[str, str]) -> None:
    for command in (
        "train",
        "evaluate",
        "ask",
        "report",
        "compare",
        "sweep",
        "index",
        "retrieve",
        "graph check",
        "graph apply",
    ):
        assert f"## rag-graph {command}\n" in pages["cli"]
    for option in ("`--resume`", "`--baseline`", "`--dry-run`", "`--eval`"):
        assert option in pages["cli"]


def test_every_public_name_is_documented(generated: ModuleType, pages: dict[str, str]) -> None:
    shown = {name for names in generated.SHOWN.values() for name in names}
    assert shown == set(rag_graph.__all__) - {"__version__"}
    for name in shown:
        assert f"### {name}\n" in pages["python"]
    assert "overrides: Iterable[str] = ()" in pages["python"], "signatures are those of the code"
