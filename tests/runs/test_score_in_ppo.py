"""Oracle 12: what PPO pays an episode is what the reward says of its answer alone, however it was padded, cut short or ended."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def test_the_score_in_ppo_is_the_score_of_the_answer_alone(graph_trainer: Callable[..., Any], tmp_path: Path) -> None:
    trainer, reward = graph_trainer(
        tmp_path, "alignment", total_episodes=16, response_length=4, missing_eos_penalty=None
    )
    # The end token is made likely, so that answers of every length come, the empty one too.
    tokenizer = trainer.processing_class
    generate, drawn = trainer.engine.generate, iter([[], [9], [9, 11], [9, 11, 12], [9, 11, 12, 13]] * 4)

    def lengths(queries: Any, uniforms: Any = None, greedy: bool = False) -> list[list[int]]:
        real = generate(queries, uniforms, greedy)
        forced = [next(drawn) for _ in real]
        return [[*ids, tokenizer.eos_token_id] if len(ids) < 4 else ids for ids in forced]

    trainer.engine.generate = lengths  # type: ignore[method-assign]
    untaught = copy.deepcopy(reward.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    assert {len(ids) for ids in rollout.episodes.completion_ids} == {1, 2, 3, 4}
    ended = {tokenizer.eos_token_id in ids for ids in rollout.episodes.completion_ids}
    assert ended == {True, False}, "some end, some are cut off"
    reward.load_state_dict(untaught)
    reward.progress = 0.0
    for row, ids in enumerate(rollout.episodes.completion_ids):
        text = tokenizer.decode(ids, skip_special_tokens=True)
        name = rollout.episodes.rows[row]["example_id"]
        (alone,) = reward(
            prompts=["red kettle"], completions=[text], completion_ids=[ids], example_id=[name], trainer_state=_Step()
        )
        paid = float(rollout.scored.end[row])
        assert alone is not None
        assert abs(paid - alone) < 1e-5
        # And it stands at the last token of the answer, nowhere else.
        assert torch.count_nonzero(rollout.scored.dense[row]) == 0


class _Step:
    global_step = 0
