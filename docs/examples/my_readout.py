"""Pay only the weakest node that applies to the episode."""

import torch


def weakest(scores, graph, tasks):
    in_play = graph.applies[tasks]
    worst = scores.masked_fill(~in_play, 2.0).argmin(-1, keepdim=True)
    return torch.zeros_like(scores).scatter(-1, worst, scores.gather(-1, worst))
