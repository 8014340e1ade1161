"""Which rows an update answers, and rows of a list as a data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.errors import DataError
from rag_graph.ppo.episode_order import EpisodeOrder
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import arguments, constant


def test_every_row_is_answered_equally_often() -> None:
    order = EpisodeOrder(seed=1, num_rows=7, batch_size=3)
    seen = [row for update in range(14) for row in order.rows(update)]
    assert set(Counter(seen).values()) == {6}
    assert [sorted(seen[epoch * 7 : epoch * 7 + 7]) for epoch in range(6)] == [list(range(7))] * 6
    assert seen[:7] != seen[7:14]


def test_two_processes_share_the_rows_and_numbers_of_one() -> None:
    whole = EpisodeOrder(5, 11, 6)
    halves = [EpisodeOrder(5, 11, 3, index, 2) for index in (0, 1)]
    for update in range(4):
        assert whole.rows(update) == [row for half in halves for row in half.rows(update)]
        assert torch.equal(whole.uniforms(update, 4), torch.cat([half.uniforms(update, 4) for half in halves]))
    assert (whole.uniforms(0, 4) != whole.uniforms(1, 4)).all()


def test_answers_to_one_prompt_lie_side_by_side_and_each_has_its_own_numbers() -> None:
    once, thrice = EpisodeOrder(5, 11, 4), EpisodeOrder(5, 11, 12, samples=3)
    halves = [EpisodeOrder(5, 11, 6, index, 2, samples=3) for index in (0, 1)]
    for update in range(4):
        assert thrice.rows(update) == [row for row in once.rows(update) for _ in range(3)]
        assert thrice.rows(update) == [row for half in halves for row in half.rows(update)]
        assert len(set(thrice.uniforms(update, 4)[:, 0].tolist())) == 12


CHAT = [{"role": "user", "content": "the red kettle"}]


@pytest.mark.parametrize("name", ["prompts", "completions", "completion_ids", "trainer_state", "self"])
def test_a_column_with_the_name_of_an_argument_is_left_out_aloud(tiny_model: Any, tmp_path: Path, name: str) -> None:
    model, tokenizer = tiny_model(1)

    class Reward:
        __name__ = "reward"

        def __call__(self, prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
            assert columns.get(name) != ["mine"] * 8
            return [float(len(text)) for text in completions]

    rows = [{"prompt": "red", name: "mine"}] * 8
    with pytest.warns(RuntimeWarning, match=f"rewards do not get the columns {name}: .* Rename them"):
        trainer = GraphPPOTrainer(model, Reward(), arguments(tmp_path), rows, processing_class=tokenizer)
    trainer.train()
    assert trainer.last_metrics["objective/scores"] > 0


def test_rows_keep_the_columns_that_others_lack(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    seen: list[Any] = []

    def reward(prompts: list[str], reference: list[str | None], **_: Any) -> list[float]:
        seen.extend(reference)
        return [1.0] * len(prompts)

    rows = [{"prompt": "a"}] + [{"prompt": "b", "reference": "yes"}] * 7
    GraphPPOTrainer(model, reward, arguments(tmp_path), rows, processing_class=tokenizer).train()
    assert sorted(seen, key=str) == [None] + ["yes"] * 7


MIXED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "types": (
        [{"prompt": "a", "answer": 1}] * 3 + [{"prompt": "b", "answer": "two"}],
        "row 3: 'two' does not fit into column 'answer'",
    ),
    "texts and messages": (
        [{"prompt": "a"}] * 2 + [{"prompt": CHAT}],
        "the prompt of row 0 is a text, and that of row 2 is a list of messages",
    ),
    "no dict": ([{"prompt": "a"}, "b"], "row 1: a str. A dict of columns is expected"),  # type: ignore[list-item]
    "no prompt": ([{"prompt": "a"}, {"answer": "b"}], "row 1: the prompt is None"),
}


@pytest.mark.parametrize("case", MIXED)
def test_rows_that_do_not_go_together(tiny_model: Any, tmp_path: Path, case: str) -> None:
    rows, message = MIXED[case]
    model, tokenizer = tiny_model(1)
    with pytest.raises(DataError, match=f"train_dataset.* {message}"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), rows, processing_class=tokenizer)
