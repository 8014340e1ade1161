"""The command line: `rag-graph`."""
