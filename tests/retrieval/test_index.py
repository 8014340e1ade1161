"""An index on disk: whole, stamped, refused with the difference named; grown and shrunk it equals one that was made at once."""

from __future__ import annotations

import importlib.util
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import ConfigError, DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.milvus import MilvusVectors
from tests.contracts.retriever import TEXTS


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
def test_added_and_deleted_equals_made_at_once(
    made_passages: Callable[..., list[ContextNode]], seed: int, scratch_encoder: SentenceEncoder
) -> None:
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


def test_saved_opened_changed_saved(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    passages, folder = made_passages(30), tmp_path / "some.idx"
    made = PassageIndex(passages[:20], scratch_encoder, ("link", "title", "phrase"))
    made.save(folder)
    opened = PassageIndex.load(folder, scratch_encoder, passages[:20], ("link", "title", "phrase"))
    same(opened, made, METHODS)
    assert not opened.parts.vectors.flags.owndata, "it is memory-mapped"
    assert not opened.bm25._index.scores["data"].flags.owndata
    assert list(opened.passages) == passages[:20]
    assert opened.passages[-1] == passages[19]
    assert opened.passages[3:5] == passages[3:5]
    opened.add(passages[20:])
    opened.delete(["p3"])
    opened.save(folder)
    whole = PassageIndex(passages[:3] + passages[4:], scratch_encoder, ("link", "title", "phrase"))
    same(PassageIndex.load(folder, scratch_encoder), whole, METHODS)
    assert {path.name for path in tmp_path.iterdir()} == {"some.idx"}


def test_what_differs_is_named(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
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
    text = (folder / "manifest.json").read_text().replace('"format": 4', '"format": 0')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="format 0"):
        PassageIndex.load(folder)
    with pytest.raises(DataError, match="no index is there"):
        PassageIndex.load(tmp_path / "none")


def test_words_of_refusal(made_passages: Callable[..., list[ContextNode]], scratch_encoder: SentenceEncoder) -> None:
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
def test_faiss_is_kept_and_grows(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
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
def test_milvus_keeps_its_vectors_between_runs(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
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


def test_a_failed_change_leaves_the_index_as_it_was(
    made_passages: Callable[..., list[ContextNode]], scratch_encoder: SentenceEncoder
) -> None:
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


def test_an_encoder_of_other_pieces_is_another_encoder(
    made_passages: Callable[..., list[ContextNode]], tmp_path: Path
) -> None:
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


def test_an_index_with_fewer_kinds_of_links_equals_one_made_with_them() -> None:
    passages = [
        ContextNode("a", "", "Ada Lovelace", "wrote notes on kettles", "", ("c",)),
        ContextNode("b", "", "", "Ada Lovelace met Charles Babbage"),
        ContextNode("c", "", "", "Charles Babbage built mixers"),
    ]
    index = PassageIndex(passages, links=("link", "title", "phrase"))
    for kinds in (("link",), ("title",), ("link", "phrase"), ()):
        fewer, made = index.with_links(kinds), PassageIndex(passages, links=kinds)
        assert fewer.fingerprint() == made.fingerprint()
        assert fewer.links.ends.tolist() == made.links.ends.tolist()
        assert fewer.retriever("walk").search(["kettles"], 3) == made.retriever("walk").search(["kettles"], 3)
    with pytest.raises(DataError, match="no links of the kind 'phrase'; it has: link"):
        index.with_links(("link",)).with_links(("phrase",))
