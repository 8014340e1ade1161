"""How the modules of the package import each other: never in a circle."""

from __future__ import annotations

import grimp
import networkx


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checking count too: whoever reads one module of a circle must read all of them."""
    graph = grimp.build_graph("rag_graph", cache_dir=None)
    imports = networkx.DiGraph()
    for module in graph.modules:
        imports.add_edges_from((module, other) for other in graph.find_modules_directly_imported_by(module))
    assert imports.number_of_edges() > 300
    circles = [sorted(found) for found in networkx.strongly_connected_components(imports) if len(found) > 1]
    assert not circles
