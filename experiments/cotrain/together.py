"""Both learning together against either alone, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from rag_graph.evaluation.statistics import holm, paired_p_value, run_interval


def show_differences(
    console: Console,
    what: str,
    scores: Mapping[str, Mapping[int, float]],
    together: Sequence[str],
    alone: Sequence[str],
) -> None:
    """Print a line for each arm of `together` less each of `alone`: mean, interval (Bonferroni over the lines), p value (Holm).

    Args:
        what: the score, in words.
        scores: arm -> seed -> score.
    """
    differences = {
        f"{one} - {two}": [[scores[one][seed] - scores[two][seed]] for seed in sorted(scores[one].keys() & scores[two])]
        for one in together
        for two in alone
        if scores[one].keys() & scores[two]
    }
    adjusted = holm([paired_p_value(pairs) for pairs in differences.values()])
    for (name, pairs), p in zip(differences.items(), adjusted, strict=True):
        mean, low, high = run_interval(pairs, len(differences))
        text = f"{what}, {name}: {mean:+.3f} [{low:+.3f}, {high:+.3f}], p {p:.3f} (together: Bonferroni, Holm)"
        console.print(text, markup=False, highlight=False)
