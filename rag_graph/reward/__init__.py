"""From scores of nodes to a reward: encoder, imputation, readout, and the reward function that TRL's trainers call."""

from rag_graph.reward.reward import GraphReward

__all__ = ["GraphReward"]
