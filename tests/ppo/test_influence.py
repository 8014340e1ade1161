"""The meta-gradient's kappa against exact gradients, and a whole update with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.errors import TrainingError
from rag_graph.ppo.influence import influence

Make = Callable[..., Any]


def test_kappa_is_the_inner_product_of_gradients(graph_trainer: Make, tmp_path: Path) -> None:
    trainer, _ = graph_trainer(tmp_path)
    engine, generator = trainer.engine, torch.Generator().manual_seed(0)
    queries = [[5, 6, 7]] * 6
    responses = engine.generate(queries, torch.rand((6, 6), generator=generator))
    held_out = [0.9, None, 0.1, None, 0.4, None]
    policy = engine.bare.policy
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    found = influence(engine, queries, responses, held_out)
    for name, p in policy.named_parameters():
        assert torch.equal(p, before[name]), "the weights are put back bit for bit"
    weights = [p for p in policy.parameters() if p.requires_grad]

    def gradient(row: int) -> torch.Tensor:
        ids = torch.tensor([queries[row] + responses[row]])
        logits = policy(input_ids=ids).logits[0, len(queries[row]) - 1 : -1] / engine.temperature
        total = logits.log_softmax(-1).gather(-1, torch.tensor(responses[row])[:, None]).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)])

    mean = (0.9 + 0.1 + 0.4) / 3
    along = sum((h - mean) * gradient(row) for row, h in enumerate(held_out) if h is not None)
    assert isinstance(along, torch.Tensor)
    along = along / along.norm()
    exact = [float(gradient(row) @ along) for row in range(6)]
    assert found == pytest.approx(exact, rel=0.02, abs=0.02)


def test_nothing_to_compare_has_no_influence(graph_trainer: Make, tmp_path: Path) -> None:
    engine = graph_trainer(tmp_path)[0].engine
    queries, responses = [[5, 6]] * 2, [[7, 8], [9]]
    assert influence(engine, queries, responses, [0.3, None]) == [0.0, 0.0]
    assert influence(engine, queries, responses, [0.3, 0.3]) == [0.0, 0.0]
    assert influence(engine, queries, responses, [None, None]) == [0.0, 0.0]


@pytest.mark.parametrize("method", ["meta_gradient", "alignment"])
def test_evidence_about_strengths_is_gathered_while_the_policy_trains(
    graph_trainer: Make, tmp_path: Path, method: str
) -> None:
    trainer, reward = graph_trainer(tmp_path, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    learner = reward.model.learner
    assert (learner.of_edges.updates >= 1).all()
    assert not torch.equal(learner.wanted, learner.of_file), "it points somewhere"
    assert reward.learned_graph().strength.tolist() == [0.5, 0.5], "three updates are not beyond chance"
    logged = [row for row in trainer.state.log_history if "graph/c0>t:prerequisite" in row]
    assert len(logged) == 3


def test_several_processes_are_refused_aloud(
    graph_trainer: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    with pytest.raises(TrainingError, match=r"gradient of one process.*reward\.learn\.method=alignment"):
        graph_trainer(tmp_path)
