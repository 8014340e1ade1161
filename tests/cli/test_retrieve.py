"""`rag-graph index` and `rag-graph retrieve` as a user meets them."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rag_graph.cli import retrieve as commands
from rag_graph.errors import ModelError
from rag_graph.retrieval.encoder import SentenceEncoder

Cli = Callable[..., CompletedProcess[str]]

PASSAGES = [
    {"id": "film", "title": "Red River (film)", "text": "A western. It was directed by Howard Hawks."},
    {"id": "man", "title": "Howard Hawks", "text": "He was born in Goshen."},
    {"id": 3, "title": "Goshen", "text": "A city of Indiana."},
    {"id": "far", "text": "kettles and mixers"},
]
QUERIES = [
    {"id": "q1", "question": "who directed the red river western ?", "supporting_ids": ["film", "man"]},
    {"id": 2, "question": "kettles", "supporting_ids": ["far"]},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "P.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PASSAGES))
    with gzip.open(tmp_path / "Q.jsonl.gz", "wt") as handle:
        handle.write("".join(json.dumps(row) + "\n" for row in QUERIES))
    return tmp_path


def test_retrieve_writes_and_measures(run_cli: Cli, files: Path) -> None:
    options = ["--queries", "Q.jsonl.gz", "--method", "walk", "--k", "2", "--eval", "--out", "R.jsonl"]
    done = run_cli("retrieve", "--passages", "P.jsonl", *options, cwd=files)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (files / "R.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["q1", "2"]
    assert rows[0]["ids"] == ["film", "man"]
    assert rows[0]["scores"] == sorted(rows[0]["scores"], reverse=True)
    assert rows[0]["why"][1]["via"] == "by a title, linked with 'Red River (film)'"
    assert json.loads((files / "R.settings.json").read_text())["method"] == "walk"
    assert "2 queries with supporting ids, 4 passages" in done.stdout
    assert "1.000" in done.stdout


def test_an_index_is_made_changed_and_searched(run_cli: Cli, files: Path) -> None:
    made = run_cli("index", "some.idx", "--passages", "P.jsonl", cwd=files)
    assert made.returncode == 0, made.stderr
    assert "passages   4" in made.stdout
    (files / "more.jsonl").write_text(json.dumps({"id": "new", "text": "Oslo and Howard Hawks", "links": ["far"]}))
    changed = run_cli("index", "some.idx", "--add", "more.jsonl", "--delete", "3", cwd=files)
    assert changed.returncode == 0, changed.stderr
    assert "passages   4" in changed.stdout
    found = run_cli("retrieve", "--index", "some.idx", "--queries", "Q.jsonl.gz", "--out", "R.jsonl", cwd=files)
    assert found.returncode == 0, found.stderr
    again = run_cli("index", ".", "--delete", "new", cwd=files / "some.idx")
    assert again.returncode == 0, again.stderr
    refused = run_cli(
        "retrieve", "--index", "some.idx", "--passages", "P.jsonl", "--queries", "Q.jsonl.gz", "--eval", cwd=files
    )
    assert refused.returncode != 0
    assert "passages is 3, wanted 4" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("retrieve --queries Q.jsonl.gz --eval", "--passages FILE or --index FOLDER"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz", "--out FILE, --eval, or both"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --eval --method walks", "Did you mean 'walk'"),
        ("retrieve --passages P.jsonl --queries none.jsonl --eval", "none.jsonl"),
        ("retrieve --passages P.jsonl --queries P.jsonl --eval", "no 'question'"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --out no/R.jsonl", "there is no folder no"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --out P.jsonl", "this file is read"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --out .", "this is a folder"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --out R.jsonl.gz", "Leave out .gz"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --eval --links titel", "Did you mean 'title'"),
        ("retrieve --passages P.jsonl --queries Q.jsonl.gz --eval --language englisch", "Did you mean 'english'"),
        ("retrieve --index some.idx --queries Q.jsonl.gz --eval --language en", "--language: an index has the stems"),
        ("retrieve --index none.idx --queries Q.jsonl.gz --eval", "rag-graph index"),
        (
            "retrieve --passages P.jsonl --queries Q.jsonl.gz --eval --method dense --encoder package:a..b",
            "is not installed",
        ),
        ("index i.idx --passages P.jsonl --add P.jsonl", "give one or the other"),
        ("index i.idx --passages P.jsonl --vectors fais", "exact, faiss"),
        ("index i.idx --passages P.jsonl --vectors faiss", "name an encoder"),
        ("index i.idx --vectors faiss", "give --passages as well"),
        ("index i.idx --add P.jsonl", "no index is there"),
    ],
)
def test_one_message_with_its_remedy(run_cli: Cli, arguments: str, message: str, files: Path) -> None:
    done = run_cli(*arguments.split(), cwd=files)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert message in " ".join(done.stderr.split())
    assert {path.name for path in files.iterdir()} == {"P.jsonl", "Q.jsonl.gz"}


def test_a_supporting_id_that_is_no_passage_is_said_before_the_search(run_cli: Cli, files: Path) -> None:
    (files / "Q.jsonl").write_text(json.dumps({"id": 1, "question": "a", "supporting_ids": ["fim"]}))
    done = run_cli("retrieve", "--passages", "P.jsonl", "--queries", "Q.jsonl", "--eval", "--out", "R.jsonl", cwd=files)
    assert done.returncode != 0
    assert "supporting id 'fim' is no passage of the pool. Did you mean 'film'" in done.stderr
    assert not (files / "R.jsonl").exists()


def test_all_methods_together_embed_a_pool_once(
    files: Path, monkeypatch: pytest.MonkeyPatch, scratch_encoder: SentenceEncoder
) -> None:
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(files / "cache"))
    monkeypatch.setattr(commands, "_load_encoder", lambda name: scratch_encoder)
    embedded: list[str] = []
    encode = SentenceEncoder.encode

    def counting(self: SentenceEncoder, texts: list[str], progress: bool = False) -> object:
        embedded.extend(text for text in texts if text.startswith(("Red River", "Howard", "Goshen", "kettles and")))
        return encode(self, texts, progress)

    monkeypatch.setattr(SentenceEncoder, "encode", counting)
    asked = {"queries": files / "Q.jsonl.gz", "passages": files / "P.jsonl", "k": 4}
    for method in ("bm25", "dense", "walk", "hybrid", "hybrid_walk", "dense"):
        commands.retrieve(**asked, method=method, out=files / f"{method}.jsonl")  # type: ignore[arg-type]
    commands.index(files / "some.idx", passages=files / "P.jsonl", encoder="the same")
    assert len(embedded) == len(PASSAGES)
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(files / "another"))
    commands.retrieve(**asked, method="dense", out=files / "anew.jsonl")  # type: ignore[arg-type]
    assert len(embedded) == 2 * len(PASSAGES)
    assert (files / "anew.jsonl").read_text() == (files / "dense.jsonl").read_text(), "kept embeddings are the same"


def test_the_language_of_an_index_is_said_and_used(run_cli: Cli, files: Path) -> None:
    made = run_cli("index", "some.idx", "--passages", "P.jsonl", "--language", "en", cwd=files)
    assert made.returncode == 0, made.stderr
    assert "language   english" in made.stdout
    (files / "Q.jsonl").write_text(json.dumps({"id": "q", "question": "mixer", "supporting_ids": ["far"]}) + "\n")
    found = run_cli("retrieve", "--index", "some.idx", "--queries", "Q.jsonl", "--out", "R.jsonl", cwd=files)
    assert found.returncode == 0, found.stderr
    assert json.loads((files / "R.jsonl").read_text())["ids"] == ["far"]


@pytest.mark.skipif(importlib.util.find_spec("pymilvus") is None, reason="pymilvus is not installed")
def test_vectors_for_a_server_that_is_not_there_make_no_index(
    files: Path, monkeypatch: pytest.MonkeyPatch, scratch_encoder: SentenceEncoder
) -> None:
    monkeypatch.setattr(commands, "_load_encoder", lambda name: scratch_encoder)
    with pytest.raises(ModelError, match=r"Milvus at 'http://127\.0\.0\.1:1' cannot be used: .*Is the server up"):
        commands.index(files / "i.idx", passages=files / "P.jsonl", encoder="any", vectors="http://127.0.0.1:1")
    assert not (files / "i.idx").exists()
    assert ModelError.exit_code == 1
