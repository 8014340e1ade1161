"""Does a predictor of the goal gain from the answer itself, beside the scores? Here the answer is a 32-number embedding of the policy's own hidden states.

    python experiments/pool/sees_answer.py
    python experiments/pool/sees_answer.py --pools FOLDER --masks 20

A Gaussian process predicts the goal, with one variance for each kind of input. The marginal likelihood chooses the variances, so inputs that tell
nothing can be left out by the data (Rasmussen & Williams 2006, section 5.4). Dev part only, all criteria seen. It prints pair accuracy and what the
embedding adds to the scores, with 95% intervals over sources.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
from measures import Array, clustered, pair_accuracy, pair_counts, standardised  # noqa: E402
from pools import GRAPHS  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402
from scipy.linalg import cho_factor, cho_solve  # noqa: E402
from scipy.optimize import minimize  # noqa: E402
from stored import SHARES, Stored, load_pool  # noqa: E402

Kernel = Callable[[Array, Array], Array]
LOWEST, HIGHEST = -8.0, 4.0
"""Bounds of a log variance; inputs have variance 1 in all."""


def linear(a: Array, b: Array) -> Array:
    return np.asarray(a @ b.T)


def gaussian(a: Array, b: Array) -> Array:
    """Length scale 1 / sqrt 2 on inputs whose variance is 1 in all."""
    return np.asarray(np.exp(-((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)))


PREDICTORS: dict[str, tuple[tuple[str, Kernel], ...]] = {
    "scores": (("scores", linear),),
    "embedding": (("embedding", linear),),
    "scores + embedding": (("scores", linear), ("embedding", linear)),
    "scores + embedding, not linear": (("scores", linear), ("embedding", gaussian)),
}


def predicted(kernels: Sequence[Array], across: Sequence[Array], goals: Array) -> Array:
    """The posterior mean of a Gaussian process whose covariance is a sum of kernels and noise, the variances by marginal likelihood.

    Args:
        kernels: each [n, n], among the answers whose goal is seen.
        across: each [m, n], from the answers that are asked about to those.
        goals: [n], mean 0 and variance 1.
    """

    def covariance(logs: Array) -> Array:
        scales = np.exp(np.clip(logs, LOWEST, HIGHEST))
        total: Array = scales[-1] * np.eye(len(goals))
        for scale, kernel in zip(scales[:-1], kernels, strict=True):
            total = total + scale * kernel
        return total

    def loss(logs: Array) -> float:
        factor = cho_factor(covariance(logs))
        fit = 0.5 * goals @ cho_solve(factor, goals) + np.log(np.diag(factor[0])).sum()
        return float(fit + 0.05 * ((logs + 1) ** 2).sum())  # a weak prior keeps the search in its bounds

    logs = minimize(loss, np.full(len(kernels) + 1, -1.0), method="Nelder-Mead", options={"maxiter": 60}).x
    solved = np.linalg.solve(covariance(logs), goals)
    scales = np.exp(np.clip(logs, LOWEST, HIGHEST))
    return np.asarray(sum(scale * part @ solved for scale, part in zip(scales[:-1], across, strict=True)))


def judge(pool: Stored, share: float, mask: int) -> dict[str, Array]:
    """[G] pair accuracy of each predictor, NaN for prompts that were not judged."""
    fit, held_out = pool.split("dev", mask)
    seen = np.random.default_rng(mask).random((len(fit), pool.answers)) < share
    names = list(pool.graph.spec.criteria)
    inputs = {
        "scores": np.array([[[row[name] for name in names] for row in mine] for mine in pool.scores]),
        "embedding": np.array([[row.embedding for row in mine] for mine in pool.groups.values()]),
    }
    scaled = {name: _standard(values, fit) for name, values in inputs.items()}
    shown, asked = ({n: x[rows].reshape(-1, x.shape[-1]) for n, x in scaled.items()} for rows in (fit, held_out))
    shown = {name: values[seen.ravel()] for name, values in shown.items()}
    goals = pool.goals[fit][seen]
    goals = (goals - goals.mean()) / (goals.std() + 1e-6)
    found = {}
    for name, parts in PREDICTORS.items():
        kernels = [kernel(shown[which], shown[which]) for which, kernel in parts]
        across = [kernel(asked[which], shown[which]) for which, kernel in parts]
        rewards = standardised(predicted(kernels, across, goals).reshape(len(held_out), -1))
        found[name] = np.full(len(pool.goals), np.nan)
        found[name][held_out] = pair_accuracy(rewards, pool.goals[held_out])
    return found


def _standard(values: Array, rows: Sequence[int]) -> Array:
    """[G, K, D] with mean 0 and, over all D, variance 1 in the answers to `rows`."""
    flat = values[rows].reshape(-1, values.shape[-1])
    return np.asarray((values - flat.mean(0)) / (flat.std(0) + 1e-6) / np.sqrt(values.shape[-1]))


def _mean(parts: Sequence[Array]) -> Array:
    """Over masks, of those in which a prompt was judged."""
    stacked = np.stack(parts)
    known = ~np.isnan(stacked)
    count = known.sum(0)
    return np.divide(np.where(known, stacked, 0.0).sum(0), count, out=np.full(len(count), np.nan), where=count > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, default=HERE / "pools", help="folder of the stored pools")
    parser.add_argument("--masks", type=int, default=5)
    options = parser.parse_args()
    names = [p.stem for p in sorted(GRAPHS.glob("*.yaml")) if (options.pools / f"{p.stem}.jsonl").is_file()]
    if not names:
        sys.exit(f"no pool in {options.pools}. Draw them first: python experiments/pool/sample.py")
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(
        "pool",
        "goals seen",
        *PREDICTORS,
        "linear adds",
        "not linear adds",
        title=f"pair accuracy, {options.masks} masks",
    )
    jobs = [(name, share) for name in names for share in SHARES]
    for name, share in track(jobs, console=Console(stderr=True)):
        pool = load_pool(options.pools, name)
        judged = [judge(pool, share, mask) for mask in range(options.masks)]
        means = {predictor: _mean([one[predictor] for one in judged]) for predictor in PREDICTORS}
        weights = pair_counts(pool.goals)
        first, *_, straight, bent = means
        cells = [f"{clustered(values, weights, pool.sources).mean:.3f}" for values in means.values()]
        for other in (straight, bent):
            gap = clustered(means[other] - means[first], weights, pool.sources)
            cells.append(f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
        table.add_row(name, f"{share:g}", *cells)
    console.print(table)


if __name__ == "__main__":
    main()
