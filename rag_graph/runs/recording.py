"""What a run writes down while it trains: episodes and evaluations as JSON, a line per update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rag_graph.errors import TrainingError
from rag_graph.evaluation.evaluate import Evaluation
from rag_graph.ppo.callbacks import keep_until
from rag_graph.records import Episode, NodeRewards
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.rubric import ItemPay, items_paid
from rag_graph.runs.progress import StageProgress
from rag_graph.runtime import append_records, write_json

# isort: split
from transformers import (
    TrainerCallback,
)  # last: what is imported above says which extra to install where this is missing


class RunRecorder(TrainerCallback):  # type: ignore[misc]
    """After every update: progress and episodes.jsonl (the trainer itself writes metrics.jsonl)."""

    def __init__(self, folder: Path, progress: StageProgress, reward: GraphReward) -> None:
        self.folder, self.progress, self.reward = folder, progress, reward

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        keep_until(self.folder / "episodes.jsonl", state.global_step)
        self.progress.advance(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        folder, reward = self.folder, self.reward
        logs = logs or {}
        for message in reward.new_alarms:
            self.progress.say(f"  alarm at update {state.global_step}: {message}")
        assert reward.last_rewards is not None
        append_records(
            folder / "episodes.jsonl",
            (
                {**episode_record(episode), **paid, **item_record(items)}
                for episode, paid, items in zip(
                    reward.last_episodes,
                    paid_records(reward.last_rewards),
                    items_paid(reward.model, reward.last_episodes, reward.last_rewards),
                    strict=True,
                )
            ),
        )
        try:
            reward.check_failures()
        except TrainingError as error:
            raise TrainingError(
                f"update {state.global_step}: {error}. See the fields 'failed' and 'error' in {folder / 'episodes.jsonl'}."
            ) from None
        score, reward_mean, kl = (logs.get(n, float("nan")) for n in ("score", "objective/scores", "objective/kl"))
        self.progress.advance(alarms=reward.learning.alarms.on, score=score, reward=reward_mean, kl=kl)


def evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "mean_task_score": evaluation.mean_task_score._asdict(),
        "results": [asdict(result) for result in evaluation.results],
        "task_scores": {task: sum(scores) / len(scores) for task, scores in evaluation.task_scores.items()},
        "without_reference": dict(evaluation.without_reference),
        "shown": None if evaluation.shown is None else dict(evaluation.shown),
        **({"missing": dict(evaluation.missing)} if evaluation.missing else {}),
        **({"judged": evaluation.costs} if evaluation.costs else {}),
    }


def write_evaluation(
    evaluation: Evaluation, folder: Path, data: Path | None, task: str | None, with_retrieval: bool, out: Path | None
) -> Evaluation:
    """Write it to `out`, else to a new file in `folder`, named after what was evaluated; returns it with its `path`."""
    parts = [data.stem if data else "test", *([task] if task else []), *([] if with_retrieval else ["no_retrieval"])]
    target = out or _new_file(folder, "-".join(parts))
    record = {
        **evaluation_record(evaluation),
        "data": str(data) if data else "held-out part",
        "with_retrieval": with_retrieval,
        "retrieval": evaluation.retrieval,
    }
    write_json(target, record)
    return replace(evaluation, path=target)


def _new_file(folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (folder / f"{stem}-{number}.json").exists():
        number += 1
    return folder / f"{stem}-{number}.json"


def episode_record(episode: Episode) -> dict[str, Any]:
    """An episode as JSON; evidence by id, with rank, scores and reason, and, where it was cut, how many of its characters were shown."""
    return {
        "id": episode.id,
        "task": episode.example.task,
        "update": episode.round,
        "prompt": episode.prompt,
        **({"prompt_cut": True} if episode.prompt_cut else {}),
        "draft": episode.draft,
        "response": episode.response,
        "references": list(episode.example.references),
        "evidence": [
            {
                "id": e.context.id,
                "rank": e.rank,
                "score": round(e.score, 6),
                "scores": dict(e.scores),
                "reason": e.reason,
                **({"shown": len(e.context.text)} if e.left_out else {}),
            }
            for e in episode.evidence
        ],
        "scores": {name: round(value, 4) for name, value in episode.scores.items()},
        "reserved": {name: round(value, 4) for name, value in episode.reserved.items()},
        "goal_probability": episode.probability,
        "probabilities": {name: round(value, 6) for name, value in episode.probabilities.items()},
        "failed": dict(episode.failed),
        "error": episode.error,
        **asked_record(episode),
        **item_record(
            {
                node: [
                    ItemPay(item.criterion, item.weight, item.title, score, None)
                    for item, score in zip(episode.example.items[node], scores, strict=True)
                ]
                for node, scores in episode.item_scores.items()
            }
        ),
    }


def asked_record(episode: Episode) -> dict[str, Any]:
    """What it cost to ask for each score, and what the judges wrote, as JSON; nothing where nobody was asked. What is 0 is left out."""
    told = {
        node: {key: round(v, 6) if isinstance(v, float) else v for key, v in asdict(asked).items() if v}
        for node, asked in episode.asked.items()
    }
    found = {"asked": told} if told else {}
    return {**found, **({"rationales": dict(episode.rationales)} if episode.rationales else {})}


def item_record(rubrics: Mapping[str, Sequence[ItemPay]]) -> dict[str, Any]:
    """The items of an episode's rubrics as JSON under the key `items`; nothing where it has none. What is not known of an item is left out."""
    told = {
        node: [
            {
                key: round(v, 4) if isinstance(v, float) else v
                for key, v in item._asdict().items()
                if v not in (None, "")
            }
            for item in items
        ]
        for node, items in rubrics.items()
    }
    return {"items": told} if told else {}


def paid_records(rewards: NodeRewards) -> list[dict[str, Any]]:
    """What each episode was paid, as JSON: the scalar, each node's share of it, what was filled in, and the gates that are not open."""
    totals, rows = rewards.total().tolist(), []
    shares = (rewards.values * rewards.weights).tolist()
    columns = zip(
        totals,
        shares,
        rewards.scores.tolist(),
        rewards.gates.tolist(),
        rewards.observed.tolist(),
        rewards.weights.tolist(),
        strict=True,
    )
    for total, paid, scores, gates, observed, weights in columns:
        nodes = range(len(rewards.nodes))
        rows.append(
            {
                "reward": total,
                "paid": {rewards.nodes[n]: round(paid[n], 4) for n in nodes if paid[n]},
                "imputed": {rewards.nodes[n]: round(scores[n], 4) for n in nodes if weights[n] and not observed[n]},
                "gates": {rewards.nodes[n]: round(gates[n], 4) for n in nodes if weights[n] and gates[n] < 1},
            }
        )
    return rows
