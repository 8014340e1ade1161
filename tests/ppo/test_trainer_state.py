"""Stopped and resumed, a run ends as if it had never stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.errors import TrainingError
from rag_graph.ppo.checkpoints import list_checkpoints
from rag_graph.state_file import load_state
from tests.ppo.worker import make


def train(folder: Path, updates: int, **kind: Any) -> Any:
    trainer = make(folder, updates, **kind)
    torch.manual_seed(9)  # for the reward, which draws from the global generator
    trainer.train()
    return trainer


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.engine.bare.named_parameters()}


@pytest.mark.parametrize(
    "kind",
    [{}, {"lora": True}, {"separate": True}, {"length_bucketing": False}, {"train_layers": 1}],
    ids=["shared", "lora", "separate", "stock sampling", "top layer"],
)
def test_a_resumed_run_ends_as_the_plain_one(tmp_path: Path, kind: dict[str, Any], outcome: Any) -> None:
    plain = train(tmp_path / "plain", 4, **kind)
    train(tmp_path / "stopped", 4, stop_at=3, **kind)
    newest = list_checkpoints(tmp_path / "stopped")[0]
    assert newest.name == "checkpoint-3"
    resumed = make(tmp_path / "stopped", 4, **kind)
    torch.manual_seed(1000)
    done = resumed.train(resume_from_checkpoint=True)
    assert done.global_step == 4
    first, second = weights(plain), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert outcome(tmp_path / "plain") == outcome(tmp_path / "stopped")
    one, two = plain.rewards.state_dict()["learner"], resumed.rewards.state_dict()["learner"]
    assert torch.equal(one["mean"], two["mean"])
    assert one["seen"] == two["seen"]
    assert len(one["seen"]) == 32


def test_an_earlier_checkpoint_can_be_named_and_what_came_after_is_written_again(tmp_path: Path, outcome: Any) -> None:
    make(tmp_path, 3).train()
    before = outcome(tmp_path)
    with pytest.warns(RuntimeWarning, match="beyond update 1: moved to"):
        make(tmp_path, 3).train(resume_from_checkpoint=tmp_path / "checkpoint-1")
    assert outcome(tmp_path) == before


def test_a_new_run_in_an_old_folder_moves_the_old_one_aside(tmp_path: Path, outcome: Any) -> None:
    make(tmp_path, 3, save_total_limit=1).train()
    before = outcome(tmp_path)
    with pytest.warns(
        RuntimeWarning, match="holds checkpoints of an earlier training beyond update 0: moved to .*earlier-1"
    ):
        make(tmp_path, 2, seed=4, save_total_limit=1).train()
    assert [row["update"] for row in outcome(tmp_path)] == [1, 2, 2]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-2"]
    assert [path.name for path in list_checkpoints(tmp_path / "earlier-1")] == ["checkpoint-3"]
    assert outcome(tmp_path / "earlier-1") == before


def test_what_came_after_the_named_checkpoint_neither_stays_newest_nor_is_lost(tmp_path: Path) -> None:
    make(tmp_path, 4).train()
    with pytest.warns(RuntimeWarning, match="beyond update 2: moved to"):
        make(tmp_path, 4, stop_at=3).train(resume_from_checkpoint=tmp_path / "checkpoint-2")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-2"]
    assert [path.name for path in list_checkpoints(tmp_path / "earlier-1")] == ["checkpoint-4", "checkpoint-3"]


def test_a_trainer_trains_once(tmp_path: Path, outcome: Any) -> None:
    trainer = make(tmp_path, 1)
    trainer.evaluate()
    trainer.train()
    with pytest.raises(TrainingError, match="this trainer has trained already"):
        trainer.train()
    assert [row["stage"] for row in outcome(tmp_path)] == ["evaluation", "ppo", "evaluation"]


def test_another_learning_rate_is_said_not_to_be_taken(tmp_path: Path) -> None:
    make(tmp_path, 2).train()
    with pytest.warns(RuntimeWarning, match=r"the learning rate it was written with, 0\.003, not 0\.5"):
        make(tmp_path, 2, learning_rate=0.5).train(resume_from_checkpoint=tmp_path / "checkpoint-2")


def test_another_reference_is_another_run(tmp_path: Path) -> None:
    make(tmp_path, 2).train()
    trained = make(tmp_path / "x", 2)
    with torch.no_grad():
        next(trained.ref_model.parameters()).add_(0.1)
    with pytest.raises(TrainingError, match="its reference model is"):
        trained.train(resume_from_checkpoint=tmp_path / "checkpoint-2")


def test_an_adapter_of_any_name_is_resumed(tmp_path: Path) -> None:
    from peft import get_peft_model

    from rag_graph.config import LoraSettings
    from rag_graph.generation.language_model import lora_config

    def trainer(folder: Path, updates: int | None = None) -> Any:
        plain = make(folder / "unused", 1)
        torch.manual_seed(2)
        policy = get_peft_model(
            make(folder / "base", 1).policy_model, lora_config(LoraSettings(r=4, alpha=8)), adapter_name="mine"
        )
        from rag_graph.ppo.trainer import GraphPPOTrainer
        from tests.ppo.worker import Learner, StopAt

        args = plain.args
        args.output_dir, args.total_episodes = str(folder), 32
        return GraphPPOTrainer(
            policy, Learner(0.0), args, plain.train_dataset, eval_dataset=plain.eval_dataset, processing_class=plain.processing_class,
            callbacks=[StopAt(updates)] if updates else None,
        )  # fmt: skip

    whole = trainer(tmp_path / "a")
    whole.train()
    trainer(tmp_path / "b", 2).train()
    resumed = trainer(tmp_path / "b")
    resumed.train(resume_from_checkpoint=True)
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_checkpoint_is_kept_and_taken_and_patience_ends_the_run(tmp_path: Path, outcome: Any) -> None:
    from transformers import EarlyStoppingCallback

    trainer = make(
        tmp_path, 8, eval_steps=1, metric_for_best_model="eval_objective/scores", greater_is_better=True, load_best_model_at_end=True,
        save_total_limit=1,
    )  # fmt: skip
    trainer.add_callback(EarlyStoppingCallback(2, early_stopping_threshold=10.0))
    done = trainer.train()
    assert done.global_step == 3, "the first evaluation is the best so far, then two without ten points more"
    scores = {row["update"]: row["eval_objective/scores"] for row in outcome(tmp_path) if row["stage"] == "evaluation"}
    best = max(scores, key=lambda update: (scores[update], -update))
    assert trainer.state.best_global_step == best
    from transformers import AutoModelForCausalLM

    kept = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{best}").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in trainer.policy_model.state_dict().items())


def test_a_checkpoint_holds_no_pickle_and_loads_with_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = make(tmp_path, 2)
    trainer.train()
    names = {path.name for path in (tmp_path / "checkpoint-2").iterdir()}
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".jinja"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, trainer.policy_model.eval()(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoint-2")("red kettle")["input_ids"]


def test_saved_adapters_load_with_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    trainer = make(tmp_path / "run", 2, lora=True)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    base = make(tmp_path / "other", 1).policy_model
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "saved")).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, trainer.policy_model.eval()(ids).logits, atol=1e-6)
        with loaded.disable_adapter():
            assert not torch.allclose(loaded(ids).logits, trainer.policy_model(ids).logits, atol=1e-4)


def test_what_cannot_be_resumed_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        make(tmp_path / "new", 2).train(resume_from_checkpoint=True)
    make(tmp_path / "old", 2).train()
    with pytest.raises(TrainingError, match="its seed is 3, here it is 4"):
        make(tmp_path / "old", 2, seed=4).train(resume_from_checkpoint=tmp_path / "old/checkpoint-2")
    with pytest.raises(TrainingError, match="no checkpoint of this trainer"):
        make(tmp_path / "old", 2).train(resume_from_checkpoint=tmp_path / "old/completions")
    with pytest.raises(TrainingError, match="its model is"):
        make(tmp_path / "old", 2, lora=True).train(resume_from_checkpoint=tmp_path / "old/checkpoint-2")


def test_a_torn_checkpoint_is_passed_over_by_name(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", 4)
    train(tmp_path / "torn", 4, stop_at=3)
    optimizer = tmp_path / "torn/checkpoint-3/optimizer.safetensors"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    resumed = make(tmp_path / "torn", 4)
    with (
        pytest.warns(RuntimeWarning, match=r"checkpoint-3: optimizer.safetensors is not what was written.*passed over"),
        pytest.warns(RuntimeWarning, match="beyond update 2: moved to"),
    ):
        resumed.train(resume_from_checkpoint=True)
    first, second = weights(plain), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_and_resumed(tmp_path: Path, outcome: Any) -> None:
    """SIGKILL 12 times at random moments, most of them while a checkpoint (one per update) is being written or read."""
    worker = [sys.executable, str(Path(__file__).with_name("worker.py"))]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    updates = ["--updates", "60"]
    subprocess.run([*worker, str(tmp_path / "plain"), *updates], check=True, env=environment)
    generator, kills = random.Random(0), 0
    for _ in range(60):
        if kills == 12:
            break
        after = generator.uniform(0.05, 0.5)
        command = [*worker, str(tmp_path / "killed"), *updates, "--resume", "--kill-after", str(after)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode == -signal.SIGKILL
        if done.returncode == 0:
            break
    assert kills >= 10
    subprocess.run([*worker, str(tmp_path / "killed"), *updates, "--resume"], check=True, env=environment)
    plain, killed = load_state(tmp_path / "plain", "final"), load_state(tmp_path / "killed", "final")
    assert all(torch.equal(value, killed["weights"][name]) for name, value in plain["weights"].items())
    assert plain["rewards"]["learner"]["seen"] == killed["rewards"]["learner"]["seen"]
    assert outcome(tmp_path / "plain") == outcome(tmp_path / "killed")
