"""What passes `--dry-run` runs: settings are drawn from the bounds that they state, and each draw is refused by name, or a tiny run gets through."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rag_graph.config import RunConfig, ScratchConfig, load_config
from rag_graph.errors import ConfigError, DataError, ModelError, RagGraphError
from rag_graph.runs.before import BYTES_PER_WEIGHT, check_before, weights_of
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.train import train
from rag_graph.runtime import memory_bytes
from tests.conftest import Cli

TINY = (
    "sft.steps=2", "sft.batch_size=4", "ppo.updates=2", "ppo.batch_size=8", "ppo.num_mini_batches=2", "ppo.checkpoint_every=0", "data.train=8", "data.test=4",
    "model.scratch.hidden_size=32", "model.scratch.intermediate_size=64", "model.scratch.num_layers=1", "model.scratch.num_heads=2", "model.scratch.vocab_size=300",
    "retrieval.encoder=scratch", "retrieval.learn.warm_up_steps=2", "evaluation.without_retrieval=false", "device=cpu",
)  # fmt: skip
OURS = {"graph", "output_dir", "device", "scorers", "judges", "report_to", "model.source", "model.revision", "reward.start_from", "retrieval.encoder", "reward.text_encoder"}  # fmt: skip
"""Names of files, models and servers: not drawn."""
WORK = {"ppo.updates", "sft.steps", "ppo.num_ppo_epochs", "reward.fit_steps", "retrieval.learn.epochs", "retrieval.learn.warm_up_steps", "data.train", "data.test", "model.max_new_tokens",
    "model.scratch.num_layers", "model.scratch.hidden_size", "model.scratch.intermediate_size", "model.scratch.vocab_size", "reward.hidden_size", "reward.num_bases", "model.lora.r", "retrieval.learn.queries"}  # fmt: skip
"""Settings that make a run long or large: within their bounds, only small values are drawn."""
SMALL_WORK = 40


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        parts = [part for part in (field.annotation, *get_args(field.annotation)) if isinstance(part, type)]
        inner = next((part for part in parts if issubclass(part, BaseModel)), None)
        if f"{prefix}{name}" in OURS:
            continue
        if inner is not None:
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


LEAVES = dict(leaves(RunConfig))


def bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    low = [getattr(m, side) for m in field.metadata for side in ("ge", "gt") if getattr(m, side, None) is not None]
    high = [getattr(m, side) for m in field.metadata for side in ("le", "lt") if getattr(m, side, None) is not None]
    return (low or [None])[0], (high or [None])[0]


def value_for(name: str, field: FieldInfo, draw: random.Random) -> Any:
    kinds = {field.annotation, *get_args(field.annotation)}
    if get_origin(field.annotation) is not None and not kinds & {int, float}:
        options = [one for one in get_args(field.annotation) if isinstance(one, str)]
        return draw.choice([*options, "nonsense"]) if options else draw.choice(["[]", "[title]", "[nonsense]"])
    if bool in kinds:
        return draw.choice(["true", "false", "2"])
    if not kinds & {int, float}:
        return draw.choice(["en", "none", "exact", "faiss", "nonsense", "x" * 300, '"[/red]"'])
    low, high = bounds(field)
    default = field.default if isinstance(field.default, int | float) else 1
    inside = [v for v in (low, high, default, default * 2, (low or 0) + 1, 3, 17) if v is not None]
    outside = [-1, 10**20, 2**32, "nan", "text", *([1e308, 1e-300] if float in kinds else [1.5])]
    if name in WORK:
        inside = [v for v in inside if v <= SMALL_WORK] or [low]
    return draw.choice(inside if draw.random() < 0.7 else outside)


def drawn(draw: random.Random) -> list[str]:
    names = draw.sample(sorted(LEAVES), draw.randint(1, 3))
    return [f"{name}={value_for(name, LEAVES[name], draw)}" for name in names]


def refusal(config: Path, settings: list[str], folder: Path) -> str | None:
    """What the checks say; None where they pass."""
    try:
        loaded = load_config(config, [*TINY, f"output_dir={folder}", *settings])
        check_before(loaded, OwnParts())
    except RagGraphError as error:
        return str(error)
    return None


@pytest.fixture
def quickstart(root: Path) -> Path:
    return root / "experiments/quickstart/config.yaml"


def test_the_numbers_of_the_settings_are_bounded_on_both_sides() -> None:
    numbers = {name: f for name, f in LEAVES.items() if {f.annotation, *get_args(f.annotation)} & {int, float}}
    assert len(numbers) > 50
    assert [name for name, field in numbers.items() if None in bounds(field)] == []


def test_draws_are_refused_by_the_name_of_a_setting_or_pass(quickstart: Path, tmp_path: Path) -> None:
    draw, passed = random.Random(0), 0
    for _ in range(40):
        settings = drawn(draw)
        said = refusal(quickstart, settings, tmp_path / "run")
        passed += said is None
        if said is not None:
            names = [one.partition("=")[0].rpartition(".")[2] for one in settings]
            assert any(name in said for name in names), (settings, said)
    assert 5 < passed < 35
    assert list(tmp_path.iterdir()) == [], "checks write nothing"


@pytest.mark.parametrize("number", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 120))])
def test_what_the_checks_pass_runs(quickstart: Path, tmp_path: Path, number: int) -> None:
    draw = random.Random(f"run {number}")
    settings = drawn(draw)
    while refusal(quickstart, settings, tmp_path / "run") is not None:
        settings = drawn(draw)
    run = train(quickstart, [*TINY, f"output_dir={tmp_path / 'run'}", *settings], progress=StageProgress(quiet=True))
    assert run.status["status"] == "finished", settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["seed=4294967296"], "seed"),
        (["model.scratch.hidden_size=18", "model.scratch.num_heads=6"], "rotary positions need an even number"),
        (["ppo.learning_rate=1e308"], "ppo.learning_rate: Input should be less than or equal to 1"),
        (["retrieval.method=walk", "retrieval.damping=0.9999999"], "retrieval.damping"),
        (["data.train=100000000000000000000"], "data.train"),
        (["data.train=1000000"], "data.train: 1,000,000 passages of parcels"),
        (["ppo.batch_size=4096"], "Lower ppo.batch_size"),
        (["retrieval.walk_epsilon=1e-300"], "retrieval.walk_epsilon: 0 or at least 1e-9"),
        (["retrieval.method=dense", "retrieval.encoder=./gone"], "retrieval.encoder: no such folder: ./gone"),
        (["reward.budget.per_update=5"], "no node has a price"),
        (["reward.text_encoder=package:gone_gone"], "package 'gone_gone' is not installed"),
        (["model.scratch.num_layers=256", "model.scratch.hidden_size=16384", "model.scratch.intermediate_size=131072"], "Lower hidden_size"),
    ],
)  # fmt: skip
def test_dry_run_and_run_refuse_with_the_same_words(
    run_cli: Cli, quickstart: Path, tmp_path: Path, settings: list[str], said: str
) -> None:
    given = [part for one in [*TINY, *settings] for part in ("--set", one)]
    dry = run_cli("train", quickstart, *given, "--dry-run", cwd=tmp_path)
    real = run_cli("train", quickstart, *given, cwd=tmp_path)
    assert said in dry.stderr
    assert dry.stderr == real.stderr
    assert dry.returncode == real.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_memory_is_counted_before_a_model_is_made(quickstart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag_graph.generation.scratch import make_model, make_tokenizer

    scratch = ScratchConfig(vocab_size=300, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64)
    model = make_model(scratch, make_tokenizer(["a red kettle from oslo"] * 30, 300))
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    short = (300 - model.config.vocab_size) * 32
    assert weights_of(scratch) == matrices + short
    config = load_config(quickstart, TINY)
    need = weights_of(config.model.scratch) * BYTES_PER_WEIGHT
    monkeypatch.setattr("rag_graph.runs.before.memory_bytes", lambda: need)
    check_before(config, OwnParts())
    monkeypatch.setattr("rag_graph.runs.before.memory_bytes", lambda: need - 1)
    with pytest.raises(ConfigError, match="model.scratch: .* weights need at least"):
        check_before(config, OwnParts())


def test_a_folder_that_cannot_be_is_refused(quickstart: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, said in (("file/run", "cannot be made"), ("full", "exists already"), ("x" * 300, "cannot be made")):
        with pytest.raises(ConfigError, match=f"output_dir .*{said}"):
            check_before(load_config(quickstart, [*TINY, f"output_dir={tmp_path / name}"]), OwnParts())
    check_before(load_config(quickstart, [*TINY, f"output_dir={tmp_path / 'empty'}"]), OwnParts())


def test_data_of_the_hub_are_not_fetched_by_a_dry_run(quickstart: Path, root: Path, tmp_path: Path) -> None:
    graph = tmp_path / "g.yaml"
    text = (root / "graphs/parcels.yaml").read_text()
    graph.write_text(text.replace("dataset: {name: parcels}", "dataset: {hub: nobody/nothing-here}", 1))
    assert "nobody" in graph.read_text()
    config = load_config(quickstart, [*TINY, f"graph={graph}"])
    assert check_before(config, OwnParts(), fetch=False).data is None
    with pytest.raises(DataError, match="nobody/nothing-here"):
        check_before(config, OwnParts())


def test_the_memory_of_this_machine_is_known() -> None:
    there = memory_bytes()
    assert there is None or there >= 2**20
    if hasattr(os, "sysconf"):
        assert there is not None


def test_a_model_that_is_not_there_is_refused(quickstart: Path) -> None:
    with pytest.raises(ModelError, match="gone-gone"):
        check_before(load_config(quickstart, [*TINY, "model.source=package:gone_gone"]), OwnParts())
