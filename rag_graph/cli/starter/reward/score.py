"""Pays the answers of a table with the graph of goals.yaml: python score.py

A score is a number from 0 to 1, or None where there is nothing to observe. What was not observed is predicted by the graph.
"""

import json
import re

from rag_graph import Episode, Example, GraphReward, NodeScorer, load_graph


def correct(episode):
    wanted = episode.example.references
    return float(numbers(episode)[-1:] == [wanted[0]]) if wanted else None


def form(episode):
    return float(bool(re.search(r"\d+ ?\.?$", episode.response)))


def brief(episode):
    return float(len(episode.response.split()) <= 10)


def numbers(episode):
    return re.findall(r"-?\d+", episode.response)


FUNCTIONS = {"correct": correct, "form": form, "brief": brief}
scorer = NodeScorer(load_graph("goals.yaml"), scorers=FUNCTIONS)
reward = GraphReward("goals.yaml", FUNCTIONS)

with open("answers.jsonl") as file:
    rows = [json.loads(line) for line in file]

episodes = []
for number, row in enumerate(rows):
    references = () if row["reference"] is None else (row["reference"],)
    example = Example(str(number), "correct", {"input": row["prompt"]}, references)
    episode = Episode(str(number), example, prompt=row["prompt"], response=row["response"])
    episodes.append(episode.with_scores(scorer.score(episode)))

paid = reward.node_rewards(episodes).total().tolist()
for episode, total in list(zip(episodes, paid, strict=True))[:12]:
    known = "observed " if "correct" in episode.scores else "predicted"
    print(f"{total:+.2f}  {known}  {episode.prompt:<18}  {episode.response}")
