"""The alarms on held-out answers: after training against before, once, on the same examples.

Sampled answers can differ where the most likely ones have become the same, and the held-out goal is known for every example. So this test sees what the
ones during training do not. It has its share of the false alarm probability (`alarms`): a one-sided test of normal means.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

from rag_graph.evaluation.evaluate import Evaluation
from rag_graph.evaluation.example_intervals import paired_difference
from rag_graph.reward.alarms import BOUNDS, Alarms, quoted
from rag_graph.reward.sequential import Sums
from rag_graph.reward.symptoms import Symptom, symptoms

PART = "after"
"""The part of a run's episodes that these alarms quote."""
FALL = 0.02
"""A held-out score may fall by so much."""


def compare_held_out(
    alarms: Alarms, update: int, before: Evaluation, after: Evaluation, bands: Mapping[str, tuple[int, int | None]]
) -> list[str]:
    """A message for every alarm that the answers after training set off.

    An answer may be as much like another, and as often at the bound of a length, as the references are; as the answers before training where no
    reference is known. So answers that were all the same before training already set the alarm off too.

    Args:
        update: the last one.
        before, after: of the same examples in the same order.
        bands: see `symptoms.length_bands`.
    """
    first = {(one.alarm, one.of): one for one in symptoms(before.episodes, bands)}
    found = [_behaviour(alarms, update, first[one.alarm, one.of], one) for one in symptoms(after.episodes, bands)]
    return [message for message in [*found, *_goals(alarms, update, before, after)] if message]


def _behaviour(alarms: Alarms, update: int, before: Symptom, after: Symptom) -> str:
    if not before.values or not after.values:
        return ""
    then, now, unlike = Sums(), Sums(), Sums()
    then.add(after.references or before.values)
    now.add(after.values)
    unlike.add([1 - value for value in after.values])
    # References of the same examples are known; the answers before training are a sample of what the policy answers.
    bound = BOUNDS[after.alarm](then.mean if after.references else then.upper(alarms.deviations))
    if 1 - unlike.upper(alarms.at_end) <= bound:
        return ""
    started = sum(before.values) / len(before.values)
    seen = "held-out answers: " + alarms.said(after, now.mean, started)
    if after.references:
        seen += f"; the references: {then.mean:.2f}"
    bad = [
        one for value, episodes in zip(after.values, after.episodes, strict=True) if value > bound for one in episodes
    ]
    return alarms.switch_on(update, after.alarm, after.of, seen, [quoted(one) for one in bad], PART)


def _goals(alarms: Alarms, update: int, before: Evaluation, after: Evaluation) -> list[str]:
    pairs: dict[str, list[tuple[float, float, int]]] = {}
    for number, (one, other) in enumerate(zip(before.episodes, after.episodes, strict=True)):
        task = one.example.task
        if task in before.task_scores and task in after.task_scores and task in one.scores and task in other.scores:
            pairs.setdefault(task, []).append((one.scores[task], other.scores[task], number))
    messages = []
    for task, rows in pairs.items():
        was, now, numbers = map(list, zip(*rows, strict=True))
        units = [after.episodes[number].example.sampling_unit for number in numbers]
        change = paired_difference({task: was}, {task: now}, {task: units})
        if change.mean + (change.high - change.mean) * alarms.at_end / NormalDist().inv_cdf(0.975) >= -FALL:
            continue
        means = (part.mean_task_score.mean for part in (before, after))
        seen = (
            f"the held-out score of {task} was {sum(was) / len(was):.3f} before training and is {sum(now) / len(now):.3f}; the mean over tasks "
            "went from {:.3f} to {:.3f}".format(*means)
        )
        worst = sorted(rows, key=lambda row: row[1] - row[0])
        shown = [quoted(after.episodes[number]) for was_one, now_one, number in worst if now_one < was_one]
        messages.append(alarms.switch_on(update, "goal_falls", task, seen, shown, PART))
    return messages
