"""Encoders: mean pooling, weights from a seed, fingerprints, what cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag_graph.errors import ModelError
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
