"""What an index says of itself is checked before it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.index_files import content_hash
from rag_graph.retrieval.index_manifest import Manifest

ID = "0123456789abcdef" * 2
FINGERPRINT: dict[str, Any] = {
    "passages": 3,
    "corpus": "0" * 16,
    "encoder": None,
    "dimension": None,
    "links": ["link"],
    "language": "english",
    "vectors": "exact",
}


def _write(path: Path, **changed: Any) -> None:
    """A manifest with a hash that fits, as somebody who means harm would write it."""
    content = {"format": 4, "id": ID, "version": ID, "next_key": 3, "fingerprint": FINGERPRINT, "files": {}, **changed}
    path.write_text(
        json.dumps({**content, "hash": content_hash(json.dumps(content, sort_keys=True).encode())}), encoding="utf-8"
    )


def test_it_reads_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    _write(path)
    found, _ = Manifest.read(path)
    path.write_text(found.text())
    assert Manifest.read(path) == (found, found.text())
    assert found.fingerprint.model_dump() == FINGERPRINT


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": [4]}, r"an index of format \[4\]; this version reads 4"),
        ({"version": "../../etc"}, "version: String should match"),
        ({"version": ID + "\n"}, "version: String should match"),
        ({"files": {"../keys.npy": ID}}, "files"),
        ({"files": {"/etc/passwd": ID}}, "files"),
        ({"files": {"keys.npy": "abc"}}, "keys.npy: String should match"),
        ({"files": []}, "files: Input should be a valid dictionary"),
        ({"next_key": -1}, "next_key"),
        ({"next_key": 10**400}, "next_key"),
        ({"next_key": 3.0}, "next_key"),
        ({"next_key": float("nan")}, "NaN is no number"),
        ({"fingerprint": {**FINGERPRINT, "passages": 10**12}}, "passages"),
        ({"fingerprint": {**FINGERPRINT, "encoder": "x 0", "dimension": 10**9}}, "fingerprint.dimension"),
        ({"fingerprint": {**FINGERPRINT, "encoder": "x 0"}}, "belong together"),
        ({"fingerprint": {**FINGERPRINT, "vectors": "faiss"}}, "belong together"),
        ({"fingerprint": {**FINGERPRINT, "vectors": "/elsewhere/away.db"}}, "fingerprint.vectors"),
        ({"fingerprint": {**FINGERPRINT, "vectors": "../away.db"}}, "fingerprint.vectors"),
        ({"fingerprint": {**FINGERPRINT, "vectors": "http://me:pass@host"}}, "fingerprint.vectors"),
        ({"fingerprint": {**FINGERPRINT, "language": "klingon"}}, "fingerprint.language"),
        ({"fingerprint": {**FINGERPRINT, "links": ["grounds"]}}, "fingerprint.links"),
        ({"fingerprint": None}, "fingerprint"),
        ({"more": 1}, "more: Extra inputs"),
    ],
)
def test_settings_that_no_index_has_get_one_sentence(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    _write(tmp_path / "manifest.json", **changed)
    with pytest.raises(DataError, match=said) as error:
        PassageIndex.load(tmp_path)
    assert "manifest.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"x"', "[" * 100_000, "{" + " " * (1 << 20) + "}", "9" * 10_000, "\x00", '{"format": 4}'],
)
def test_a_text_that_is_no_manifest_gets_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json") as error:
        PassageIndex.load(tmp_path)
    assert "\n" not in str(error.value)


def test_every_value_is_covered_by_the_hash(made_passages: Callable[..., list[ContextNode]], tmp_path: Path) -> None:
    PassageIndex(made_passages(4)).save(tmp_path / "i")
    path = tmp_path / "i/manifest.json"
    written = path.read_text()
    for was, other in (('"next_key": 4', '"next_key": 5'), ('"english"', '"german"'), ('"title"', '"link"')):
        assert was in written
        path.write_text(written.replace(was, other))
        with pytest.raises(DataError, match=r"manifest\.json: .*its content is not what was written"):
            PassageIndex.load(tmp_path / "i")
