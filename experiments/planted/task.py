"""The planted task: a goal behind a gate, two parts, one harmful property, and nodes that only look related.

A response has T tokens. Each prompt has a secret key and an anti-key (tokens that differ from it everywhere). Node scores are functions
of the tokens. In the trap, a shortcut (the anti-key's first two tokens) satisfies both parts but fails the prerequisite.
`wide` adds 24 distractors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec

LENGTH, VOCABULARY = 8, 6
NODES = ("goal", "pre", "sup1", "sup2", "conf", "mis1", "mis2", "mis3", "neu1", "neu2", "neu3", "noise")
RELEVANT = {"pre", "sup1", "sup2", "conf"}
DISTRACTORS = 24
NOISE = 0.1
HERE = Path(__file__).parent


@dataclass(frozen=True)
class PlantedTask:
    """trap: with the shortcut; wide: with 24 distractors (36 nodes)."""

    trap: bool = False
    wide: bool = False

    @property
    def name(self) -> str:
        return ("trap" if self.trap else "plain") + ("-36" if self.wide else "")

    @property
    def nodes(self) -> tuple[str, ...]:
        return NODES + (tuple(f"x{i}" for i in range(DISTRACTORS)) if self.wide else ())

    def scores(self, tokens: Tensor, keys: Tensor, anti: Tensor) -> Tensor:
        """tokens, keys, anti: int64 [..., T], symbols 0 to V-1 -> true node scores [..., N] in [0, 1]."""
        right, wrong = (tokens == keys).float(), (tokens == anti).float()
        pre, sup1, sup2 = (right[..., start : start + 2].mean(-1) for start in (0, 2, 4))
        if self.trap:
            shortcut = wrong[..., 0:2].mean(-1)
            sup1, sup2 = torch.maximum(sup1, shortcut), torch.maximum(sup2, shortcut)
        conf = (tokens[..., :6] == 0).float().mean(-1)
        gate = torch.where(pre > 0.9, 1.0, torch.where(pre > 0.4, 0.25, 0.0))
        goal = (gate * (0.2 + 0.4 * sup1 + 0.4 * sup2) - 0.6 * conf * gate).clamp(0, 1)
        mistakes = [wrong[..., start : start + 2].mean(-1) for start in (0, 2, 4)]
        even = [(tokens[..., 6] % 2).float(), (tokens[..., 7] % 2).float()]
        style = [*even, ((tokens[..., 6] + tokens[..., 7]) % 2).float()]
        found = [goal, pre, sup1, sup2, conf, *mistakes, *style, torch.zeros_like(goal)]
        if self.wide:
            generator = torch.Generator().manual_seed(7)
            places = torch.randint(0, LENGTH, (DISTRACTORS, 2), generator=generator)
            symbols = torch.randint(0, VOCABULARY, (DISTRACTORS, 2), generator=generator)
            found += [(tokens[..., places[i]] == symbols[i]).float().mean(-1) for i in range(DISTRACTORS)]
        return torch.stack(found, -1)

    def graph(self, which: str) -> AuxiliaryGraph:
        """`right`, `wrong` (mistakes stated to indicate the goal, the harm not stated), `ungated` (what bounds the goal stated as an
        indication), `none` (no relation), `shuffled0`, `shuffled1`, ... (the right relations between the wrong criteria). All relations are
        facts: the true goal contains them."""
        spec = load_graph(HERE / "graphs" / "right.yaml").spec.model_dump(by_alias=True)
        edges = spec["edges"]
        if which == "wrong":
            spec["edges"] = [edge for edge in edges if edge["from"] != "conf"]
            spec["edges"] += [
                {"from": f"mis{i}", "to": "goal", "relation": "indicates", "strength": 0.8} for i in (1, 2, 3)
            ]
        elif which == "none":
            spec["edges"] = []
        elif which == "ungated":
            spec["edges"] = [
                {**e, "relation": "indicates", "strength": 0.8} if e["from"] == "pre" else e for e in edges
            ]
        elif which.startswith("shuffled"):
            generator = torch.Generator().manual_seed(1000 + int(which.removeprefix("shuffled")))
            order = torch.randperm(len(NODES) - 1, generator=generator).tolist()
            new = {"goal": "goal"} | {NODES[1 + i]: NODES[1 + j] for i, j in enumerate(order)}
            spec["edges"] = [{**e, "from": new[e["from"]], "to": new[e["to"]]} for e in edges]
        elif which != "right":
            raise ValueError(f"no planted graph '{which}'")
        if self.wide:
            spec["criteria"] |= {
                f"x{i}": {"title": f"Distractor {i}", "metric": "external"} for i in range(DISTRACTORS)
            }
        return AuxiliaryGraph(GraphSpec.model_validate(spec))
