"""What an index says of itself: which version it is, what must agree for it to fit, and the hash of each file. It is checked before it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag_graph.errors import DataError, check_no_secret
from rag_graph.retrieval.index_files import content_hash, damaged, understood
from rag_graph.retrieval_methods import LANGUAGES, UNSTEMMED, LinkKind, is_vector_store
from rag_graph.stored_file import plain_file

MANIFEST = "manifest.json"
FORMAT: Literal[4] = 4
"""4: a version is a folder of its own, and each file has a hash. 3 had sizes alone."""
LARGEST = 1 << 20
"""Bytes of a manifest."""
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Number = Annotated[int, Field(ge=1, le=1 << 31)]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_]+\.(npy|jsonl|json|index)$")]


def _place(vectors: str) -> str:
    check_no_secret(vectors)
    if not is_vector_store(vectors) or ("://" not in vectors and Path(vectors).name != vectors):
        raise ValueError("exact, faiss, the name of a file ending in .db, or the address of a Milvus")
    return vectors


def _stemmed(language: str) -> str:
    if language not in (UNSTEMMED, *LANGUAGES.values()):
        raise ValueError("no stemmer has this name")
    return language


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Fingerprint(_Checked):
    """What must agree for an index to fit; see `PassageIndex.fingerprint`."""

    passages: Number
    corpus: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    encoder: Annotated[str, Field(max_length=4096)] | None
    dimension: Annotated[int, Field(ge=1, le=1 << 16)] | None
    links: list[LinkKind]
    language: Annotated[str, AfterValidator(_stemmed)]
    vectors: Annotated[str, AfterValidator(_place)]

    @model_validator(mode="after")
    def _whole(self) -> Fingerprint:
        if (self.encoder is None) != (self.dimension is None) or (self.encoder is None and self.vectors != "exact"):
            raise ValueError("encoder, dimension and vectors belong together")
        return self


class Manifest(_Checked):
    """
    id: of the index; its versions share it.
    version: of its content, and the name of the folder that has it.
    next_key: the number that the next passage gets.
    files: name of each file -> `content_hash`.
    """

    id: Hex
    version: Hex
    next_key: Annotated[int, Field(ge=1, le=1 << 62)]
    fingerprint: Fingerprint
    files: dict[FileName, Hex]
    format: Literal[4] = FORMAT

    def text(self) -> str:
        """As it is written: with a hash of itself."""
        content = self.model_dump()
        return json.dumps({**content, "hash": _hash(content)}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> tuple[Manifest, str]:
        """The manifest of this file, and its text.

        Raises:
            DataError: it is missing, damaged, of another format, or says what no index can have.
        """
        text = manifest_text(path)
        with understood(path):
            content = json.loads(text, parse_constant=_no_number)
            if not isinstance(content, dict):
                raise ValueError("an object is expected")
            if content.get("format") != FORMAT:
                raise DataError(
                    f"{path}: an index of format {content.get('format')!s:.20}; this version reads {FORMAT}. Delete the folder, and build it again."
                )
            written = content.pop("hash", None)
            if written != _hash(content):
                raise ValueError("its content is not what was written")
            try:
                return cls.model_validate(content), text
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "the whole"
                raise ValueError(f"{where}: {first['msg']}") from None


def manifest_text(path: Path) -> str:
    """Raises DataError where there is none, or it is no text of a sensible length."""
    folder = path.parent
    with understood(path):
        try:
            with plain_file(path) as handle:
                text = handle.read(LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"{folder}: no index is there. Make one: rag-graph index {folder} --passages FILE"
            ) from None
        if len(text) > LARGEST:
            raise damaged(path, f"more than {LARGEST} bytes")
        return text.decode("utf-8")


def _hash(content: Any) -> str:
    return content_hash(json.dumps(content, sort_keys=True).encode())


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")
