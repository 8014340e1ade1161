"""`reward.start_from` is checked before a run has a folder, and the run's reward starts from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rag_graph import GraphReward, RewardConfig, RunConfig, load_config, load_graph, train
from rag_graph.data.load import load_data
from rag_graph.errors import ConfigError
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.start_from import check_start
from rag_graph.runs.workbench import Workbench


def config(*overrides: str) -> RunConfig:
    return load_config(None, ["graph=parcels", *overrides])


def test_nothing_is_checked_without_it() -> None:
    check_start(config(), load_graph("parcels"))


def test_a_run_that_cannot_start_has_no_folder(tmp_path: Path) -> None:
    GraphReward("parcels", config=RewardConfig(readout="ridge")).save(tmp_path / "fit")
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="Set reward.readout: ridge"):
        train(config(f"reward.start_from={tmp_path / 'fit'}", f"output_dir={out}"))
    assert not out.exists()


def test_the_reward_of_a_run_starts_from_what_was_fitted(tmp_path: Path) -> None:
    import pandas as pd

    reward = GraphReward("parcels")
    rows = [{"task": "question", "question": n % 5 / 4, "grounded": n % 2, "well_formed": 1.0} for n in range(12)]
    reward.fit(pd.DataFrame(rows), readouts=[])
    reward.save(tmp_path)
    small = [
        "data.train=20",
        "data.test=4",
        "model.scratch.hidden_size=16",
        "model.scratch.num_heads=2",
        "model.scratch.num_layers=1",
    ]
    settings = config(f"reward.start_from={tmp_path}", *small)
    graph = load_graph("parcels")
    bench = Workbench(settings, graph, OwnParts({}, None, None), load_data(graph, settings.data, 0))
    ours, theirs = bench.reward.model.state_dict(), reward.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert len(bench.reward.learning.memory) == 12
