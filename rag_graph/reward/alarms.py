"""Alarms: what a reward can pay for that nobody meant. Each compares a run with its own beginning.

| alarm | fires when |
|---|---|
| identical | answers to different prompts of a task become alike (`symptoms.alikeness`): beyond .4 of the way from the beginning to 1 |
| empty | the share of answers without a word is .05 above the beginning |
| length | answers of a task at the least or the most of its `length_band`, or cut off at the longest answer: .4 of the way from the beginning to 1 |
| goal_falls | the known goal of a task is .03 below its best stretch (past its peak, Gao et al. 2023, arXiv 2210.10760); or its held-out score after training is below that before |
| evidence_ignored | how much better answers fit their own evidence than another's is less than half of the beginning |
| miscalibration | predictions of known goals are off by more than .1 in one direction |
| imputer_error | the error on hidden scores, in deviations of their nodes, is more than twice its beginning |

Where the reference answers are known, "the beginning" of identical and length is the larger one of two: that of the answers, that of the references.

All have the same test (`sequential.Evidence`), which may be looked at after every update. `held_out_alarms` adds one look at held-out answers. The probability of any
false alarm in a whole run is at most 1 in 20: IN_TRAINING, HELD_OUT and FOR_BOUNDS, each shared equally by its tests. False is an alarm while the mean of what it looks at, given all that came before, is within its bound.
An alarm that went on stays on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from rag_graph.records import Episode
from rag_graph.reward.sequential import FIRST_UPDATES, FIRST_VALUES, Best, Evidence, Sums
from rag_graph.reward.symptoms import Symptom

IN_TRAINING, HELD_OUT, FOR_BOUNDS = 0.03, 0.01, 0.01
LEARNS = 20
"""Updates in which predictions may be off; the beginning of imputer_error."""
FALL = 0.03
WRONG = 0.1
SHOWN, LONG = 8, 300
"""Episodes that an alarm names, and characters of a text that it quotes."""


def _grounded(u: float) -> float:
    return 0.25 + u / 2 if u < 0.45 else 1.0  # a beginning that hardly depends on its evidence can lose nothing


BOUNDS: dict[str, Callable[[float], float]] = {
    "identical": lambda u: u + 0.4 * (1 - u),
    "empty": lambda u: u + 0.05,
    "length": lambda u: u + 0.4 * (1 - u),
    "evidence_ignored": _grounded,
    "imputer_error": lambda u: 2 * max(u, 0.05),
}
"""Upper bound of the beginning -> what the mean may be."""

ADVICE = {
    "identical": "Read the answers below: pay for what distinguishes a right answer from a common one, or raise ppo.kl_coef.",
    "empty": "An empty answer must be worth less than a wrong one: let a criterion with a rule ask for an answer, or raise ppo.kl_coef.",
    "length": "Length is paid where content should be: lower the strength of the length criterion, or make it a rule of a criterion on content.",
    "goal_falls": "Look at what those episodes are paid: a rule or a fact may be missing or wrong; use more known goals, a lower ppo.learning_rate or a larger ppo.kl_coef.",
    "evidence_ignored": "Answers no longer use what was retrieved: let faithfulness to the evidence be a prerequisite of the goal, or check that the evidence is worth reading.",
    "miscalibration": "Do not trust predicted goals: observe more of them (reward.goal_observed), or check the facts of the graph.",
    "imputer_error": "Predicted scores have become unreliable: observe more scores, or check whether a scorer has changed.",
}
"""Alarm -> what to do about it."""
NAMES = tuple(ADVICE)

SEEN = {
    "identical": "answers to different prompts of {of} are alike to {now:.2f} (1: the same words); at the beginning to {then:.2f}",
    "empty": "{now:.0%} of the answers are empty; at the beginning {then:.0%}",
    "length": "{now:.0%} of the answers to {of} are as short or as long as they may be; at the beginning {then:.0%}",
    "goal_falls": "the goal of {of} is {goal:.3f}; its best stretch had {best:.3f}",
    "evidence_ignored": "answers to {of} have {lift:+.0%} more of their words from their own evidence than from another's; at the beginning {lift_then:+.0%}",
    "miscalibration": "predicted goals are {of} than what is observed, by {gap:.2f}",
    "imputer_error": "the error on hidden scores is {error:.2f} deviations; at the beginning {error_then:.2f}",
}
MOST_ERROR = 4.0
"""Deviations at which an error on hidden scores is cut."""


@dataclass
class Watch:
    """One test of one alarm."""

    evidence: Evidence = field(default_factory=Evidence)
    beginning: Sums = field(default_factory=Sums)
    references: Sums = field(default_factory=Sums)
    best: Best = field(default_factory=Best)
    then: list[float] = field(default_factory=list)
    """[mean over tasks, paid utility] when the goal was best."""
    bound: float = math.nan
    now: float = math.nan
    """Of the last few updates."""
    worst: list[dict[str, str]] = field(default_factory=list)
    """The last SHOWN answers beyond the bound."""


class Alarms:
    """Fed once per update.

    Args:
        tasks: of the graph; how many tests there are follows from it.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        # Per task identical, length, evidence_ignored and goal_falls; and empty, imputer_error, two directions of miscalibration.
        tests, held_out = 4 * len(tasks) + 4, 4 * len(tasks) + 1
        self.limit = math.log(tests / IN_TRAINING)
        self.at_end = NormalDist().inv_cdf(1 - HELD_OUT / held_out)
        self.deviations = NormalDist().inv_cdf(1 - FOR_BOUNDS / tests)
        self.watches: dict[str, Watch] = {}
        self.utility = math.nan
        self.updates = 0
        self.history: list[dict[str, Any]] = []
        """Every alarm that went on: update, alarm, of (a task), seen, advice, part of the episodes (train, or after: held out), episodes (ids), examples (two answers)."""

    @property
    def on(self) -> tuple[str, ...]:
        """Names of the alarms that are on."""
        return tuple(dict.fromkeys(entry["alarm"] for entry in self.history))

    def see(self, update: int, found: Iterable[Symptom], utility: float = math.nan) -> list[str]:
        """Take in one update.

        Args:
            update: its number.
            found: what there is to see; an alarm of which nothing is said has seen nothing.
            utility: mean of what is paid; for the message of goal_falls.

        Returns:
            a message for every alarm that went on.
        """
        self.updates += 1
        self.utility = _recent(self.utility, utility)
        found = [symptom for symptom in found if symptom.values]
        for symptom in found:
            watch = self.watches.setdefault(f"{symptom.alarm}:{symptom.of}", Watch())
            watch.now = _recent(watch.now, math.fsum(symptom.values) / len(symptom.values))
        return [message for symptom in found if (message := self._test(update, symptom))]

    def _test(self, update: int, symptom: Symptom) -> str:
        watch = self.watches[f"{symptom.alarm}:{symptom.of}"]
        bound = self._bound(watch, symptom)
        if not bound < 1:  # nothing known yet, or nothing that could be seen
            return ""
        if (
            not math.isnan(watch.bound) and bound < watch.bound - 1e-9
        ):  # the goal was better than ever: its answers were not bad ones
            watch.worst = []
        watch.bound = bound
        level = watch.evidence.see(symptom.values, bound)
        bad = sorted(
            (pair for pair in zip(symptom.values, symptom.episodes, strict=True) if pair[0] > bound),
            key=lambda pair: -pair[0],
        )
        watch.worst = [quoted(e) for _, episodes in bad for e in episodes][:SHOWN] + watch.worst
        watch.worst = watch.worst[:SHOWN]
        if level < self.limit:
            return ""
        then = watch.best.mean if symptom.alarm == "goal_falls" else watch.beginning.mean
        seen = self.said(symptom, watch.now, then) + self._meanwhile(watch)
        return self.switch_on(update, symptom.alarm, symptom.of, seen, watch.worst)

    def _bound(self, watch: Watch, symptom: Symptom) -> float:
        """What the mean may be in this update, from what was seen before it; takes the update into the beginning, where it belongs to it."""
        if symptom.alarm == "miscalibration":
            return (1 + WRONG) / 2 if self.updates > LEARNS else math.nan
        if symptom.alarm == "goal_falls":
            bound = watch.best.bound + FALL
            if watch.best.see(symptom.values, self.deviations):
                watch.then = [self._mean_goal(), self.utility]
            return bound
        first = LEARNS if symptom.alarm == "imputer_error" else FIRST_UPDATES
        if watch.beginning.sums[3] < first or watch.beginning.sums[0] < FIRST_VALUES:
            watch.beginning.add(symptom.values)
            if symptom.references:
                watch.references.add(symptom.references)
            return math.nan
        return BOUNDS[symptom.alarm](max(watch.beginning.upper(self.deviations), watch.references.mean))

    def _mean_goal(self) -> float:
        goals = [1 - watch.now for key, watch in self.watches.items() if key.startswith("goal_falls:")]
        return math.fsum(goals) / max(1, len(goals))

    def said(self, symptom: Symptom, now: float, then: float) -> str:
        """What a symptom is, in words, from its mean now and at the beginning."""
        return SEEN[symptom.alarm].format(
            of=symptom.of, now=now, then=then, goal=1 - now, best=1 - then, lift=1 - 2 * now, lift_then=1 - 2 * then,
            gap=2 * now - 1, error=MOST_ERROR * now, error_then=MOST_ERROR * then,
        )  # fmt: skip

    def _meanwhile(self, watch: Watch) -> str:
        """What became of the mean over tasks and of what is paid since the goal was best; nothing for other alarms."""
        now = (self._mean_goal(), self.utility)
        pairs = zip(("the mean over tasks", "the paid utility"), watch.then, now, strict=False)
        return "".join(
            f"; {what} went from {was:.3f} to {new:.3f}" for what, was, new in pairs if was == was and new == new
        )

    def switch_on(
        self, update: int, alarm: str, of: str, seen: str, shown: Sequence[Mapping[str, str]], part: str = "train"
    ) -> str:
        """Note an alarm; returns its message, or nothing where it is on already. shown: answers of a part that show it, see `quoted`."""
        if any(entry["alarm"] == alarm and entry["of"] == of for entry in self.history):
            return ""
        shown = shown[:SHOWN]
        examples = list({one["response"]: one for one in shown}.values()) if alarm != "identical" else list(shown)
        entry = {"update": update, "alarm": alarm, "of": of, "seen": seen, "advice": ADVICE[alarm], "part": part}
        entry["episodes"] = list(dict.fromkeys(one["id"] for one in shown))
        entry["examples"] = [dict(one) for one in [*examples, *shown][:2]]
        self.history.append(entry)
        return f"{alarm}: {seen}"

    def metrics(self) -> dict[str, float]:
        """1 where an alarm is on."""
        return {f"alarms/{name}": float(name in self.on) for name in NAMES}

    def state_dict(self) -> dict[str, Any]:
        return {
            "watches": {key: asdict(watch) for key, watch in self.watches.items()},
            "utility": self.utility, "updates": self.updates, "history": [dict(entry) for entry in self.history],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        parts = {"evidence": Evidence, "beginning": Sums, "references": Sums, "best": Best}
        self.watches = {
            key: Watch(**{name: parts[name](**value) if name in parts else value for name, value in watch.items()})
            for key, watch in state["watches"].items()
        }
        self.utility, self.updates = float(state["utility"]), int(state["updates"])
        self.history = [dict(entry) for entry in state["history"]]


def _recent(before: float, new: float) -> float:
    return before if math.isnan(new) else new if math.isnan(before) else 0.7 * before + 0.3 * new


def quoted(episode: Episode) -> dict[str, str]:
    return {"id": episode.id, "prompt": episode.prompt[-LONG:], "response": episode.response[:LONG]}
