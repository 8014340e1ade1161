"""Whether runs may be compared at all: the same data, the same budget, the same code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rag_graph.runs.run import Run

Arms = Sequence[tuple[str, Mapping[int, Run]]]


def _goals(run: Run) -> str:
    reward = run.config.reward
    return f"{reward.reserved + (1 - reward.reserved) * reward.goal_observed:.0%}"


def _limit(run: Run) -> str:
    budget = run.config.reward.budget
    return "none" if budget.per_update is None else f"{budget.per_update:g} {budget.unit} per update"


BUDGET: dict[str, Callable[[Run], Any]] = {
    "episodes of PPO": lambda run: f"{run.config.ppo.updates * run.config.ppo.batch_size:,}",
    "warm-up examples": lambda run: f"{run.config.sft.steps * run.config.sft.batch_size:,}",
    "passes over each batch": lambda run: run.config.ppo.num_ppo_epochs,
    "share of goals scored": _goals,
    "limit on what scores cost": _limit,
    "tokens per answer": lambda run: run.config.model.max_new_tokens,
    "policy": lambda run: run.config.model.source,
}
"""What a fair comparison holds equal, unless it is what is compared."""


def warnings_about(arms: Arms) -> list[str]:
    """Sentences that say in what the runs are not comparable; none where they are."""
    return [*_budget(arms), *_data(arms), *_seeds(arms), *_code(arms)]


def _budget(arms: Arms) -> list[str]:
    found = []
    for what, of in BUDGET.items():
        values = {label: of(next(iter(runs.values()))) for label, runs in arms}
        if len(set(values.values())) > 1:
            told = "; ".join(f"{value} ({label})" for label, value in values.items())
            found.append(f"Not at equal budget: {what}: {told}.")
    return found


def _data(arms: Arms) -> list[str]:
    """Data hashes of arms with the same seed; made data differ between seeds by design."""
    found: dict[str, list[str]] = {}
    (first, base), *others = arms
    for label, runs in others:
        for seed in sorted(set(runs) & set(base)):
            mine, theirs = runs[seed].manifest.get("data", {}), base[seed].manifest.get("data", {})
            for name in sorted(set(mine) | set(theirs)):
                if mine.get(name) != theirs.get(name):
                    found.setdefault(f"{label}' and '{first}", []).append(f"{name} (seed {seed})")
    return [f"Not on the same data: '{arms}' differ in {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}." for arms, names in found.items()]  # fmt: skip


def _seeds(arms: Arms) -> list[str]:
    (first, base), *others = arms
    found: list[str] = []
    for label, runs in others:
        shared, all_seeds = set(runs) & set(base), set(runs) | set(base)
        if not shared:
            found.append(f"'{label}' and '{first}' share no seed: nothing can be paired, so there is no difference.")
        elif shared != all_seeds:
            found.append(
                f"'{label}' and '{first}' share {len(shared)} of {len(all_seeds)} seeds; the difference is of those."
            )
    return found


def _code(arms: Arms) -> list[str]:
    runs = [run for _, group in arms for run in group.values()]
    found = []
    versions: dict[str, set[str]] = {}
    for run in runs:
        about = run.manifest
        for package, version in {"rag_graph": about.get("rag_graph"), **about.get("versions", {})}.items():
            versions.setdefault(package, set()).add(str(version))
    mixed = {package: known for package, known in versions.items() if len(known) > 1}
    if mixed:
        found.append(
            "Other versions of: " + "; ".join(f"{p} {', '.join(sorted(known))}" for p, known in mixed.items()) + "."
        )
    changed = [str(run.path) for run in runs if (run.manifest.get("git") or {}).get("dirty")]
    if changed and len(changed) < len(runs):
        found.append(
            f"Made with changes that no commit has, unlike the others: {', '.join(changed[:4])}{' and more' if len(changed) > 4 else ''}."
        )
    commits = {(run.manifest.get("git") or {}).get("commit", "") for run in runs}
    if len(commits) > 1:
        found.append(f"Other code: {len(commits)} git commits ({', '.join(sorted(c[:8] or 'none' for c in commits))}).")
    return found
