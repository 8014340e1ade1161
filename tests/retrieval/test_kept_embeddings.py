"""A pool is embedded once, by whoever comes first."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag_graph.records import ContextNode
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.kept_embeddings import embed_once
from tests.contracts.retriever import TEXTS

HEADER = b"\x93NUMPY\x01\x00\x07\x00{'a': ("
"""NumPy asks Python's tokenizer about it, which raises an error of its own."""


class Counting:
    """An encoder that counts the texts it embeds."""

    name = "counting"

    def __init__(self, version: str = "1") -> None:
        self.version, self.embedded = version, 0

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        self.embedded += len(texts)
        turns = np.array([[float(len(text)), sum(map(ord, text)) % 97 + 1.0] for text in texts], np.float32)
        found: NDArray[np.float32] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
        return found

    def fingerprint(self) -> str:
        return self.version


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


def test_what_is_kept_is_what_was_made(cache: Path) -> None:
    one, again = Counting(), Counting()
    made = embed_once(TEXTS, one)
    np.testing.assert_array_equal(embed_once(TEXTS, again), made)
    np.testing.assert_array_equal(Counting().encode(TEXTS), made)
    assert (one.embedded, again.embedded) == (len(TEXTS), 0)
    assert {path.suffix for path in cache.iterdir()} <= {".npy", ".lock"}, "nothing half-written stays"


@pytest.mark.parametrize(
    "texts",
    [TEXTS[::-1], TEXTS[:-1], [*TEXTS[:-1], TEXTS[-1] + " "], [TEXTS[0] + TEXTS[1], "", *TEXTS[2:]]],
    ids=["order", "fewer", "a letter", "borders"],
)
def test_other_passages_are_embedded(texts: list[str]) -> None:
    encoder = Counting()
    embed_once(TEXTS, encoder)
    found = embed_once(texts, encoder)
    assert encoder.embedded == len(TEXTS) + len(texts)
    np.testing.assert_array_equal(found, Counting().encode(texts))


def test_another_encoder_embeds() -> None:
    other = Counting("2")
    embed_once(TEXTS, Counting("1"))
    embed_once(TEXTS, other)
    assert other.embedded == len(TEXTS)


@pytest.mark.parametrize("harm", ["empty", "half", "other rows", "no array", "header", "pipe", "link"])
def test_a_damaged_file_is_made_again(cache: Path, harm: str) -> None:
    made = embed_once(TEXTS, Counting())
    (path,) = cache.glob("*.npy")
    if harm == "other rows":
        np.save(path, made[:2])
    elif harm in ("pipe", "link"):
        path.unlink()
        os.mkfifo(path) if harm == "pipe" else path.symlink_to("/dev/zero")
    else:
        content = path.read_bytes()
        path.write_bytes(
            {"empty": b"", "half": content[: len(content) // 2], "no array": b"x" * 400, "header": HEADER}[harm]
        )
    encoder = Counting()
    np.testing.assert_array_equal(embed_once(TEXTS, encoder), made)
    assert encoder.embedded == len(TEXTS)
    np.testing.assert_array_equal(np.load(path), made)


def test_two_at_the_same_time_embed_once() -> None:
    """Whoever begins holds the lock until the file is there. The first one ends only when the second one has begun to ask."""
    second_asks = threading.Event()

    class Slow(Counting):
        def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
            assert second_asks.wait(60)
            return super().encode(texts)

        def fingerprint(self) -> str:
            if threading.current_thread() is not threading.main_thread() and self is other:
                second_asks.set()
            return super().fingerprint()

    one, other = Slow(), Slow()
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(embed_once, TEXTS, encoder) for encoder in (one, other)]
        first, second = (found.result(60) for found in both)
    np.testing.assert_array_equal(first, second)
    assert one.embedded + other.embedded == len(TEXTS)


def test_where_nothing_can_be_written_a_warning_says_so(cache: Path) -> None:
    cache.parent.write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match="embeddings cannot be kept.*Set RAG_GRAPH_CACHE"):
        found = embed_once(TEXTS, Counting())
    np.testing.assert_array_equal(found, Counting().encode(TEXTS))


def test_an_index_that_keeps_embeds_its_passages_once_and_what_is_added_too() -> None:
    passages = [ContextNode(str(place), "", "", text) for place, text in enumerate(TEXTS)]
    encoder = Counting()
    indexes = [PassageIndex(passages, encoder, keep=True) for _ in range(3)]
    assert encoder.embedded == len(TEXTS)
    np.testing.assert_array_equal(indexes[0].parts.vectors, indexes[2].parts.vectors)
    PassageIndex(passages, encoder)
    assert encoder.embedded == 2 * len(TEXTS), "an index in Python keeps nothing unless it is asked to"
    indexes[0].add([ContextNode("new", "", "", "another text")])
    assert encoder.embedded == 2 * len(TEXTS) + 1
