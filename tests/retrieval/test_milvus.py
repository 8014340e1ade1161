"""Milvus: what is there is compared with the index, and whatever goes wrong is one sentence. With milvus-lite; a server is asked in test_vectors.py."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_graph.errors import DataError, ModelError, RagGraphError
from rag_graph.records import ContextNode
from rag_graph.retrieval import milvus
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.milvus import MilvusVectors, name_in_folder

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pymilvus") is None, reason="pymilvus is not installed (pip install pymilvus milvus-lite)"
)
DEAD = "http://127.0.0.1:1"
VECTORS = np.eye(4, 8, dtype=np.float32)
KEYS = np.arange(4)
Pool = Callable[..., list[ContextNode]]


@pytest.fixture
def lite(tmp_path: Path) -> MilvusVectors:
    found = MilvusVectors(str(tmp_path / "some.db"), "c", 8)
    found.fill(VECTORS, KEYS)
    return found


def test_lost_and_additional_vectors_are_mended(lite: MilvusVectors) -> None:
    lite.delete(KEYS[:2])
    lite.add(np.eye(1, 8, 7, dtype=np.float32), np.array([9]))
    lite.fill(VECTORS, KEYS)
    assert lite.keys().tolist() == KEYS.tolist()
    assert lite.search(VECTORS[:1], 1)[0][0].tolist() == [0]


def test_another_vector_is_refused_with_its_number_and_place(lite: MilvusVectors) -> None:
    lite.add(np.eye(1, 8, 7, dtype=np.float32), KEYS[2:3])
    with pytest.raises(DataError, match=r"some\.db: the collection c of Milvus has another vector under the number 2"):
        lite.fill(VECTORS, KEYS)


def test_of_a_server_a_sample_is_compared(lite: MilvusVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    monkeypatch.setattr(milvus, "SAMPLE", 3)
    monkeypatch.setattr(milvus, "is_server", lambda uri: True)
    monkeypatch.setattr(MilvusVectors, "_compare", lambda self, vectors, keys: compared.extend(keys.tolist()))
    lite.fill(VECTORS, KEYS)
    assert compared == [0, 1, 3], "the first, the last, and some between"


def test_a_dead_server_gets_one_sentence_everywhere(
    lite: MilvusVectors, made_passages: Pool, scratch_encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = rf"Milvus at '{DEAD}' cannot be used: .*\. Is the server up, and MILVUS_TOKEN right\?$"
    with pytest.raises(ModelError, match=said):
        PassageIndex(made_passages(3), scratch_encoder, vectors=DEAD)
    with pytest.raises(ModelError, match=said):
        MilvusVectors(DEAD, "c", 8)

    class Dies:
        def __getattr__(self, name: str) -> Callable[..., object]:
            def dies(*_: object, **__: object) -> object:
                raise ConnectionError("the server\nis gone")

            return dies

    monkeypatch.setattr(lite, "_client", Dies())
    monkeypatch.setattr(lite, "uri", DEAD)
    calls: list[Callable[[], object]] = [
        lambda: lite.search(VECTORS, 1),
        lambda: lite.add(VECTORS, KEYS),
        lambda: lite.delete(KEYS),
        lambda: lite.fill(VECTORS, KEYS),
        lambda: lite._compare(VECTORS, KEYS),
        lambda: lite.keys(),
        lambda: len(lite),
        lambda: lite.drop(),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=said):
            call()


def test_a_saved_index_has_its_file_in_its_folder(
    made_passages: Pool, tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    assert name_in_folder("/some/where/v.db") == "v.db"
    assert name_in_folder("http://host/x.db") == "http://host/x.db"
    made = PassageIndex(made_passages(6), scratch_encoder, vectors=str(tmp_path / "v.db"))
    made.save(tmp_path / "i")
    assert made.fingerprint()["vectors"] == "v.db"
    assert (tmp_path / "i/v.db").exists()
    assert not (tmp_path / "v.db").exists()
    shutil.copytree(tmp_path / "i", tmp_path / "copy")
    (tmp_path / "copy/v.db/pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "copy/v.db/pipe")
    with pytest.raises(DataError, match=r"v\.db/pipe: a link, a pipe or a device"):
        _ = PassageIndex.load(tmp_path / "copy", scratch_encoder).store


@pytest.mark.slow
def test_a_damaged_file_is_refused_mended_or_changes_nothing(
    made_passages: Pool, tmp_path: Path, scratch_encoder: SentenceEncoder
) -> None:
    whole, counts = tmp_path / "whole", {"equal": 0, "refused": 0}
    made = PassageIndex(made_passages(40), scratch_encoder, vectors="v.db")
    made.save(whole)
    wanted, rng = _found(made), random.Random(0)
    assert isinstance(made.store, MilvusVectors)
    made.store.close()
    files = [path.relative_to(whole) for path in sorted((whole / "v.db").rglob("*")) if path.is_file()]
    for name in files:
        size = (whole / name).stat().st_size
        places = [] if not size else [rng.randrange(size) for _ in range(8)]
        for harm in ["missing", "empty", "half", "zeros", *places]:
            hurt = tmp_path / f"{len(counts)}-{sum(counts.values())}"
            shutil.copytree(whole, hurt)
            path, content = hurt / name, bytearray((hurt / name).read_bytes())
            if isinstance(harm, int):
                content[harm] ^= 1 << rng.randrange(8)
                path.write_bytes(content)
            elif harm == "missing":
                path.unlink()
            else:
                path.write_bytes({"empty": b"", "half": content[: size // 2], "zeros": bytes(size)}[harm])
            try:
                assert _found(PassageIndex.load(hurt, scratch_encoder)) == wanted, (name, harm)
                counts["equal"] += 1
            except RagGraphError as error:
                assert "v.db" in str(error)  # noqa: PT017 - either is right
                counts["refused"] += 1
    print(counts)
    assert counts["refused"] > 0


def _found(index: PassageIndex) -> list[tuple[int, float]]:
    lists = index.retriever("dense").search(["red kettle from Oslo", "Lima"], 5)
    return [(hit.position, round(hit.score, 5)) for hits in lists for hit in hits]
