"""Encoders: mean pooling, weights from a seed, fingerprints, what cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rag_graph.errors import ModelError
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import SentenceEncoder
from tests.contracts.retriever import TEXTS


def test_a_plain_bert_is_mean_pooled(plain_bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = SentenceEncoder(str(plain_bert)).encode(TEXTS)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    tokenizer, model = AutoTokenizer.from_pretrained(plain_bert), AutoModel.from_pretrained(plain_bert).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(mean, dim=-1).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_what_is_no_encoder_is_said() -> None:
    with pytest.raises(
        ModelError, match=r"encoder package 'no_such_encoder' is not installed. Install it: pip install no-such-encoder"
    ):
        SentenceEncoder("package:no_such_encoder")
    with pytest.raises(ModelError, match="cannot be loaded"):
        SentenceEncoder("/no/such/folder")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of 16 tokens whose config names prompts for queries and passages, and the one of queries as its default."""
    folder = tmp_path_factory.mktemp("encoder") / "prompted"
    encoder = SentenceEncoder("scratch", corpus=[*TEXTS, "query passage ."])
    encoder.model.max_seq_length = 16
    encoder.model.prompts = {"query": "query query ", "passage": "passage passage "}
    encoder.model.default_prompt_name = "query"
    encoder.save(folder)
    return folder


def test_prompts_of_the_model_are_used(prompted: Path) -> None:
    encoder = SentenceEncoder(str(prompted))
    by_hand = {p: encoder.model.encode([p + text for text in TEXTS], prompt="", normalize_embeddings=True) for p in ("query query ", "passage passage ")}  # fmt: skip
    queries, passages = encoder.encode_queries(TEXTS), encoder.encode(TEXTS)
    assert np.abs(queries - by_hand["query query "]).max() < 1e-5
    assert np.abs(passages - by_hand["passage passage "]).max() < 1e-5
    assert np.abs(queries - passages).max() > 0.01
    assert np.abs(encoder.model.encode_query(TEXTS, normalize_embeddings=True) - queries).max() < 1e-5
    learned = encoder.embed(TEXTS)
    assert learned.requires_grad
    assert np.abs(learned.detach().numpy() - queries).max() < 1e-5, "training embeds a query as search does"
    (best,) = DenseRetriever(TEXTS, encoder).search(TEXTS[:1], 1)[0]
    assert best.score == pytest.approx(float((passages @ queries[0]).max()), abs=1e-5)


def test_prompts_are_part_of_the_fingerprint(prompted: Path) -> None:
    encoder = SentenceEncoder(str(prompted))
    before = encoder.fingerprint()
    assert SentenceEncoder(str(prompted)).fingerprint() == before == encoder.copy().fingerprint()
    encoder.model.prompts = {**encoder.model.prompts, "passage": "other "}
    assert encoder.fingerprint() != before


def test_a_long_text_is_embedded_in_windows(prompted: Path) -> None:
    encoder = SentenceEncoder(str(prompted))
    long = "the red kettle from oslo . " * 10
    ends = [long + "blue mixer", long + "green hose", long.strip()]
    found = encoder.encode(ends)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert (found[0] @ found[1]) < 1 - 1e-4, "what stands after the first window counts"
    room = encoder.model.max_seq_length - 2 - 2 - 2  # [CLS] and [SEP], the prompt, two to spare
    sentence = 6
    windows = [" ".join(["the red kettle from oslo ."] * (room // sentence))] * (10 // (room // sentence))
    alone = encoder.encode(windows)
    expected = alone.sum(0) / np.linalg.norm(alone.sum(0))
    assert np.abs(found[2] - expected).max() < 1e-5, "the mean of its windows, cut at sentences"
    assert np.abs(encoder.embed(ends).detach().numpy() - encoder.encode_queries(ends)).max() < 1e-5
    mixed = encoder.encode(["red kettle", ends[0]])
    assert np.abs(mixed - np.stack([encoder.encode(["red kettle"])[0], found[0]])).max() < 1e-5


def test_windows_weigh_by_their_tokens(scratch_encoder: SentenceEncoder) -> None:
    encoder = scratch_encoder.copy()
    encoder.model.max_seq_length = 12
    first, second = "red kettle red kettle red kettle .", "blue ."
    one, two = encoder.encode([first, second])
    whole = encoder.encode([f"{first} {second}"])[0]
    mean = 7 * one + 2 * two
    assert np.abs(whole - mean / np.linalg.norm(mean)).max() < 1e-5


@pytest.mark.parametrize("named", ["planted_module.Planted", "os.system", "colorsys.rgb_to_hsv"])
def test_a_folder_names_no_class_outside_sentence_transformers(
    plain_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """`modules.json` names classes by path: none is imported from elsewhere, be it in the folder, in the working directory or installed."""
    folder, ran = tmp_path / "encoder", tmp_path / "ran"
    SentenceEncoder(str(plain_bert)).save(folder)
    code = f"open({str(ran)!r}, 'w').close()\n"
    for place in (folder, tmp_path):
        (place / "planted_module.py").write_text(code)
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = named
    (folder / "modules.json").write_text(json.dumps(modules))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"Read it, then set model\.trust_remote_code: true"):
        SentenceEncoder(str(folder))
    assert not ran.exists()
    if named.startswith("planted"):
        with pytest.raises(ModelError):  # it has no class of this name
            SentenceEncoder(str(folder), trust_remote_code=True)
        assert ran.exists(), "with the setting it runs: so this test would see it"
