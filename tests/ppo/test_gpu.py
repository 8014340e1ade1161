"""The same run on a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rag_graph.config import load_config
from tests.ppo.worker import make


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_small_run_on_cuda(root: Path, tmp_path: Path, bf16: bool) -> None:
    from rag_graph.runs.train import train

    small = [
        "sft.steps=20",
        "ppo.updates=3",
        "ppo.batch_size=32",
        "data.train=100",
        "data.test=20",
        "device=cuda",
        f"ppo.bf16={str(bf16).lower()}",
    ]
    run = train(load_config(root / "experiments/quickstart/config.yaml", [*small, f"output_dir={tmp_path / 'run'}"]))
    assert (run.path / "policy/model.safetensors").is_file()
    assert run.results is not None
    assert 0 <= run.results["after"]["mean_task_score"]["mean"] <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("warm_up", ["none", "likelihood"])
def test_a_retriever_learns_on_cuda(root: Path, tmp_path: Path, warm_up: str) -> None:
    from rag_graph.runs.train import train

    learn = {"method": "perplexity", "queries": 4, "warm_up_steps": 2, "warm_up": warm_up}
    small = [
        "sft.steps=5",
        "ppo.updates=2",
        "ppo.batch_size=32",
        "data.train=100",
        "data.test=20",
        "device=cuda",
        "retrieval.method=dense",
        "retrieval.encoder=scratch",
        *(f"retrieval.learn.{name}={value}" for name, value in learn.items()),
    ]
    run = train(load_config(root / "experiments/quickstart/config.yaml", [*small, f"output_dir={tmp_path / 'run'}"]))
    assert run.metrics("ppo")["retriever/queries"].max() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_resumed_run_on_cuda_ends_as_the_plain_one(tmp_path: Path) -> None:
    plain = make(tmp_path / "plain", 4, use_cpu=False)
    plain.train()
    make(tmp_path / "stopped", 4, use_cpu=False, stop_at=2).train()
    resumed = make(tmp_path / "stopped", 4, use_cpu=False)
    resumed.train(resume_from_checkpoint=True)
    pairs = zip(plain.engine.bare.parameters(), resumed.engine.bare.parameters(), strict=True)
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in pairs)
