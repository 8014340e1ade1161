"""Metrics, scorers, statistics and the evaluation of a model on held-out examples."""
