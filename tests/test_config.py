"""Config: YAML and --set, all problems at once, near misses, a fingerprint of what matters."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rag_graph.config import RunConfig, load_config, read_config
from rag_graph.errors import ConfigError
from rag_graph.settings_file import flatten


def test_defaults_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(RunConfig().to_yaml())
    assert load_config(path) == RunConfig()
    odd = load_config(None, ["name=1e5x", "graph='1e5'", "output_dir='a: b'"])
    path.write_text(odd.to_yaml())
    assert load_config(path) == odd


def test_overrides_win_in_order(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("ppo: {learning_rate: 1e-4, updates: 7}\n")
    config = load_config(path, ["ppo.learning_rate=1e-6", "seed=3", "seed=4", "model.lora.r=2", "reward.readout=flat"])
    assert config.ppo.learning_rate == 1e-6
    assert config.ppo.updates == 7
    assert config.seed == 4
    assert config.model.lora is not None
    assert config.model.lora.r == 2
    assert config.reward.readout == "flat"


def test_every_problem_at_once_with_near_misses(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("sed: 1\nppo: {learnig_rate: 1, updates: 0}\nreward: {readout: graf}\nmodel: {lora: {rank: 3}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    assert f"{path}:1:1: sed: unknown key 'sed'. Did you mean 'seed'?" in text
    assert "ppo.learnig_rate: unknown key 'learnig_rate'. Did you mean 'learning_rate'?" in text
    assert f"{path}:2:33: ppo.updates: Input should be greater than or equal to 1 (given: 0)" in text
    assert (
        "reward.readout: Input should be 'expected_goal', 'prior_gnn', 'goal_only', 'random', 'flat', 'diffusion', 'gated_fixed', 'product', 'em_product', 'soft_min', 'ridge', 'ridge_equal', 'boosting', 'mlp' or 'gnn' (given: 'graf')"
        in text
    )
    assert "model.lora.rank: unknown key 'rank'." in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [("- 1", "a config is a map of keys, this is a list"), ("a: [", r"c\.yaml:2:1: not valid YAML"), ("seed: 1\nseed: 2", r"c\.yaml:2:1: seed: stated twice, first on line 1"), ("seed: !!int foo", "a tag"), ("name: 2001-13-45\nppo: {learning_rate: .inf}", "c\\.yaml:2:22: ppo.learning_rate: Input should be a finite number"), ("a: " + "[" * 50_000, "nested more than"), ("model: {scratch: {num_heads: 5}}", "hidden_size 192 is not a multiple of num_heads 5"), ("model: {max_prompt_tokens: 600}", "more than scratch.max_length 512"), ("ppo: 3", "ppo: Input should be"), ("retrieval: {learn: {warm_up: contrastive}}", "learn.warm_up 'contrastive' trains an encoder, and method 'bm25' has none"), ("retrieval: {learn: {method: reward}}", "learn.method 'reward' trains an encoder"), ("retrieval: {language: finish}", "language 'finish': no stemmer for it. Did you mean 'finnish'"), ("retrieval: {vectors: fais}", "vectors 'fais' is none of exact, faiss"), ("retrieval: {method: dense, k: 9, learn: {method: policy_gradient}}", "learn.candidates 8 is fewer than k 9"), ("ppo: {batch_size: 10, num_mini_batches: 3}", "batch_size 10 is not a multiple of num_mini_batches 3"), ("ppo: {batch_size: 10, samples_per_prompt: 4}", "batch_size 10 is not a multiple of samples_per_prompt 4")],
)  # fmt: skip
def test_messages(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_missing_file_and_bad_override() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config("nowhere.yaml")
    with pytest.raises(ConfigError, match="write it as key=value"):
        load_config(None, ["ppo.updates"])
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(None, ["seed=["])
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config("/dev/zero")
    with pytest.raises(ConfigError, match=r"Did you mean 'updates'\?"):
        load_config(None, ["ppo.update=3"])


def test_the_fingerprint_ignores_what_changes_no_result() -> None:
    base = RunConfig()
    for nothing in (
        "name=x",
        "output_dir=/y",
        "ppo.checkpoint_every=3",
        "report_to=[wandb]",
        "reward.max_bad_episodes=0.5",
    ):
        assert load_config(None, [nothing]).fingerprint() == base.fingerprint()
    for key, value in (
        ("seed", 1),
        ("ppo.lam", 0.9),
        ("retrieval.k", 5),
        ("reward.readout", "flat"),
        ("graph", "news"),
    ):
        assert load_config(None, [f"{key}={value}"]).fingerprint() != base.fingerprint()


@given(st.sampled_from(sorted(flatten(RunConfig().model_dump()))), st.text(max_size=8))
def test_any_override_is_taken_or_refused(key: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        assert load_config(None, [f"{key}={value}"]).fingerprint()


@pytest.mark.parametrize("name", ["quickstart", "news"])
def test_shipped_configs_load(root: Path, name: str) -> None:
    assert load_config(root / f"experiments/{name}/config.yaml").name == name


def test_a_graph_is_looked_for_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = tmp_path / "goals", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / "g.yaml").write_text("format: 1")
    config = beside / "run.yaml"
    config.write_text("graph: g.yaml\n")
    monkeypatch.chdir(tmp_path)
    assert load_config(config).graph == str(beside / "g.yaml")
    assert load_config(config, ["graph=news"]).graph == "news"
    assert load_config(config, ["graph=nowhere.yaml"]).graph == "nowhere.yaml", "the error says what was written"
    for no_path in ("parcels.yaml" * 30, "a\0.yaml"):
        assert load_config(config, [f"graph={json.dumps(no_path)}"]).graph == no_path
    monkeypatch.chdir(here)
    assert load_config(config).graph == "g.yaml", "the current folder comes first"


def test_scorers_get_their_place_and_the_fingerprint_ignores_it(tmp_path: Path) -> None:
    fingerprints = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("raise SystemExit('reading a config runs no code')\n")
        (tmp_path / name / "run.yaml").write_text("scorers: {polite: 'mine:polite'}\n")
        config = load_config(tmp_path / name / "run.yaml")
        assert config.scorers == {"polite": f"{tmp_path / name / 'mine.py'}:polite"}
        assert read_config(tmp_path / name / "run.yaml").scorers == {"polite": "mine:polite"}
        fingerprints |= {config.fingerprint(), read_config(tmp_path / name / "run.yaml").fingerprint()}
    assert len(fingerprints) == 1
    other = load_config(tmp_path / "a/run.yaml", ["scorers.polite=mine.py:rude"])
    assert other.scorers == {"polite": f"{tmp_path / 'a/mine.py'}:rude"}
    assert other.fingerprint() not in fingerprints
    (tmp_path / "a/run.yaml").write_text("scorers: {polite: mine}\n")
    with pytest.raises(ConfigError, match=r"scorers: polite: 'mine' names no function. Write module:function"):
        load_config(tmp_path / "a/run.yaml")


def test_a_tracker_is_one_of_three_and_counts_once() -> None:
    assert load_config(None, ["report_to=[wandb, tensorboard, wandb]"]).report_to == ("wandb", "tensorboard")
    with pytest.raises(ConfigError, match=r"report_to.0: Input should be 'tensorboard', 'wandb' or 'trackio'"):
        load_config(None, ["report_to=[mlflow]"])


def _texts(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The settings that take any text, `a.b`."""
    for name, field in model.model_fields.items():
        annotation = str(field.annotation)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _texts(inner, f"{prefix}{name}.")
        elif annotation in ("<class 'str'>", "str | None"):
            yield f"{prefix}{name}"


def test_no_setting_holds_a_password() -> None:
    """What is set is written into the run folder and its report."""
    names = list(_texts(RunConfig))
    assert {"retrieval.vectors", "model.source", "graph", "output_dir"} <= set(names)
    for name in names:
        with pytest.raises(ConfigError) as told:
            read_config(None, [f"{name}=http://user:s3cret@host:1"])
        assert "s3cret" not in str(told.value)
        assert name == "name" or "Give the address alone" in str(told.value), name
        with pytest.raises(ValidationError) as python:
            RunConfig.model_validate(_nested(name, "http://user:s3cret@host:1"))
        assert "s3cret" not in str(python.value)


def _nested(name: str, value: str) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    return {first: _nested(rest, value) if rest else value}


JUDGE = ["judges.a.model=m", "judges.a.base_url=http://127.0.0.1:1/v1"]


def test_the_fingerprint_holds_what_changes_a_verdict() -> None:
    base = load_config(None, JUDGE).fingerprint()
    assert base != RunConfig().fingerprint()
    for quiet in (
        "concurrency=2",
        "timeout=9",
        "retries=0",
        "cache_mb=0",
        "price_in=1",
        "price_out=1",
        "api_key_env=MINE",
        "batch_size=2",
    ):
        assert load_config(None, [*JUDGE, f"judges.a.{quiet}"]).fingerprint() == base
    for change in (
        "model=n",
        "base_url=null",
        "temperature=0.5",
        "max_tokens=9",
        "together=true",
        "rank=true",
        "template='{answer}'",
    ):
        assert load_config(None, [*JUDGE, f"judges.a.{change}"]).fingerprint() != base


def test_a_template_of_a_judge_is_read_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("{question}\n{answer} é {scale}", encoding="utf-8")
    (tmp_path / "c.yaml").write_text("judges: {a: {model: m, template: mine.txt}}")
    config = load_config(tmp_path / "c.yaml")
    assert config.judges["a"].template == "{question}\n{answer} é {scale}"
    (tmp_path / "again.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert (
        load_config(tmp_path / "again.yaml") == config
    )  # the text stands for itself: a run folder needs no other file
    assert read_config(tmp_path / "c.yaml").judges["a"].template == "mine.txt"
    with pytest.raises(ConfigError, match=r"judges.a.template: 'none.txt' cannot be read: No such file"):
        load_config(None, [*JUDGE, "judges.a.template=none.txt"])
    with pytest.raises(ConfigError, match="Set one of them to false, or name two judges"):
        load_config(None, [*JUDGE, "judges.a.together=true", "judges.a.rank=true"])
