"""A missing score is masked, never zero."""

from __future__ import annotations

import torch

from rag_graph.reward.scores import ABSENT, Scores, task_mask

SCORES = Scores(
    torch.tensor([[0.5, 0.25, 1.0], [0.75, torch.nan, 0.125]]),
    torch.tensor([[True, True, True], [True, False, True]]),
    torch.zeros(2, 3),
    torch.tensor([0, 2]),
)


def test_the_mask_is_true_at_each_episodes_own_task() -> None:
    assert task_mask(torch.tensor([2, 0]), 3).tolist() == [[False, False, True], [True, False, False]]
    assert SCORES.is_task.tolist() == [[True, False, False], [False, False, True]]


def test_what_is_not_observed_is_filled_with_zero_whatever_stands_there() -> None:
    assert SCORES.filled.tolist() == [[0.5, 0.25, 1.0], [0.75, 0.0, 0.125]]


def test_hiding_takes_scores_away_and_adds_none() -> None:
    hidden = SCORES.without(torch.tensor([[False, True, False], [True, True, False]]))
    assert hidden.observed.tolist() == [[True, False, True], [False, False, True]]
    assert torch.equal(hidden.tasks, SCORES.tasks)
    assert SCORES.observed[0, 1], "the scores themselves are unchanged"


def test_without_the_goal_nothing_is_left_that_gives_it_away() -> None:
    reads_references = torch.tensor([False, True, False])
    assert SCORES.without_goal(reads_references).observed.tolist() == [[False, False, True], [True, False, False]]


def test_what_is_no_part_of_an_episode_is_absent_where_it_is_not_observed() -> None:
    values = torch.tensor([[ABSENT, 0.5, ABSENT], [torch.nan, 0.0, 1.0]])
    scores = SCORES._replace(values=values, observed=torch.tensor([[False, True, True], [False, False, True]]))
    assert scores.absent.tolist() == [[True, False, False], [False, False, False]]
