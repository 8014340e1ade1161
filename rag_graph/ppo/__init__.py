"""Proximal policy optimisation for language models with any reward function. Knows no graph, no retrieval, no config of runs."""
