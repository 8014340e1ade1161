"""Cost of retrieval on generated text as the pool grows: BM25, exact and approximate search of embeddings, walks.

    python benchmarks/retrieval.py                          # 10k, 100k and 1M passages: about 15 minutes, 12 GB
    python benchmarks/retrieval.py --sizes 10000 --repetitions 2

A passage has 40 words of a Zipf vocabulary and names the titles of four others; nine in ten of these are close to it. Embeddings are unit vectors
around 1,000 centres (dimension 128). All engines answer the same queries in turn within a repetition. A number is the median over
repetitions of milliseconds per query, in batches of 16 if an engine takes batches. The same run measures what the engines replace:
rank_bm25 and networkx.pagerank (both up to 100k). For approximate engines it also measures recall@10 against the exact one. Writes
`retrieval.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import torch

from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Hit, Retriever
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.index_parts import searched_words
from rag_graph.retrieval.milvus import MilvusVectors
from rag_graph.retrieval.vectors import ExactVectors, FaissVectors
from rag_graph.retrieval.walk import WalkRetriever

DIMENSION = 128
EPSILON = 1e-5
SLOW_UP_TO = 100_000
"""Largest pool for rank_bm25 and networkx."""


def made_passages(size: int, rng: random.Random) -> list[ContextNode]:
    numbers = np.random.default_rng(rng.randrange(2**32))
    words = (numbers.zipf(1.3, size=(size, 40)) % 50_000).tolist()
    passages = []
    for place, line in enumerate(words):
        near = [min(size - 1, max(0, place + rng.randint(-100, 100))) for _ in range(4)]
        named = [rng.randrange(size) if rng.random() < 0.1 else other for other in near]
        text = " ".join([*(f"w{word}" for word in line), *(f"Title{other}" for other in named)])
        passages.append(ContextNode(str(place), "", f"Title{place}", text))
    return passages


def made_vectors(size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(pool, queries): unit vectors around shared centres; a query lies near some passage."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, DIMENSION)).astype(np.float32)
    pool = centres[rng.integers(1000, size=size)] + 0.7 * rng.standard_normal((size, DIMENSION), dtype=np.float32)
    queries = pool[rng.integers(size, size=count)] + 0.3 * rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return tuple(block / np.linalg.norm(block, axis=1, keepdims=True) for block in (pool, queries))  # type: ignore[return-value]


class Fixed:
    """The seeds of a walk, found before: the walk alone is timed."""

    name = "bm25"

    def __init__(self, found: dict[str, list[Hit]]) -> None:
        self.found = found

    def search(self, queries: list[str], k: int) -> list[list[Hit]]:
        return [self.found[query][:k] for query in queries]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def overlap(found: list[list[int]], exact: list[list[int]]) -> float:
    return statistics.mean(len(set(one) & set(other)) / len(other) for one, other in zip(found, exact, strict=True))


def positions(answers: list[list[Hit]]) -> list[list[int]]:
    return [[hit.position for hit in hits] for hits in answers]


def measure(size: int, count: int, repetitions: int, milvus: bool) -> dict[str, Any]:
    rng = random.Random(size)
    passages = made_passages(size, rng)
    building: dict[str, float] = {}
    building["index (BM25, titles)"], index = seconds(lambda: PassageIndex(passages))
    building["BM25 weights"], bm25 = seconds(lambda: index.bm25)
    building["graph"], graph = seconds(lambda: index.graph())
    more = made_passages(1000, rng)
    added = [ContextNode(f"new{i}", "", f"Title{size + i}", node.text) for i, node in enumerate(more)]
    queries = []
    for _ in range(count):
        words = searched_words(rng.choice(passages)).split()[1:41]
        queries.append(" ".join([*rng.sample(words, 6), f"title{rng.randrange(size)}"]))
    vectors, asked = made_vectors(size, count, size)
    keys = np.arange(size)
    exact = ExactVectors(vectors, keys)
    building["faiss"], faiss = seconds(lambda: FaissVectors(vectors, keys))
    seeds = dict(zip(queries, bm25.search(queries, 100), strict=True))
    walk: Retriever = WalkRetriever([Fixed(seeds)], graph)
    push: Retriever = WalkRetriever([Fixed(seeds)], graph, EPSILON)
    engines: dict[str, Callable[[], Any]] = {
        "bm25": lambda: positions(bm25.search(queries, 10)),
        "exact": lambda: [found.tolist() for found, _ in exact.search(asked, 10)],
        "faiss": lambda: [found.tolist() for found, _ in faiss.search(asked, 10)],
        "walk": lambda: positions(walk.search(queries, 10)),
        "push": lambda: positions(push.search(queries, 10)),
    }
    per_call = dict.fromkeys(engines, count)
    folder = tempfile.TemporaryDirectory()
    if milvus and size <= SLOW_UP_TO:
        store = MilvusVectors(f"{folder.name}/vectors.db", "benchmark", DIMENSION)
        building["milvus-lite"], _ = seconds(lambda: store.fill(vectors, keys))
        engines["milvus-lite"] = lambda: [found.tolist() for found, _ in store.search(asked, 10)]
        per_call["milvus-lite"] = count
    if size <= SLOW_UP_TO:
        from rank_bm25 import BM25Okapi

        stems = index.parts.stems
        split = list(stems.lists(map(searched_words, passages)))
        building["rank_bm25"], peer = seconds(lambda: BM25Okapi(split))
        network = networkx.Graph()
        network.add_nodes_from(range(size))
        ends, kept = graph.ends.tolist(), graph.pagerank.steps
        weights = np.asarray(kept[graph.ends[:, 0], graph.ends[:, 1]]).ravel() * graph.pagerank.total[graph.ends[:, 0]]
        network.add_weighted_edges_from((a, b, w) for (a, b), w in zip(ends, weights.tolist(), strict=True))
        few = queries[:2]
        engines["rank_bm25"] = lambda: [peer.get_scores(stems(query)).argsort()[:-11:-1].tolist() for query in few]
        engines["networkx"] = lambda: [_networkx(network, walk._reset(seeds[query])) for query in few]  # type: ignore[attr-defined]
        per_call |= {"rank_bm25": len(few), "networkx": len(few)}
    times: dict[str, list[float]] = {name: [] for name in engines}
    answers: dict[str, Any] = {}
    for _ in range(repetitions):
        for name, engine in engines.items():
            taken, answers[name] = seconds(engine)
            times[name].append(1000 * taken / per_call[name])
    building["add 1,000 passages"], _ = seconds(lambda: (index.add(added), index.bm25))
    found = {
        "size": size,
        "links": len(graph.ends),
        "ms_per_query": {name: statistics.median(values) for name, values in times.items()},
        "seconds": building,
        "recall@10": {
            "faiss": overlap(answers["faiss"], answers["exact"]),
            "push": overlap(answers["push"], answers["walk"]),
        },
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    if "milvus-lite" in answers:
        found["recall@10"]["milvus-lite"] = overlap(answers["milvus-lite"], answers["exact"])
    if "networkx" in answers:
        found["walk_equals_networkx@10"] = overlap(answers["walk"][:2], answers["networkx"])
    return found


def _networkx(network: networkx.Graph, reset: dict[int, float]) -> list[int]:
    visits = networkx.pagerank(network, alpha=0.5, personalization=reset, tol=1e-9, max_iter=100)
    return sorted(visits, key=lambda node: (-visits[node], node))[:10]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--milvus", action="store_true", help="milvus-lite as well, up to 100k")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "retrieval.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for size in arguments.sizes:
        rows.append(measure(size, arguments.queries, arguments.repetitions, arguments.milvus))
        print(json.dumps(rows[-1], indent=1, default=float), flush=True)
    times = {row["size"]: row["ms_per_query"] for row in rows}
    for size, mine in times.items():
        if "networkx" in mine:
            print(
                f"{size:,}: walk is {mine['networkx'] / mine['walk']:.0f} times networkx, bm25 {mine['rank_bm25'] / mine['bm25']:.0f} times rank_bm25"
            )
    if len(times) > 1:
        small, large = min(times), max(times)
        print(
            f"push, {large:,} over {small:,}: {times[large]['push'] / times[small]['push']:.2f} times the cost per query"
        )
    record = {"threads": arguments.threads, "queries": arguments.queries, "command": sys.argv[1:], "rows": rows}
    arguments.out.write_text(json.dumps(record, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
