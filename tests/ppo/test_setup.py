"""Before the first update: end tokens of the policy, chat rows, columns of any name, prompts and answers that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from rag_graph.config import LoraSettings
from rag_graph.errors import DataError, ModelError
from rag_graph.generation.language_model import lora_config
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import ROWS, make

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ bos_token }}{% for m in messages %}"
    "<start>{{ m['role'] }}\n{{ m['content'] }}<end>\n{% endfor %}{% if add_generation_prompt %}<start>model\n{% endif %}"
)


CHAT = [{"role": "user", "content": "the red kettle"}]


def arguments(folder: Path, **changes: Any) -> GraphPPOConfig:
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "total_episodes": 8, "num_ppo_epochs": 1, "response_length": 6, "bf16": False,
        "use_cpu": True, "num_sample_generations": 1, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, **changes,
    }  # fmt: skip
    return GraphPPOConfig(**settings)


def constant(prompts: list[Any], completions: list[Any], completion_ids: Any, **_: Any) -> list[float]:
    return [1.0] * len(prompts)


def test_every_end_token_stops_an_answer_and_none_is_read(
    make_chat_tokenizer: Callable[..., Any], make_llama: Any, tmp_path: Path
) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    end = tokenizer.convert_tokens_to_ids("<end>")
    model = make_llama(tokenizer)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    with torch.no_grad():  # half of what it writes ends a turn
        model.get_output_embeddings().weight.mul_(1e-3)
        model.get_output_embeddings().weight[end] = 0
    seen: list[tuple[str, list[int]]] = []

    def reward(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen.extend((message[0]["content"], ids) for message, ids in zip(completions, completion_ids, strict=True))
        return [1.0] * len(completions)

    args = arguments(tmp_path, response_length=100, per_device_train_batch_size=32, total_episodes=32)
    trainer = GraphPPOTrainer(model, reward, args, [{"prompt": CHAT}] * 32, processing_class=tokenizer)
    trainer.train()
    stops = trainer.engine.stop_ids
    assert stops == (tokenizer.eos_token_id, end)
    ends = [ids[-1] for _, ids in seen]
    assert end in ends
    assert tokenizer.eos_token_id in ends
    for text, ids in seen:
        assert not set(ids[:-1]) & set(stops)
        kept = ids[:-1] if ids[-1] in stops else ids
        assert text == tokenizer.decode(kept, skip_special_tokens=True)
    written = sum(token in stops for token in ends)
    assert trainer.last_metrics["val/num_eos_tokens"] == written
    assert trainer.last_metrics["val/truncated"] == pytest.approx(1 - written / 32)
    table = [json.loads(line) for line in (tmp_path / "completions/update-000001.jsonl").read_text().splitlines()]
    assert sum(row["ended"] for row in table) == written
    trainer.save_model(str(tmp_path / "policy"))
    kept_config = json.loads((tmp_path / "policy/generation_config.json").read_text())
    assert kept_config["eos_token_id"] == list(stops)


def test_a_stop_token_of_the_settings_is_the_only_one(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, stop_token_id=69)
    trainer = GraphPPOTrainer(model, constant, args, [{"prompt": "red"}] * 8, processing_class=tokenizer)
    assert trainer.engine.stop_ids == (69,)
    assert trainer.policy_model.generation_config.eos_token_id == [69, tokenizer.eos_token_id]


def test_a_template_that_refuses_a_row_is_said_at_once(
    make_chat_tokenizer: Callable[..., Any], make_llama: Any, tmp_path: Path
) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    rows = [{"prompt": CHAT}] * 7 + [{"prompt": [{"role": "system", "content": "s"}, *CHAT]}]
    for given in (rows, Dataset.from_list(rows)):
        with pytest.raises(DataError, match="train_dataset, row 7: .*System role not supported"):
            GraphPPOTrainer(make_llama(tokenizer), constant, arguments(tmp_path), given, processing_class=tokenizer)


COLUMNS = [
    "function",
    "name",
    "rows",
    "label",
    "func",
    "kwargs",
    "arguments",
    "num_tokens",
    "images",
    "update",
    "answer",
]


def test_a_column_may_be_called_anything(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    seen: dict[str, Any] = {}

    def reward(prompts: list[str], **columns: Any) -> list[float]:
        seen.update(columns)
        return [1.0] * len(prompts)

    rows = [{"prompt": "red", **{name: f"{name} {number}" for name in COLUMNS}} for number in range(8)]
    trainer = GraphPPOTrainer(model, reward, arguments(tmp_path), rows, processing_class=tokenizer)
    trainer.train()
    for name in COLUMNS:
        assert sorted(seen[name]) == [f"{name} {number}" for number in range(8)]


def test_a_model_by_name_comes_with_its_tokenizer(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    model.bfloat16().save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    trainer = GraphPPOTrainer(str(tmp_path / "half"), constant, arguments(tmp_path), [{"prompt": "a"}] * 8)
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}
    with pytest.raises(ModelError, match="model 'nobody/here' cannot be loaded"):
        GraphPPOTrainer("nobody/here", constant, arguments(tmp_path), [{"prompt": "a"}] * 8)


def test_a_data_set_smaller_than_a_batch_repeats_its_prompts_aloud(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    with pytest.warns(
        RuntimeWarning, match="train_dataset has 3 rows, fewer than the 8 prompts of one batch: prompts repeat"
    ):
        trainer = make(tiny_model, tmp_path, constant, rows=ROWS[:3], total_episodes=24)
    trainer.train()
    assert trainer.last_rollout is not None
    assert {row["number"] for row in trainer.last_rollout.episodes.rows} == {0, 1, 2}


def test_an_optimizer_of_the_callers_also_moves_the_head_and_the_adapter(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    for peft_config in (None, lora_config(LoraSettings(r=4, alpha=8))):
        model, tokenizer = tiny_model(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        trainer = GraphPPOTrainer(
            model, lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids], arguments(tmp_path), ROWS,
            processing_class=tokenizer, peft_config=peft_config, optimizers=(optimizer, None),
        )  # fmt: skip
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
        trainer.train()
        after = dict(trainer.model.named_parameters())
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert "value_model.score.weight" in moved
        assert peft_config is None or any("lora_B" in name for name in moved)
