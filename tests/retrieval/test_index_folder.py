"""An index on disk: whole or not there, stamped, and safe from a second writer."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex


def test_a_folder_of_something_else_is_left_alone(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/precious.txt").write_text("x")
    with pytest.raises(DataError, match="something else at this place"):
        PassageIndex(made_passages(3)).save(tmp_path / "notes")
    assert (tmp_path / "notes/precious.txt").is_file()


@pytest.mark.parametrize("harm", ["missing", "empty", "half"])
def test_a_damaged_index_is_said_to_be_damaged(
    made_passages: Callable[..., list[ContextNode]], harm: str, tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    PassageIndex(made_passages(12), scratch_encoder, ("link", "title", "phrase")).save(tmp_path / "whole")
    files = [path.relative_to(tmp_path / "whole") for path in sorted((tmp_path / "whole").rglob("*")) if path.is_file()]
    assert len(files) > 12
    for name in files:
        folder = tmp_path / "hurt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if harm != "missing":
            (folder / name).write_bytes(b"" if harm == "empty" else content[: len(content) // 2])
        with pytest.raises(DataError, match=r"damaged|no index is there"):
            PassageIndex.load(folder, scratch_encoder)
        made = PassageIndex(made_passages(3))
        if harm != "missing" or name.name != "manifest.json":
            made.save(folder)  # and can be replaced
            assert len(PassageIndex.load(folder)) == 3


def test_two_who_change_one_folder_do_not_lose_each_others_passages(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
    passages = made_passages(6)
    PassageIndex(passages[:4]).save(tmp_path / "i")
    one, other = PassageIndex.load(tmp_path / "i"), PassageIndex.load(tmp_path / "i")
    one.add([replace(passages[4], links=())])
    one.save(tmp_path / "i")
    other.add([replace(passages[5], links=())])
    with pytest.raises(DataError, match="another has changed this index since it was opened"):
        other.save(tmp_path / "i")
    assert [node.id for node in PassageIndex.load(tmp_path / "i").passages] == ["p0", "p1", "p2", "p3", "p4"]
    one.delete(["p0"])
    one.save(tmp_path / "i")
    assert len(PassageIndex.load(tmp_path / "i")) == 4


def test_a_save_that_fails_leaves_the_old_index(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PassageIndex(made_passages(4)).save(tmp_path / "i")
    real = os.replace

    def fails(source: Any, target: Any) -> None:
        if str(source).endswith(".new"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(DataError, match="cannot be written: .*No space left"):
        PassageIndex(made_passages(7)).save(tmp_path / "i")
    monkeypatch.undo()
    assert len(PassageIndex.load(tmp_path / "i")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_saving_from_several_threads_leaves_a_whole_index(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
    index = PassageIndex(made_passages(8))

    def save(_: int) -> None:
        with contextlib.suppress(DataError):
            index.save(tmp_path / "i")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(12)))
    assert len(PassageIndex.load(tmp_path / "i")) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["i"]
