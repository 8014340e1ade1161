"""Embeddings of passages that are made once and kept in the cache folder, under a fingerprint of the encoder and the texts."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from rag_graph.retrieval.encoder import Encoder
from rag_graph.runtime import cache_folder
from rag_graph.stored_file import plain_file

FORMAT = 1


def embed_once(texts: Sequence[str], encoder: Encoder, progress: bool = False) -> NDArray[np.float32]:
    """The embeddings of passages: read where they are kept, else made and kept as `embeddings/KEY.npy` in the cache folder.

    The key is made of the texts in their order and of the encoder's fingerprint: its weights, word pieces, prompts, windows. A process that needs the same
    embeddings at the same time waits for them. A file appears whole; a damaged one is made again. Where nothing can be written, a
    warning says so, and the embeddings are as good.

    Args:
        texts: at least one.

    Returns:
        float32 [len(texts), dimension], rows of length 1.
    """
    path = cache_folder() / "embeddings" / f"{_key(texts, encoder)}.npy"
    return kept(path, len(texts), lambda: encoder.encode(texts, progress))


def kept(path: Path, count: int, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """The array in this file, else what is made now, and kept there; see `embed_once`.

    Args:
        count: rows of the array.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        return _unkept(make(), path, error)
    try:
        found = _read(path, count)
        if found is not None:
            return found
        made = make()
        try:
            _write(path, made)
        except OSError as error:
            return _unkept(made, path, error)
        return made
    finally:
        lock.release()


def _key(texts: Sequence[str], encoder: Encoder) -> str:
    digest = hashlib.sha256(f"{FORMAT} {encoder.fingerprint()} {len(texts)}".encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(f"\n{len(content)} ".encode() + content)
    return digest.hexdigest()[:32]


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    """None where there is no whole array of so many rows."""
    try:
        with plain_file(path) as handle:
            found = np.lib.format.read_array(handle, allow_pickle=False)
    except Exception:  # NumPy raises errors of many types on content that it does not understand
        return None
    return found if found.ndim == 2 and len(found) == count and found.dtype == np.float32 else None


def _write(path: Path, vectors: NDArray[np.float32]) -> None:
    number, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(number, "wb") as handle:
            np.save(handle, vectors)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _unkept(vectors: NDArray[np.float32], path: Path, error: Exception) -> NDArray[np.float32]:
    warnings.warn(
        f"{path.parent}: embeddings cannot be kept: {error}. Set RAG_GRAPH_CACHE to a folder that can be written, or every call embeds anew.",
        stacklevel=4,
    )
    return vectors
