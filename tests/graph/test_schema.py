"""The committed JSON Schema is what the models say, and the shipped graphs satisfy it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from rag_graph.graph.reader import shipped_graphs
from rag_graph.graph.schema import graph_schema


def test_the_committed_schema_is_current(root: Path) -> None:
    assert (root / "graphs/graph.schema.json").read_text(encoding="utf-8") == graph_schema(), (
        "run: rag-graph graph schema > graphs/graph.schema.json"
    )


@pytest.mark.parametrize("name", ["parcels", "news", "four_tasks"])
def test_shipped_graphs_satisfy_the_schema(name: str) -> None:
    schema = json.loads(graph_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(shipped_graphs()[name].read_text(encoding="utf-8")), schema)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    content = yaml.safe_load(shipped_graphs()["parcels"].read_text(encoding="utf-8"))
    content["edges"][0]["strength"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(graph_schema()))


def test_every_field_explains_itself_to_an_editor() -> None:
    schema = json.loads(graph_schema())
    assert "gate, credit, penalty" in schema["$defs"]["Relation"]["properties"]["semantics"]["description"]
    assert schema["$defs"]["Edge"]["required"] == ["from", "to", "relation"]
