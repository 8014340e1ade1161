"""An index on disk: whole or not there, stamped, and safe from a second writer."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval import index_files
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


def _flipped(place: float) -> Callable[[Path], object]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return flip


def _linked(path: Path) -> None:
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    path.symlink_to(away)


HARMS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "first": _flipped(0),
    "middle": _flipped(0.5),
    "last": _flipped(1),
    "link": _linked,
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}
"""What is done to a file. A flip of the last byte of a manifest makes a line end of it, or spoils it."""
KINDS = ["exact", "faiss"] if importlib.util.find_spec("faiss") else ["exact"]
ALL = ("link", "title", "phrase")


def _files(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return [path.relative_to(folder) for path in found]


@pytest.mark.parametrize("vectors", KINDS)
def test_a_damaged_file_of_any_kind_is_refused_by_name(
    made_passages: Callable[..., list[ContextNode]], vectors: str, tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    folder = tmp_path / "i"
    PassageIndex(made_passages(12), scratch_encoder, ALL, vectors).save(folder)
    assert len(_files(folder)) == (18 if vectors == "exact" else 19)
    for path in map(folder.joinpath, _files(folder)):
        content = path.read_bytes()
        for harm, do in HARMS.items():
            do(path)
            said = "no index is there" if (path.name, harm) == ("manifest.json", "missing") else re.escape(path.name)
            with pytest.raises(DataError, match=said) as error:
                PassageIndex.load(folder, scratch_encoder)
            assert "\n" not in str(error.value), harm
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
            path.write_bytes(content)
    assert len(PassageIndex.load(folder, scratch_encoder)) == 12


def test_a_damaged_index_can_be_replaced(made_passages: Callable[..., list[ContextNode]], tmp_path: Path) -> None:
    for name in ("manifest.json", "*/keys.npy"):
        PassageIndex(made_passages(4)).save(tmp_path / "i")
        next((tmp_path / "i").glob(name)).write_bytes(b"x")
        PassageIndex(made_passages(3)).save(tmp_path / "i")
        assert len(PassageIndex.load(tmp_path / "i")) == 3


def test_a_file_of_another_index_is_refused_by_name(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    for name, seed in (("one", 0), ("other", 1)):
        PassageIndex(made_passages(12, seed), scratch_encoder, ALL, KINDS[-1]).save(tmp_path / name)
    (mine,), (others,) = ([p for p in (tmp_path / name).iterdir() if p.is_dir()] for name in ("one", "other"))
    for path in mine.iterdir():
        was, other = path.read_bytes(), (others / path.name).read_bytes()
        if was != other:
            path.write_bytes(other)
            with pytest.raises(
                DataError, match=re.escape(f"{path}: this index is damaged: its content is not what was")
            ):
                PassageIndex.load(tmp_path / "one")
            path.write_bytes(was)
    assert len(PassageIndex.load(tmp_path / "one")) == 12
    shutil.copy(tmp_path / "other/manifest.json", tmp_path / "one/manifest.json")
    with pytest.raises(DataError, match="damaged: No such file"):
        PassageIndex.load(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("vectors", KINDS)
def test_any_bit_that_is_flipped_is_refused_or_changes_nothing(
    made_passages: Callable[..., list[ContextNode]], vectors: str, tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    folder = tmp_path / "i"
    PassageIndex(made_passages(12), scratch_encoder, ALL, vectors).save(folder)
    good, refused, rng = _answers(PassageIndex.load(folder, scratch_encoder)), 0, random.Random(0)
    for name in _files(folder):
        content = (folder / name).read_bytes()
        for place in rng.sample(range(len(content)), min(len(content), 60)):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(changed)
            try:
                assert _answers(PassageIndex.load(folder, scratch_encoder)) == good, (name, place)
            except DataError as error:
                assert name.name in str(error)  # noqa: PT017 - either is right
                refused += 1
        (folder / name).write_bytes(content)
    assert refused > 1000


def _answers(index: PassageIndex) -> list[object]:
    methods = ["bm25", "walk", *(["dense", "hybrid_walk"] if index.encoder else [])]
    found = [index.retriever(method).search(["red kettle from Oslo", "Lima"], 4) for method in methods]
    return [(index.passages[hit.position], hit.score) for lists in found for hits in lists for hit in hits]


@pytest.mark.parametrize("vectors", KINDS[-1:])
def test_a_reader_of_an_index_that_is_replaced_gets_the_old_or_the_new_one(
    made_passages: Callable[..., list[ContextNode]],
    vectors: str,
    tmp_path: Path,
    scratch_encoder: SentenceEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, real = tmp_path / "i", index_files.plain_file
    one, other = (PassageIndex(made_passages(9, seed), scratch_encoder, ALL, vectors) for seed in (0, 1))
    wanted = {"one": _answers(one), "other": _answers(other)}

    def put(index: PassageIndex) -> None:
        index._folder = None  # as if it had just been made
        index.save(folder)

    put(one)
    found = []
    for moment in range(len(_files(folder))):  # it is replaced before this file is opened
        put(one)
        opens = iter(range(1000))

        def opening(path: Path, opens: Iterator[int] = opens, moment: int = moment) -> Any:
            if next(opens) == moment:
                put(other)
            return real(path)

        monkeypatch.setattr(index_files, "plain_file", opening)
        got = _answers(PassageIndex.load(folder, scratch_encoder))
        found.append(next(name for name, answers in wanted.items() if answers == got))
        monkeypatch.setattr(index_files, "plain_file", real)
    assert set(found[:-1]) == {"other"}, "a file of the old one was gone"
    assert found[-1] == "one", "all of it was open"


def test_an_opened_index_outlives_its_replacement(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    made = PassageIndex(made_passages(9), scratch_encoder, ALL, KINDS[-1])
    made.save(tmp_path / "i")
    opened = PassageIndex.load(tmp_path / "i", scratch_encoder)
    PassageIndex(made_passages(5, 1)).save(tmp_path / "i")
    assert _answers(opened) == _answers(made)
    assert len(PassageIndex.load(tmp_path / "i")) == 5


def test_readers_beside_a_writer_never_see_a_mixture(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
    folder = tmp_path / "i"
    pools = [made_passages(8, seed) for seed in (0, 1)]
    wanted = [_answers(PassageIndex(pool)) for pool in pools]
    PassageIndex(pools[0]).save(folder)
    done = threading.Event()

    def read(_: int) -> list[int]:
        seen = []
        while not done.is_set() or not seen:
            seen.append(wanted.index(_answers(PassageIndex.load(folder))))
        return seen

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read, number) for number in range(2)]
        try:
            for turn in range(10):
                PassageIndex(pools[turn % 2]).save(folder)
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_one_writes_at_a_time(made_passages: Callable[..., list[ContextNode]], tmp_path: Path) -> None:
    index = PassageIndex(made_passages(3))
    index.save(tmp_path / "i")
    with FileLock(tmp_path / "i/.lock"), pytest.raises(DataError, match="another process is writing this index"):
        index.save(tmp_path / "i")
    index.save(tmp_path / "i")


def test_what_a_killed_writer_left_is_cleared(made_passages: Callable[..., list[ContextNode]], tmp_path: Path) -> None:
    (tmp_path / "i" / ("0" * 32)).mkdir(parents=True)
    (tmp_path / "i/.lock").touch()
    PassageIndex(made_passages(3)).save(tmp_path / "i")
    assert len([path for path in (tmp_path / "i").iterdir() if path.is_dir()]) == 1


def test_a_version_that_is_a_link_is_not_followed(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
    PassageIndex(made_passages(3)).save(tmp_path / "i")
    (version,) = (path for path in (tmp_path / "i").iterdir() if path.is_dir())
    version.rename(tmp_path / "away")
    version.symlink_to(tmp_path / "away")
    with pytest.raises(DataError, match="it is a link"):
        PassageIndex.load(tmp_path / "i")
    PassageIndex(made_passages(4)).save(tmp_path / "i")
    assert len(list((tmp_path / "away").iterdir())) > 10, "nothing behind the link was deleted"


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
        if str(target).endswith("manifest.json"):
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
