"""Settings from YAML and `--set`: values, order, places of problems; written settings read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from rag_graph.errors import ConfigError
from rag_graph.settings_file import flatten, parse_value, read_settings, to_yaml


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int = 1
    word: str = ""


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    text: str = ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("no", "no"), ("true", True), ("", None), ("[1, a]", [1, "a"]), ("'7'", "7"), ("07", 7)],
)
def test_values_are_yaml_1_2(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")), max_size=12))
def test_any_text_is_written_so_that_it_reads_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    settings = Outer(text=text, inner=Inner(count=3, word="1e5"))
    path.write_text(to_yaml(settings), encoding="utf-8")
    assert read_settings(path, Outer) == settings


def test_the_last_override_wins_and_problems_have_their_place(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("inner: {count: 5}\n")
    assert read_settings(path, Outer, ["inner.count=6", "inner.count=7"]).inner.count == 7
    path.write_text("inner: {count: x, wrod: a}\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(path, Outer)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:1:16: inner.count: ")
    assert lines[1] == f"{path}:1:19: inner.wrod: unknown key 'wrod'. Did you mean 'word'?"


def test_flat_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
