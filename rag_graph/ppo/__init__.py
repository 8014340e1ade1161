"""Proximal policy optimisation for language models with any reward function. Knows no graph, no retrieval, no config of runs."""

from rag_graph.errors import need

need("rag_graph.ppo", "transformers", "accelerate", "datasets", "peft", "pyarrow")
