"""JSON Schema of a graph-definition file, for editors; a test compares it with `graphs/graph.schema.json`."""

from __future__ import annotations

import json

from rag_graph.graph.spec import GraphSpec


def graph_schema() -> str:
    schema = GraphSpec.model_json_schema(by_alias=True)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "rag_graph graph-definition file",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
