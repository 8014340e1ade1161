"""`python -m rag_graph`."""

from rag_graph.cli.app import main

main()
