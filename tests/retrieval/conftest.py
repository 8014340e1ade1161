"""A real encoder for tests that need one and no more: a plain BERT folder with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_graph.retrieval.encoder import SentenceEncoder
from tests.contracts.retriever import TEXTS


@pytest.fixture(scope="session")
def plain_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT folder as transformers saves it, random weights: sentence-transformers gives it mean pooling."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(TEXTS * 5, vocab_size=200, min_frequency=1, show_progress=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=tokenizer.get_vocab()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scratch_encoder() -> SentenceEncoder:
    return SentenceEncoder("scratch", corpus=TEXTS)
