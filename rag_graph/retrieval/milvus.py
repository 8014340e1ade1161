"""Search in embeddings by Milvus: milvus-lite in a file, a server, or a cluster. What is there is compared with the index before it is searched."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rag_graph.errors import DataError, ModelError, RagGraphError, need
from rag_graph.retrieval.vectors import BLOCK, TIES, Keys, Vectors, first

TOKEN = "MILVUS_TOKEN"
SAMPLE = 100
"""Vectors of a server that are compared with those of the index."""
CHUNK = 1000
"""Vectors that are sent or read at once."""
TIMEOUT = 30.0
"""Seconds that a server may take to connect, or to answer a call."""


def is_server(uri: str) -> bool:
    """False for a file of milvus-lite."""
    return "://" in uri


def is_milvus(vectors: str) -> bool:
    return vectors not in ("exact", "faiss")


def is_file(vectors: str) -> bool:
    return is_milvus(vectors) and not is_server(vectors)


def name_in_folder(vectors: str) -> str:
    """What the settings of an index say of `vectors`: a file lies in its folder."""
    return Path(vectors).name if is_file(vectors) else vectors


class MilvusVectors:
    """Milvus, by its URI: a file ending in .db is milvus-lite inside this process, `http://host:19530` a server or a cluster.

    The vectors stay there between runs, in a collection of this index.

    Args:
        uri: of the database. Its token is read from the environment variable MILVUS_TOKEN (`user:password`, or an API key) and written nowhere.
        collection: its name there.

    Raises:
        MissingPackageError: pymilvus is not installed.
        ModelError: here and in every method: the server does not answer, or the file is damaged.
    """

    def __init__(self, uri: str, collection: str, dimension: int) -> None:
        self.uri, self.collection, self.dimension = uri, collection, dimension
        with self._asked():
            self._client = _client(uri)
            if not self._client.has_collection(collection, timeout=TIMEOUT):
                self._client.create_collection(
                    collection,
                    dimension=dimension,
                    metric_type="IP",
                    auto_id=False,
                    consistency_level="Strong",
                    timeout=TIMEOUT,
                )
            self._client.load_collection(collection, timeout=TIMEOUT)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with answers(self.uri):
            yield

    def __len__(self) -> int:
        with self._asked():
            rows = self._client.query(self.collection, filter="id >= 0", output_fields=["count(*)"], timeout=TIMEOUT)
            return int(rows[0]["count(*)"])

    def search(self, queries: Vectors, k: int) -> list[tuple[Keys, Vectors]]:
        found = []
        for start in range(0, len(queries), BLOCK):
            part = queries[start : start + BLOCK].tolist()
            with self._asked():
                for hits in self._client.search(
                    self.collection, data=part, limit=k + TIES, output_fields=["id"], timeout=TIMEOUT
                ):
                    keys = np.array([int(hit["id"]) for hit in hits], np.int64)
                    found.append(first(keys, np.array([hit["distance"] for hit in hits], np.float32), k))
        return found

    def add(self, vectors: Vectors, keys: Keys) -> None:
        for start in range(0, len(keys), CHUNK):
            end = start + CHUNK
            rows = [
                {"id": int(key), "vector": vector.tolist()}
                for key, vector in zip(keys[start:end], vectors[start:end], strict=True)
            ]
            with self._asked():
                self._client.upsert(self.collection, rows, timeout=TIMEOUT)

    def delete(self, keys: Keys) -> None:
        for start in range(0, len(keys), CHUNK):
            with self._asked():
                self._client.delete(self.collection, ids=keys[start : start + CHUNK].tolist(), timeout=TIMEOUT)

    def fill(self, vectors: Vectors, keys: Keys) -> None:
        """Make the collection contain exactly these vectors. A key never gets another vector, so existing keys are not sent again. Vectors that
        are there are compared: of a file all, of a server a sample.

        Raises:
            DataError: another vector is there.
        """
        there = self.keys()
        known = np.flatnonzero(np.isin(keys, there))
        if is_server(self.uri) and len(known) > SAMPLE:
            known = known[np.linspace(0, len(known) - 1, SAMPLE).astype(int)]
        for start in range(0, len(known), CHUNK):
            self._compare(vectors[known[start : start + CHUNK]], keys[known[start : start + CHUNK]])
        self.delete(np.setdiff1d(there, keys))
        missing = ~np.isin(keys, there)
        self.add(vectors[missing], keys[missing])

    def _compare(self, vectors: Vectors, keys: Keys) -> None:
        with self._asked():
            rows = self._client.get(self.collection, ids=keys.tolist(), output_fields=["id", "vector"], timeout=TIMEOUT)
            found = {int(row["id"]): np.asarray(row["vector"], np.float32) for row in rows}
        for key, vector in zip(keys.tolist(), vectors, strict=True):
            other = found.get(key)
            if other is None or other.shape != vector.shape or not np.allclose(other, vector, atol=1e-5):
                raise DataError(
                    f"{self.uri}: the collection {self.collection} of Milvus has another vector under the number {key} than the index. "
                    "Build the index again: rag-graph index FOLDER --passages FILE"
                )

    def keys(self) -> Keys:
        """The keys of all vectors in the collection, ascending."""
        found: list[int] = []
        with self._asked():
            rows = self._client.query_iterator(
                self.collection, batch_size=CHUNK, filter="id >= 0", output_fields=["id"], timeout=TIMEOUT
            )
            while batch := rows.next():
                found += [int(row["id"]) for row in batch]
            rows.close()
        return np.array(sorted(found), np.int64)

    def drop(self) -> None:
        """Delete the collection."""
        with self._asked():
            self._client.drop_collection(self.collection, timeout=TIMEOUT)

    def close(self) -> None:
        self._client.close()


def check_server(uri: str) -> None:
    """Raises ModelError where no Milvus answers at this address."""
    with answers(uri):
        client = _client(uri)
        client.list_collections(timeout=TIMEOUT)
        client.close()


@contextmanager
def answers(uri: str) -> Iterator[None]:
    """One sentence for whatever the client, gRPC or milvus-lite raise."""
    try:
        yield
    except RagGraphError:
        raise
    except Exception as error:
        what = str(getattr(error, "message", "") or error or type(error).__name__).splitlines()[0]
        way = "Is the server up, and MILVUS_TOKEN right?" if is_server(uri) else "Build the index again."
        raise ModelError(f"Milvus at '{uri}' cannot be used: {what:.200}. {way}") from None


def _client(uri: str) -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise its C core writes messages about keep-alives
    need("a Milvus index", "pymilvus", *(() if is_server(uri) else ("milvus_lite",)))
    import pymilvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises
    if is_server(uri):
        return pymilvus.MilvusClient(uri, token=os.environ.get(TOKEN, ""), timeout=TIMEOUT)
    # milvus-lite logs a traceback for every call that it does not support, which is harmless
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    for path in (Path(uri), *Path(uri).rglob("*")):
        mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DataError(f"{path}: a link, a pipe or a device. Milvus-lite has plain files: build the index again.")
    return pymilvus.MilvusClient(uri)


def collection_name(about: str) -> str:
    return f"rag_graph_{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def collection_of(folder: Path, vectors: str, index_id: str, dimension: int) -> MilvusVectors:
    if is_server(vectors):
        return MilvusVectors(vectors, collection_name(f"{index_id}/{folder}"), dimension)
    return MilvusVectors(str(folder / vectors), collection_name(index_id), dimension)


def drop_collection(folder: Path, index_id: str, vectors: str, dimension: int | None) -> None:
    """Delete the vectors of an index that was replaced by another one."""
    if dimension is None or not is_milvus(vectors):
        return
    try:
        collection_of(folder, vectors, index_id, dimension).drop()
    except (ModelError, DataError) as error:
        if is_file(vectors):
            shutil.rmtree(folder / vectors, ignore_errors=True)
        else:
            warnings.warn(f"The vectors of the index that was replaced are still there: {error}", stacklevel=3)
