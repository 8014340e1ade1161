"""The meta-gradient's kappa against exact gradients, and a whole update with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.errors import TrainingError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.influence import influence
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.rag.episode_builder import EpisodeBuilder
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward

EXAMPLES = [Example(str(i), "t", {"input": "red kettle"}) for i in range(24)]


def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
    """The goal likes long answers, and so does c0; c1 likes the letter e."""
    length = min(1.0, len(episode.response) / 40)
    return {"t": length, "c0": length, "c1": min(1.0, episode.response.count("e") / 4)}


def make(
    make_graph: Callable[..., AuxiliaryGraph],
    tiny_model: Callable[[int], Any],
    folder: Path,
    method: str = "meta_gradient",
    **settings: Any,
) -> tuple[GraphPPOTrainer, GraphReward]:
    model, tokenizer = tiny_model(3)
    graph = make_graph([("c0", "t", "prerequisite"), ("c1", "t", "supports")])
    config = RewardConfig(reserved=0.4, fit_steps=1, learn={"method": method, "warm_up": 0})
    reward = GraphReward(graph, config, score, EpisodeBuilder(EXAMPLES), seed=0)
    args: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "total_episodes": 48, "response_length": 6,
        "learning_rate": 1e-3, "bf16": False, "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "seed": 1,
        "num_sample_generations": 0,
    }  # fmt: skip
    rows = [{"prompt": "red kettle", "example_id": example.id} for example in EXAMPLES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GraphPPOTrainer(
            model, reward, GraphPPOConfig(**{**args, **settings}), rows, processing_class=tokenizer
        ), reward


def test_kappa_is_the_inner_product_of_gradients(
    make_graph: Callable[..., AuxiliaryGraph], tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    trainer, _ = make(make_graph, tiny_model, tmp_path)
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


def test_nothing_to_compare_has_no_influence(
    make_graph: Callable[..., AuxiliaryGraph], tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    engine = make(make_graph, tiny_model, tmp_path)[0].engine
    queries, responses = [[5, 6]] * 2, [[7, 8], [9]]
    assert influence(engine, queries, responses, [0.3, None]) == [0.0, 0.0]
    assert influence(engine, queries, responses, [0.3, 0.3]) == [0.0, 0.0]
    assert influence(engine, queries, responses, [None, None]) == [0.0, 0.0]


@pytest.mark.parametrize("method", ["meta_gradient", "alignment"])
def test_strengths_move_while_the_policy_trains(
    make_graph: Callable[..., AuxiliaryGraph], tiny_model: Callable[[int], Any], tmp_path: Path, method: str
) -> None:
    trainer, reward = make(make_graph, tiny_model, tmp_path, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    assert reward.learned_graph().strength.tolist() != [0.5, 0.5]
    logged = [row for row in trainer.state.log_history if "graph/c0>t:prerequisite" in row]
    assert len(logged) == 3


def test_several_processes_are_refused_aloud(
    make_graph: Callable[..., AuxiliaryGraph],
    tiny_model: Callable[[int], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    with pytest.raises(TrainingError, match=r"gradient of one process.*reward\.learn\.method=alignment"):
        make(make_graph, tiny_model, tmp_path)
