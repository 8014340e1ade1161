"""Files that fit their hashes and not each other, as somebody who means harm would write them, are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.index_files import content_hash
from rag_graph.retrieval.index_manifest import Manifest


def _rewrite(folder: Path, name: str, content: bytes) -> None:
    """Put other content into a file, with the hash that fits."""
    manifest, _ = Manifest.read(folder / "manifest.json")
    (folder / manifest.version / name).write_bytes(content)
    files = {**manifest.files, name: content_hash(content)}
    (folder / "manifest.json").write_text(manifest.model_copy(update={"files": files}).text())


def _array(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    manifest, _ = Manifest.read(folder / "manifest.json")
    path = folder / manifest.version / name
    changed = change(np.load(path).copy())
    np.save(path, changed, allow_pickle=True)
    _rewrite(folder, name, path.read_bytes())


def _first_is(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[0] = value
        return array

    return change


@pytest.fixture
def folder(made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder) -> Path:
    PassageIndex(made_passages(9), scratch_encoder, ("link", "title", "phrase")).save(tmp_path / "i")
    return tmp_path / "i"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("terms_indices.npy", _first_is(10**9)),
        ("terms_indices.npy", _first_is(-1)),
        ("terms_indptr.npy", _first_is(5)),
        ("terms_data.npy", lambda array: array[1:]),
        ("names_indices.npy", _first_is(10**9)),
        ("bm25_indices.npy", _first_is(9)),
        ("bm25_indptr.npy", lambda array: array[:-1]),
        ("bm25_data.npy", lambda array: array.astype(np.float64)),
        ("keys.npy", lambda array: array[::-1]),
        ("keys.npy", lambda array: array + 1),
        ("links.npy", _first_is(9)),
        ("links.npy", _first_is(-1)),
        ("link_kinds.npy", _first_is(4)),
        ("links.npy", lambda array: array[1:]),
        ("offsets.npy", _first_is(7)),
        ("offsets.npy", lambda array: array * 2),
        ("vectors.npy", lambda array: array[:, 1:]),
        ("vectors.npy", lambda array: np.asfortranarray(array)),
        ("vectors.npy", lambda array: array.astype(object)),
    ],
)
def test_arrays_that_do_not_fit(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    _array(folder, name, change)
    with pytest.raises(DataError, match=rf"/{name.split('_')[0].split('.')[0]}\w*\.npy: ") as error:
        PassageIndex.load(folder)
    assert "\n" not in str(error.value)


HEADER = b"\x93NUMPY\x01\x00\x76\x00"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "vectors.npy",
            HEADER + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9, 99999999999999999999), }".ljust(118),
        ),
        ("vectors.npy", HEADER + b"{'descr': '<f4', 'fortran_order': False, 'shape': (-9, -8), }".ljust(118)),
        ("vectors.npy", HEADER + b"__import__('os').abort()".ljust(118)),
        ("vectors.npy", b"\x80\x04."),
        ("vectors.npy", b""),
        ("terms_vocabulary.json", b"[" * 100_000),
        ("terms_vocabulary.json", b'["a", 1]'),
        ("terms_vocabulary.json", b'["a", "a"]'),
    ],
)
def test_content_that_is_something_else(folder: Path, name: str, content: bytes) -> None:
    _rewrite(folder, name, content)
    with pytest.raises(DataError, match=r"vectors\.npy|terms_") as error:
        PassageIndex.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", [b"[" * 3000, b"{}", b'{"id": 1}', b"null"])
def test_passages_that_are_something_else(folder: Path, row: bytes) -> None:
    manifest, _ = Manifest.read(folder / "manifest.json")
    lines = (folder / manifest.version / "passages.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = row + b"\n"
    _rewrite(folder, "passages.jsonl", b"".join(lines))
    _array(folder, "offsets.npy", lambda _: np.cumsum([0, *map(len, lines)]))
    opened = PassageIndex.load(folder)
    assert opened.passages[1].id == "p1"
    with pytest.raises(DataError, match=r"passages\.jsonl: this index is damaged"):
        opened.passages[2]


def test_a_passage_is_read_as_it_was_written(folder: Path, made_passages: Callable[..., list[ContextNode]]) -> None:
    opened = PassageIndex.load(folder)
    assert list(opened.passages) == made_passages(9)
    with pytest.raises(IndexError):
        opened.passages[9]
    rows = [json.loads(line) for line in next(folder.glob("*/passages.jsonl")).read_text().splitlines()]
    assert [row["id"] for row in rows] == [node.id for node in opened.passages]
