"""Names of retrieval methods, of kinds of links, of languages whose words have stems, and of places where vectors are searched.

Settings and retrieval both use them. They are in a module below both, because neither of the two may import the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from rag_graph.errors import near_miss

RetrievalMethod = Literal["none", "bm25", "dense", "walk", "hybrid", "hybrid_walk"]
"""How passages are ranked. walk: personalised PageRank from what BM25 found; hybrid: BM25 and dense; hybrid_walk: the walk from both."""

DENSE_METHODS = ("dense", "hybrid", "hybrid_walk")
"""Methods that need an encoder of texts."""

WALK_METHODS = ("walk", "hybrid_walk")
"""Methods that walk over the links between passages."""

LinkKind = Literal["link", "title", "phrase"]
"""Edges between passages. link: stated in their file; title: a text names a title; phrase: two passages share a capitalised name."""

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "eo": "esperanto",
        "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
        "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
        "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho",
        "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
    }
)  # fmt: skip
"""ISO 639-1 code of a language -> the name of its Snowball stemmer."""
AUTO, UNSTEMMED = "auto", "none"
"""A language that is found from the passages; words that stay as they are."""


def stemmed_language(name: str) -> str:
    """What a setting `language` means: the name of a stemmer, "auto" or "none". Codes and capitals are accepted.

    Raises:
        ValueError: there is no such stemmer.
    """
    plain = name.strip().lower()
    known = (AUTO, UNSTEMMED, *LANGUAGES.values())
    if LANGUAGES.get(plain, plain) in known:
        return LANGUAGES.get(plain, plain)
    raise ValueError(
        f"language '{name}': no stemmer for it.{near_miss(plain, known)} There are: {', '.join(LANGUAGES.values())}; auto finds the language of "
        "the passages, none leaves words as they are."
    )


def is_vector_store(name: str) -> bool:
    """'exact', 'faiss', or a Milvus: a file that ends in .db, or an address."""
    return name in ("exact", "faiss") or name.endswith(".db") or "://" in name
