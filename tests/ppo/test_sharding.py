"""Whole weights while sampling, where no engine shards them. What needs DeepSpeed was not tried: see the module."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.ppo.sharding import gathered


@pytest.mark.parametrize(("stage", "gather"), [(None, True), (2, True), (3, False)])
def test_weights_that_are_whole_are_used_as_they_are(stage: int | None, gather: bool) -> None:
    plugin = None if stage is None else SimpleNamespace(zero_stage=stage)
    accelerator: Any = SimpleNamespace(
        unwrap_model=lambda model: model["inside"], state=SimpleNamespace(deepspeed_plugin=plugin)
    )
    with gathered({"inside": "bare"}, accelerator, gather) as bare:
        assert bare == "bare"
