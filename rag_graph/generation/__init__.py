"""The language model: load, make, adapt, generate."""

from rag_graph.errors import need

need("rag_graph.generation", "transformers", "tokenizers", "peft")
