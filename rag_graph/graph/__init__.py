"""The auxiliary graph: files, reader, arrays, exchange formats, pictures. It does not load torch."""

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import check_graph, find_graph, graph_warnings, load_graph
from rag_graph.graph.spec import GraphSpec

__all__ = ["AuxiliaryGraph", "GraphSpec", "check_graph", "find_graph", "graph_warnings", "load_graph"]
