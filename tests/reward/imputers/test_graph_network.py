"""The heads disagree where there are few data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


@pytest.mark.slow
def test_more_data_make_the_heads_agree(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    def spread(rows: int) -> float:
        model = fitted(right, rows=rows)
        with torch.no_grad():
            return float(model.imputer.predict(planted(500, 7, 0.0)[0], model.graph)[1][:, 0].mean())

    assert spread(1024) < 0.8 * spread(16)
