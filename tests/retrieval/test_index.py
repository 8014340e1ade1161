"""An index on disk: whole, stamped, refused with the difference named; grown and shrunk it equals one that was made at once."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_graph.data.passages import read_passages, read_queries
from rag_graph.errors import ConfigError, DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.index_parts import passage_text
from rag_graph.retrieval.vectors import MilvusVectors
from tests.contracts.retriever import TEXTS

CITIES = ["Oslo", "Lima", "Köln", "New Port", "Red Hill"]


def made_passages(count: int, seed: int = 0) -> list[ContextNode]:
    """Passages that name each other's titles, share names and link to earlier ones."""
    rng = random.Random(seed)
    passages = []
    for place in range(count):
        city, other = rng.choice(CITIES), rng.choice(CITIES)
        title = city if place < len(CITIES) and city not in {p.title for p in passages} else f"Kettle {place}"
        named = rng.choice(passages).title if passages and rng.random() < 0.5 else other
        text = f"the {rng.choice(['red', 'blue', 'green'])} kettle from {other} . see {named} , made by Anna {rng.choice('ABC')}olm"
        links = (rng.choice(passages).id,) if passages and rng.random() < 0.3 else ()
        passages.append(ContextNode(f"p{place}", "", title, text, "", links))
    return passages


def same(left: PassageIndex, right: PassageIndex, methods: list[str]) -> None:
    assert left.fingerprint() == right.fingerprint()
    assert left.links.ends.tolist() == right.links.ends.tolist()
    assert left.links.kinds.tolist() == right.links.kinds.tolist()
    queries = ["red kettle from Oslo", "who made the green kettle ?", "Lima", "zzz"]
    for method in methods:
        for one, other in zip(
            left.retriever(method).search(queries, 8), right.retriever(method).search(queries, 8), strict=True
        ):
            assert [hit.position for hit in one] == [hit.position for hit in other], method
            assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-5)
            assert [left.describe(hit.via) for hit in one] == [right.describe(hit.via) for hit in other]


METHODS = ["bm25", "dense", "walk", "hybrid", "hybrid_walk"]


@pytest.mark.parametrize("seed", range(4))
def test_added_and_deleted_equals_made_at_once(seed: int, scratch_encoder: SentenceEncoder) -> None:
    passages, links = made_passages(40, seed), ("link", "title", "phrase")
    grown = PassageIndex(passages[:15], scratch_encoder, links)
    grown.retriever("hybrid_walk").search(["kettle"], 3)
    grown.add(passages[15:30])
    grown.add(passages[30:])
    same(grown, PassageIndex(passages, scratch_encoder, links), METHODS)
    gone = {f"p{place}" for place in random.Random(seed).sample(range(40), 12)}
    grown.delete(sorted(gone))
    left = [node for node in passages if node.id not in gone]
    same(grown, PassageIndex(left, scratch_encoder, links), METHODS)
    again = [node for node in passages if node.id in gone and not set(node.links) & gone]
    grown.add(again)
    same(grown, PassageIndex(left + again, scratch_encoder, links), METHODS)


def test_a_title_that_lower_case_splits() -> None:
    passages = [ContextNode("a", "", "", "she went to İİİİ by train"), ContextNode("b", "", "Oslo", "a city")]
    grown = PassageIndex(passages)
    grown.add([ContextNode("c", "", "İİİİ", "another city")])
    same(grown, PassageIndex([*passages, ContextNode("c", "", "İİİİ", "another city")]), ["bm25", "walk"])


def test_a_title_that_ends_in_sigma() -> None:
    passages = [ContextNode("a", "", "", "ΟΔΟΣ’Α stands here"), ContextNode("b", "", "", "οδος alone")]
    grown = PassageIndex(passages)
    grown.add([ContextNode("c", "", "ΟΔΟΣ", "a street")])
    same(grown, PassageIndex([*passages, ContextNode("c", "", "ΟΔΟΣ", "a street")]), ["bm25", "walk"])


def test_saved_opened_changed_saved(tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
    passages, folder = made_passages(30), tmp_path / "some.idx"
    made = PassageIndex(passages[:20], scratch_encoder, ("link", "title", "phrase"))
    made.save(folder)
    opened = PassageIndex.load(folder, scratch_encoder, passages[:20], ("link", "title", "phrase"))
    same(opened, made, METHODS)
    assert isinstance(opened.parts.vectors, np.memmap)
    assert isinstance(opened.bm25._index.scores["data"], np.memmap)
    assert list(opened.passages) == passages[:20]
    assert opened.passages[-1] == passages[19]
    assert opened.passages[3:5] == passages[3:5]
    opened.add(passages[20:])
    opened.delete(["p3"])
    opened.save(folder)
    whole = PassageIndex(passages[:3] + passages[4:], scratch_encoder, ("link", "title", "phrase"))
    same(PassageIndex.load(folder, scratch_encoder), whole, METHODS)
    assert {path.name for path in tmp_path.iterdir()} == {"some.idx"}


def test_what_differs_is_named(tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
    passages, folder = made_passages(10), tmp_path / "i"
    PassageIndex(passages, scratch_encoder).save(folder)
    changed = [*passages[:-1], replace(passages[-1], text="another text")]
    with pytest.raises(DataError, match=r"does not fit: corpus is [0-9a-f]{16}, wanted [0-9a-f]{16}\. Build it again"):
        PassageIndex.load(folder, scratch_encoder, changed)
    with pytest.raises(DataError, match=r"passages is 10, wanted 9; corpus is"):
        PassageIndex.load(folder, scratch_encoder, passages[:-1])
    other = SentenceEncoder("scratch", corpus=TEXTS, seed=1)
    with pytest.raises(DataError, match=r"encoder is scratch [0-9a-f]{12}, wanted scratch [0-9a-f]{12}"):
        PassageIndex.load(folder, other)
    with pytest.raises(DataError, match=r"links is \['link', 'title'\], wanted \['phrase'\]"):
        PassageIndex.load(folder, links=("phrase",))
    text = (folder / "manifest.json").read_text().replace('"format": 1', '"format": 0')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="format 0"):
        PassageIndex.load(folder)
    with pytest.raises(DataError, match="no index is there"):
        PassageIndex.load(tmp_path / "none")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/precious.txt").write_text("x")
    with pytest.raises(DataError, match="something else at this place"):
        PassageIndex(made_passages(3)).save(tmp_path / "notes")
    assert (tmp_path / "notes/precious.txt").is_file()


def test_words_of_refusal(scratch_encoder: SentenceEncoder) -> None:
    passages = made_passages(5)
    index = PassageIndex(passages)
    with pytest.raises(ConfigError, match="need an index made with --encoder"):
        index.retriever("dense")
    with pytest.raises(ConfigError, match="one of bm25, dense, walk"):
        index.retriever("none")
    with pytest.raises(DataError, match="the index has a passage with the id 'p0' already"):
        index.add(passages[:1])
    with pytest.raises(DataError, match="links to 'nowhere', and no passage has this id"):
        index.add([ContextNode("new", "", "", "text", "", ("nowhere",))])
    with pytest.raises(DataError, match=r"no passage has the id 'p77'\..*Nothing was deleted"):
        index.delete(["p1", "p77"])
    with pytest.raises(DataError, match="pool of passages is empty"):
        index.delete([node.id for node in passages])
    assert len(index) == 5
    assert index.retriever("bm25").search(["kettle"], 9)[0], "a refused change leaves the index as it was"


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed (pip install faiss-cpu)")
def test_faiss_is_kept_and_grows(tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
    passages = made_passages(30)
    PassageIndex(passages[:20], scratch_encoder, vectors="faiss").save(tmp_path / "i")
    opened = PassageIndex.load(tmp_path / "i", scratch_encoder)
    opened.add(passages[20:])
    opened.delete(["p0", "p7"])
    opened.save(tmp_path / "i")
    exact = PassageIndex([p for p in passages if p.id not in ("p0", "p7")], scratch_encoder)
    queries = ["red kettle from Oslo", "Lima"]
    found = PassageIndex.load(tmp_path / "i", scratch_encoder).retriever("dense").search(queries, 6)
    wanted = exact.retriever("dense").search(queries, 6)
    assert [[hit.position for hit in hits] for hits in found] == [[hit.position for hit in hits] for hits in wanted], (
        "with one cell the search is exact"
    )


@pytest.mark.skipif(
    importlib.util.find_spec("pymilvus") is None, reason="pymilvus is not installed (pip install pymilvus milvus-lite)"
)
def test_milvus_keeps_its_vectors_between_runs(tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
    passages, uri = made_passages(30), f"{tmp_path}/vectors.db"
    made = PassageIndex(passages[:20], scratch_encoder, vectors=uri)
    made.retriever("dense").search(["kettle"], 2)
    made.save(tmp_path / "i")
    made.store.close()
    opened = PassageIndex.load(tmp_path / "i", scratch_encoder)
    assert isinstance(opened.store, MilvusVectors)
    assert opened.store.keys().tolist() == list(range(20))
    opened.add(passages[20:])
    opened.delete(["p0", "p7"])
    opened.save(tmp_path / "i")
    exact = PassageIndex([p for p in passages if p.id not in ("p0", "p7")], scratch_encoder)
    queries = ["red kettle from Oslo", "Lima"]
    found, wanted = (index.retriever("dense").search(queries, 6) for index in (opened, exact))
    for one, other in zip(found, wanted, strict=True):
        assert [hit.position for hit in one] == [hit.position for hit in other]
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-4)
    opened.store.close()
    shutil.rmtree(uri, ignore_errors=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the file has no passages"),
        ('{"id": 1, "title": "t"}', r"p\.jsonl:1: no 'text'"),
        ('{"text": 3}', r"p\.jsonl:1: no 'text'"),
        ('{"text": "a", "title": 3}', "'title' is int, not text"),
        ('{"text": "a", "links": "b"}', "'links' is a list"),
        ('{"id": [1], "text": "a"}', "an id is a text or a whole number"),
        ('{"id": "ab", "text": "a"}\n{"id": "b", "text": "b", "links": ["aa"]}', r":2: links to 'aa', and no passage"),
    ],
)
def test_bad_passages(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(rows)
    with pytest.raises(DataError, match=message):
        read_passages(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the file has no queries"),
        ('{"id": 1, "question": " "}', r"q\.jsonl:1: no 'question'"),
        ('{"id": 1, "question": "a"}\n{"id": "1", "question": "b"}', r":2: the id '1' appears twice in this file"),
        ('{"question": "a", "supporting_ids": "b"}', "'supporting_ids' is a list"),
    ],
)
def test_bad_queries(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(rows)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / "q.jsonl")


@pytest.mark.parametrize("harm", ["missing", "empty", "half"])
def test_a_damaged_index_is_said_to_be_damaged(harm: str, tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
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


def test_two_who_change_one_folder_do_not_lose_each_others_passages(tmp_path: Path) -> None:
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


def test_a_save_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_saving_from_several_threads_leaves_a_whole_index(tmp_path: Path) -> None:
    index = PassageIndex(made_passages(8))

    def save(_: int) -> None:
        with contextlib.suppress(DataError):
            index.save(tmp_path / "i")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(12)))
    assert len(PassageIndex.load(tmp_path / "i")) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_a_failed_change_leaves_the_index_as_it_was(scratch_encoder: SentenceEncoder) -> None:
    passages = made_passages(8)
    index = PassageIndex(passages[:6], scratch_encoder)
    new = [replace(node, links=()) for node in passages[6:]]

    class Breaks:
        name = "breaks"

        def encode(self, texts: Sequence[str], progress: bool = False) -> Any:
            raise MemoryError

        def fingerprint(self) -> str:
            return scratch_encoder.fingerprint()

    index.encoder = Breaks()
    with pytest.raises(MemoryError):
        index.add(new)
    index.encoder = scratch_encoder
    index.add(new)
    same(index, PassageIndex([*passages[:6], *new], scratch_encoder), METHODS)


def test_a_retriever_keeps_the_index_it_was_made_of() -> None:
    index = PassageIndex([ContextNode("a", "", "", "apple"), ContextNode("b", "", "", "banana")])
    held = index.retriever("bm25")
    index.delete(["a"])
    index.add([ContextNode("c", "", "", "cherry")])
    assert held.search(["banana", "cherry"], 2)[0][0].position == 1
    assert held.search(["cherry"], 2) == [[]]
    assert index.retriever("bm25").search(["cherry"], 2)[0][0].position == 1


def test_what_is_searched() -> None:
    assert passage_text(ContextNode("a", "", "Heat", "Heathrow is large")) == "Heat. Heathrow is large"
    assert passage_text(ContextNode("a", "", "Oslo", "The city of Oslo.")) == "The city of Oslo."
    assert passage_text(ContextNode("a", "", "", "text")) == "text"


def test_an_encoder_of_other_pieces_is_another_encoder(tmp_path: Path) -> None:
    one, other = (SentenceEncoder("scratch", corpus=[text]) for text in ("abc bcd cab", "bca dcb bac"))
    assert one.fingerprint() != other.fingerprint()
    PassageIndex(made_passages(4), one).save(tmp_path / "i")
    with pytest.raises(DataError, match="encoder is"):
        PassageIndex.load(tmp_path / "i", other)


@pytest.mark.skipif(
    importlib.util.find_spec("pymilvus") is None, reason="pymilvus is not installed (pip install pymilvus milvus-lite)"
)
def test_a_key_in_milvus_never_means_another_passage(tmp_path: Path, scratch_encoder: SentenceEncoder) -> None:
    uri = f"{tmp_path}/vectors.db"

    def fruit(*names: str) -> list[ContextNode]:
        return [ContextNode(name, "", "", f"the {name} of the garden") for name in names]

    def found(index: PassageIndex) -> list[str]:
        hits = index.retriever("dense").search([node.text for node in index.passages], 1)
        return [index.passages[line[0].position].id for line in hits]

    made = PassageIndex(fruit("kettle", "mixer", "hoses", "rakes"), scratch_encoder, vectors=uri)
    assert found(made) == ["kettle", "mixer", "hoses", "rakes"]
    made.save(tmp_path / "x")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    for folder, gone, new in (("x", "rakes", "oslo"), ("y", "kettle", "lima")):
        opened = PassageIndex.load(tmp_path / folder, scratch_encoder)
        opened.delete([gone])  # the last one, whose number must not be given again
        opened.add(fruit(new))
        opened.save(tmp_path / folder)
        assert found(opened) == [node.id for node in opened.passages]
    for folder in ("x", "y"):  # a copy has a collection of its own
        opened = PassageIndex.load(tmp_path / folder, scratch_encoder)
        assert found(opened) == [node.id for node in opened.passages]
