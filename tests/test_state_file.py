"""Nested states come back as they were."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_graph.errors import TrainingError
from rag_graph.state_file import load_state, save_state

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(), inner, max_size=3),
    max_leaves=12,
)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and bool(a == b)


@given(value=values)
@settings(max_examples=60, deadline=None)
def test_states_round_trip(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("state")
    tensors = {3: torch.arange(4.0)[::2], "b": (torch.tensor([True]), [np.arange(3, dtype=np.uint32), torch.empty(0)])}
    save_state(folder, "s", [value, tensors])
    assert equal(load_state(folder, "s"), [value, tensors])


def test_a_state_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"the state rewards\.graph\.buffer is a deque, which no checkpoint can hold"
    ):
        save_state(tmp_path, "rewards", {"graph": {"buffer": deque()}})


def test_paths_that_read_alike_are_kept_apart(tmp_path: Path) -> None:
    state = {"a.b": torch.zeros(2), "a": {"b": torch.ones(2)}, 1: torch.full((2,), 2.0), "1": torch.full((2,), 3.0)}
    save_state(tmp_path, "s", state)
    assert equal(load_state(tmp_path, "s"), state)
    with pytest.raises(TrainingError, match=r"the state s has a key \(1, 2\)"):
        save_state(tmp_path, "s", {(1, 2): 3})
    with pytest.raises(TrainingError, match=r"the state s\.names is an array that no checkpoint can hold"):
        save_state(tmp_path, "s", {"names": np.array(["a"])})
