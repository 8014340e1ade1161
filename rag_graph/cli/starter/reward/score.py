"""Pays the answers of a table with the graph of goals.yaml: python score.py

A function gets the completions of a batch and its columns. It returns a number from 0 to 1 for each completion, or None where there is nothing to
observe. What was not observed is predicted by the graph.
"""

import json
import re

from rag_graph import GraphReward


def correct(completions, reference, **columns):
    pairs = zip(completions, reference, strict=True)
    return [None if wanted is None else float(numbers(text)[-1:] == [wanted]) for text, wanted in pairs]


def form(completions, **columns):
    return [float(bool(re.search(r"\d+ ?\.?$", text))) for text in completions]


def brief(completions, **columns):
    return [float(len(text.split()) <= 10) for text in completions]


def numbers(text):
    return re.findall(r"-?\d+", text)


# `reserved` is the share of prompts whose reference is hidden, to audit the reward in training. This table needs no audit.
reward = GraphReward("goals.yaml", {"correct": correct, "form": form, "brief": brief}, {"reserved": 0.0})

with open("answers.jsonl") as file:
    rows = [json.loads(line) for line in file]

prompts, responses, references = ([row[name] for row in rows] for name in ("prompt", "response", "reference"))
paid = reward(prompts, responses, [[]] * len(rows), reference=references)
for row, total in list(zip(rows, paid, strict=True))[:12]:
    known = "predicted" if row["reference"] is None else "observed "
    print(f"{total:+.2f}  {known}  {row['prompt']:<18}  {row['response']}")
