"""Pays the answers of a table with the graph of goals.yaml: python score.py

Each function takes a batch, as reward functions of TRL do, and returns a score from 0 to 1 for each answer, or None where there is nothing to
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


# reserved: the share of the references that only audits see. Nothing is trained here, so none is kept back.
reward = GraphReward(
    "goals.yaml", {"correct": correct, "form": form, "brief": brief}, {"reserved": 0.0}, reference="reference"
)

with open("answers.jsonl") as file:
    rows = [json.loads(line) for line in file]

prompts, answers, references = ([row[name] for row in rows] for name in ("prompt", "response", "reference"))
ids = [[]] * len(rows)  # the token ids that a trainer has; no function here asks for them
reward(prompts, answers, ids, reference=references)
reward.learn()  # a trainer calls it after each update
paid = reward(prompts, answers, ids, reference=references)
for prompt, answer, reference, total in list(zip(prompts, answers, references, paid, strict=True))[:12]:
    known = "predicted" if reference is None else "observed "
    print(f"{total:+.2f}  {known}  {prompt:<18}  {answer}")
