"""The planted experiment: its harness equals the code it measures, its verdicts say what the numbers say, and the graph helps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings

FOLDER = Path(__file__).parents[2] / "experiments" / "planted"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import tabular

    yield tabular
    for name in ("tabular", "task", "judge", "arms", "run", "language_model"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "readout", ["flat", "gated_fixed", "ridge", "em_product", "boosting", "prior_gnn", "expected_goal"]
)
def test_copies_side_by_side_equal_each_alone(planted: Any, readout: str) -> None:
    config = RewardConfig(
        readout=readout, hidden_size=8, num_bases=2, fit_steps=2, learn={"method": "alignment", "warm_up": 0}
    )
    graph = planted.PlantedTask(trap=True).graph("right")
    text = TextEmbeddings().of_graph(graph)

    def make(seed: int) -> RewardModel:
        torch.manual_seed(seed)
        return RewardModel(graph, config, text)

    replicas = planted.Replicas(make, [0, 1, 2], config)
    generator = torch.Generator().manual_seed(0)
    values, observed = torch.rand((3, 40, 12), generator=generator), torch.rand((3, 40, 12), generator=generator) < 0.6
    goal, reserved = torch.rand((3, 40), generator=generator), torch.rand((3, 40), generator=generator) < 0.3
    batch = Scores(values, observed, torch.zeros(40, 12), torch.zeros(40, dtype=torch.long))
    replicas.observe(batch)
    if READOUTS[readout].fit == "closed_form":
        replicas.move("refit", batch, 2)
    replicas.move("settle", batch)
    if READOUTS[readout].uses_strengths:
        replicas.move("align", batch, goal, reserved, dims=(0, 0))
    together = replicas.call("forward", batch, 0.3)
    for s in range(3):
        alone, mine = make(s), batch._replace(values=values[s], observed=observed[s])
        alone.observe(mine)
        alone.refit(mine, 2)
        alone.settle(mine)
        if READOUTS[readout].uses_strengths:
            alone.align(mine, goal[s], reserved[s])
        for one, two in zip(alone(mine, 0.3), together, strict=True):
            # vmap takes other kernels; a z-score divides their rounding by deviations down to .05.
            assert torch.allclose(one.float(), two[s].float(), atol=1e-4)


def test_the_task_is_what_it_says(planted: Any) -> None:
    keys, anti = planted.secrets([0, 1])
    assert (keys != anti).all()
    plain, trap = planted.PlantedTask(), planted.PlantedTask(trap=True)
    right, wrong = trap.scores(keys, keys, anti), trap.scores(anti, keys, anti)
    assert (right[..., 0] == 1).all()
    assert (wrong[..., 0] == 0).all(), "the shortcut breaks the prerequisite"
    assert (wrong[..., 2:4] == 1).all(), "and satisfies both parts"
    assert (plain.scores(anti, keys, anti)[..., 2:4] == 0).all()
    for which in ("right", "wrong", "ungated", "none", "shuffled0", "shuffled3"):
        for task in (plain, planted.PlantedTask(trap=True, wide=True)):
            assert len(task.graph(which).nodes) == len(task.nodes)


def cell(arm: str, graph: str, final: list[float], p: float = 0.03, **more: Any) -> dict[str, Any]:
    return {
        "arm": arm,
        "graph": graph,
        "p": p,
        "task": "trap",
        "policy": "tabular",
        "seeds": list(range(len(final))),
        "final": final,
        "mean": sum(final) / len(final),
        **more,
    }


def test_verdicts_say_what_held_what_failed_and_what_fired(planted: Any) -> None:
    from judge import verdicts

    seeds = [0.0, 0.01, -0.01, 0.02]
    results = [
        cell("expected_goal", "right", [0.9 + s for s in seeds], goal=[0.1, 0.9]),
        cell("ridge", "right", [0.6 + s / 2 for s in seeds]),
        cell("mlp", "right", [0.8 + s / 2 for s in seeds]),
        cell("expected_goal", "shuffled", [0.8 + s for s in seeds], goal=[0.9, 0.5]),
        cell("gated_fixed", "right", [0.88 + s / 2 for s in seeds]),
        cell("gated_fixed", "wrong", [0.5 + s / 2 for s in seeds]),
        cell("expected_goal", "wrong", [0.6 + s for s in seeds]),
    ]
    found = {(v.name, v.claim.split("] ")[1]): v.outcome for v in verdicts(results)}
    assert found["H1", "expected_goal - the best baseline (gated_fixed)"] == "held"
    assert found["H3", "expected_goal, right - shuffled"] == "failed", "+.10 is less than asked"
    assert found["H4", "a wrong graph plus data recovers half of the gap"] == "failed", "25% of it"
    assert found["falsifier", "the goal falls while the reward rises (expected_goal, any graph)"] == "fired"
    assert ("H2", "gated_fixed - diffusion") not in found, "what was not run is not judged"
    of_cells = {v.claim.split(", ")[2]: v for v in verdicts(results) if "simple baseline" in v.claim}
    assert {graph: v.outcome for graph, v in of_cells.items()} == {
        "right": "silent",
        "wrong": "fired",
        "shuffled": "silent",
    }
    assert "mlp +0.198" in of_cells["wrong"].numbers, "what knows no graph is compared in every cell"
    assert "gated_fixed" not in of_cells["wrong"].numbers, "it was run on this wrong graph, where it is below"


@pytest.mark.slow
def test_quick_run_finds_that_the_graph_helps(check_reduced: Callable[..., None], tmp_path: Path) -> None:
    out = tmp_path / "quick.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=2400,
    )
    assert done.returncode == 0, done.stderr
    means = {
        c["arm"] if c["graph"] == "right" else f"{c['arm']}, {c['graph']}": c["mean"]
        for c in json.loads(out.read_text())
    }
    check_reduced("planted", means)
    assert "H1" in done.stdout
    assert "H5" in done.stdout
