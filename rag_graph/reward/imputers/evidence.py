"""The posterior mean of a goal that was not observed: Bayesian linear regression on what the file says and on what the data say.

    y = mu + sum_d beta_d x_d + sum_j w_j z_j + sum_j c_j (z_j^2 - 1) / sqrt(2) + noise
    beta_d ~ N(b, (SLOPE_SPREAD b)^2) with b > 0,   w_j ~ N(0, v / k),   c_j ~ N(0, u / k)

z are the criteria in standard deviations, gaps filled in by `CriteriaGaussian`; x_d are what the facts of the file alone would expect:

| direction | of the facts about the goal |
|---|---|
| linear | signed sum of z by strength, `indicates` and `bounds` for, `indicates_low` against; two relations are followed |
| seen | the same over the observed scores only, a missing one at its running mean |
| soft | soft minimum of the scores, those that indicate a low goal turned round |
| least | min_j (1 - g_j (1 - s_j)) over `bounds`: the bound itself |
| product | prod_j (1 - g_j (1 - s_j)) over `bounds` |

Which directions count (FORMS), how large b, v, u and the noise are is not known. So one regression is fitted for each of a few hundred settings, and they are
averaged by their evidence, the marginal likelihood of the observed goals (MacKay 1992, "Bayesian interpolation"; Hoeting et al. 1999,
"Bayesian model averaging"). With few goals the prior speaks, which is the file; with many the data do. All sums over episodes are Gram matrices, so
a setting costs the third power of the number of columns and nothing per episode.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.imputers.gaussian import FAINT, CriteriaGaussian
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import SIGMA_FLOOR, RunningMeans

DIRECTIONS = ("linear", "seen", "soft", "least", "product")
FORMS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (1.0, ("linear",)), (0.8, ("seen",)), (0.8, ("linear", "seen")), (0.4, ("soft",)), (0.4, ("linear", "soft")),
    (1.0, ("least",)), (1.0, ("product",)), (0.5, ("linear", "least")), (0.5, ("linear", "product")), (1.0, ()),
)  # fmt: skip
"""Weight and directions. Those that use `bounds` count where the file states one, the last as far as the file states no fact about the goal (see `prior_of_forms`)."""
PER_FORM = 24
"""Settings that are tried of each form."""
MOST_KEPT_SETTINGS = 48
"""Settings of the highest evidence, whose own uncertainty counts beside the differences between all."""
SLOPE, SLOPE_SPREAD = 0.6, 0.4
"""b of one direction, in standard deviations of the goal, and its relative spread. Directions share it."""
SOFTNESS = 6.0
MOST_CURVE = 3.0
"""Bound of a square: an outlier must not rule the fit."""
RESOLUTION = 0.02
"""Predictions are rounded to it, and finer where goals vary by less than GOAL_SPREAD: smaller differences are noise, and goals that tie go on to tie."""
GOAL_SPREAD = 0.25
"""Standard deviation of a goal before any was seen; counts for two observations."""
CLOSED, LEVEL = 1e-7, 100.0
"""Prior variances: of what a setting leaves out, and of the level mu."""


class Settings(NamedTuple):
    """H settings. p columns: level, directions, criteria, squares of criteria."""

    form: Tensor  # int64 [H]
    mean: Tensor  # [H, 1 + D] prior means of level and directions
    variance: Tensor  # [H, 1 + D]
    ridge: Tensor  # [H] v
    curve: Tensor  # [H] u
    noise: Tensor  # [H] variance
    prior: Tensor  # [H] log


def draw_settings() -> Settings:
    """The same for every goal and every run. Scales are in standard deviations of the goal, so nothing depends on its unit."""
    generator = torch.Generator().manual_seed(0)
    total = len(FORMS) * PER_FORM

    def uniform() -> Tensor:
        return torch.rand(total, generator=generator, dtype=torch.float64)

    def between(low: float, high: float) -> Tensor:
        return low * (high / low) ** uniform()

    form = torch.arange(len(FORMS)).repeat_interleave(PER_FORM)
    on = torch.tensor([[name in names for name in DIRECTIONS] for _, names in FORMS], dtype=torch.float64)[form]
    scale = SLOPE * (0.4 * torch.randn(total, generator=generator, dtype=torch.float64)).exp()
    slopes = on * (scale / on.sum(-1).clamp(min=1).sqrt())[:, None]
    level = torch.ones(total, 1, dtype=torch.float64)
    variance = torch.cat([LEVEL * level, (SLOPE_SPREAD * slopes).square().clamp(min=CLOSED)], -1)
    ridge = torch.where(uniform() < 0.35, CLOSED, between(1e-3, 0.6))
    curve = torch.where(uniform() < 0.6, CLOSED, between(2e-3, 0.3))
    noise = torch.where(uniform() < 0.6, between(0.1, 1.0), between(2e-3, 1.0))
    prior = torch.tensor([weight for weight, _ in FORMS], dtype=torch.float64)[form].log()
    return Settings(form, torch.cat([0 * level, slopes], -1), variance, ridge, curve, noise, prior)


class EvidenceImputer(Imputer):
    """Goals by evidence, criteria by `CriteriaGaussian`, other nodes by their running mean. T tasks, p columns."""

    predictive = True
    weights: Tensor  # [T, p] posterior mean
    spread: Tensor  # [T, p, p] its covariance, averaged over the settings
    noise: Tensor  # [T]
    centre: Tensor  # [T, D] mean of each direction
    scale: Tensor  # [T, D] its standard deviation
    level: Tensor  # [T] mean of the observed goals
    unit: Tensor  # [T] their standard deviation

    def __init__(self, tensors: GraphTensors) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        self.criteria = CriteriaGaussian(tensors)
        self.settings = draw_settings()
        num_tasks, width = self.criteria.columns.shape
        columns = 1 + len(DIRECTIONS) + 2 * width
        self.facts = _Facts(tensors, self.criteria)
        forms = self.settings.form
        self.uses_bounds = torch.tensor([bool({"least", "product"} & set(names)) for _, names in FORMS])[forms]
        self.no_fact = torch.tensor([not names for _, names in FORMS])[forms]
        has_fact, has_bound = (part[:, None] for part in self.facts.stated())
        self.possible = self._of_forms(torch.ones_like(has_fact), has_bound, has_fact)  # [T, H]
        self.register_buffer("weights", torch.zeros(num_tasks, columns))
        self.register_buffer("spread", torch.zeros(num_tasks, columns, columns))
        self.register_buffer("noise", torch.ones(num_tasks))
        self.register_buffer("centre", torch.zeros(num_tasks, len(DIRECTIONS)))
        self.register_buffer("scale", torch.ones(num_tasks, len(DIRECTIONS)))
        self.register_buffer("level", torch.full((num_tasks,), 0.5))
        self.register_buffer("unit", torch.full((num_tasks,), GOAL_SPREAD))

    def prior_of_forms(self, graph: GraphTensors) -> Tensor:
        """[T, H] log of how far each setting's form counts: those without a fact fade in as the strongest fact of the task fades out."""
        signed, bounds = self.facts.strengths(graph)
        fact, bound = ((part.abs().amax(-1, keepdim=True) / FAINT).clamp(max=1).double() for part in (signed, bounds))
        return self._of_forms(1 - fact, bound, fact).log()

    def _of_forms(self, none: Tensor, bound: Tensor, fact: Tensor) -> Tensor:
        """[T, H] what holds of each setting, from what holds of its kind of form, [T, 1] each: without a fact, with bounds, with other facts."""
        return torch.where(self.no_fact, none, torch.where(self.uses_bounds, bound, fact))

    def predict(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> tuple[Tensor, Tensor]:
        """(expected score, its standard deviation), [B, N] each. The goal's is of the posterior predictive distribution."""
        z, observed = self.criteria.standard(shown, self.base)
        filled = self.criteria.fill(z, observed, shown.tasks)
        slot = self.criteria.slot[shown.tasks]
        raw = self.criteria.raw(filled, shown.tasks, self.base)
        columns = self.columns(filled, self.facts.directions(filled, z, raw, graph, slot), slot)
        mean = (columns * self.weights[slot]).sum(-1)
        variance = torch.einsum("bp,bpq,bq->b", columns, self.spread[slot], columns) + self.noise[slot]
        goal = (self.level[slot] + self.unit[slot] * mean).clamp(0, 1)
        step = RESOLUTION * (self.unit[slot] / GOAL_SPREAD).clamp(max=1)
        goal = goal + ((goal / step).round() * step - goal).detach()  # a gradient passes as if it were not rounded
        expected = self.base.means.expand_as(shown.values)
        valid = self.criteria.valid[slot]
        places = torch.where(valid, self.criteria.columns[slot], shown.values.shape[-1])
        padded = torch.cat([expected, expected[:, :1]], -1).scatter(-1, places, raw)
        at = shown.is_task
        expected = torch.where(at, goal[:, None], padded[:, :-1])
        deviation = (self.unit[slot] * variance.clamp(min=0).sqrt())[:, None]
        return expected, torch.where(at, deviation, 0.0)

    def forward(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> Tensor:
        return self.predict(shown, graph, contexts)[0][None]

    def columns(self, filled: Tensor, directions: Tensor, slot: Tensor) -> Tensor:
        """[B, p] the regression's columns. filled: [B, k]; directions: [B, D] of the facts."""
        standard = (directions - self.centre[slot]) / self.scale[slot]
        width = self.criteria.valid.sum(-1).clamp(min=1).to(filled.dtype).sqrt()[slot]
        squares = (filled.square() - 1).clamp(-MOST_CURVE, MOST_CURVE) / 2**0.5
        own = [torch.where(self.criteria.valid[slot], part, 0.0) / width[:, None] for part in (filled, squares)]
        return torch.cat([torch.ones_like(filled[:, :1]), standard, *own], -1)

    @torch.no_grad()
    def refit(
        self,
        scores: Scores,
        graph: GraphTensors,
        sweeps: int = 1,
        fresh: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.criteria.refit(scores, self.base, sweeps)
        slot = self.criteria.slot[scores.tasks]
        chosen = torch.arange(len(self.level)) if fresh is None else self.criteria.slot[fresh].unique()
        z, observed = self.criteria.standard(scores, self.base)
        filled = self.criteria.fill(z, observed, scores.tasks)
        directions = self.facts.directions(filled, z, self.criteria.raw(filled, scores.tasks, self.base), graph, slot)
        rows = _sums(slot, torch.ones_like(z[:, 0]), self.level).clamp(min=1)[:, None]
        centre = _sums(slot, directions, self.centre) / rows
        apart = _sums(slot, (directions - centre[slot]).square(), self.centre) / rows
        self.centre = _put(self.centre, chosen, centre)
        self.scale = _put(self.scale, chosen, apart.sqrt().clamp(min=SIGMA_FLOOR))
        goal, seen = (
            part.gather(-1, scores.tasks[:, None])[:, 0].double() for part in (scores.filled, scores.observed)
        )
        columns = self.columns(filled, directions, slot).double()
        if weights is not None:
            seen = seen * _effective(weights.gather(-1, scores.tasks[:, None])[:, 0].double(), seen, slot, self.level)
        counted = columns * seen[:, None]
        gram = _sums(slot, counted[:, :, None] * columns[:, None], self.spread)[chosen]
        cross = _sums(slot, counted * goal[:, None], self.weights)[chosen]
        square = _sums(slot, seen * goal.square(), self.level)[chosen]
        count = gram[:, 0, 0]
        level = torch.where(count > 0, cross[:, 0] / count.clamp(min=1), 0.5)
        within = (square - count * level.square()).clamp(min=0)
        unit = ((within + 2 * GOAL_SPREAD**2) / (count + 1).clamp(min=2)).sqrt()
        cross = (cross - gram[:, :, 0] * level[:, None]) / unit[:, None]
        counts, possible = self.prior_of_forms(graph)[chosen], self.possible[chosen]
        weights, spread, noise = average_by_evidence(
            gram, cross, within / unit.square(), count, self.settings, counts, possible
        )
        self.weights, self.spread = _put(self.weights, chosen, weights), _put(self.spread, chosen, spread)
        self.noise, self.level = _put(self.noise, chosen, noise), _put(self.level, chosen, level)
        self.unit = _put(self.unit, chosen, unit)


def average_by_evidence(
    gram: Tensor, cross: Tensor, square: Tensor, count: Tensor, settings: Settings, counts: Tensor, possible: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Regressions of every setting, averaged by their marginal likelihood.

    Args:
        gram: [T, p, p] sum of x x^T; cross: [T, p] sum of x y; square: [T] sum of y^2; count: [T] goals, y centred and in standard deviations.
        counts: [T, H], added to the logarithm of the prior.
        possible: bool [T, H]; the others are not fitted, and weigh nothing.

    Returns:
        posterior mean [T, p]; covariance of the coefficients within and between settings [T, p, p]; noise variance [T].
    """
    size, stated = gram.shape[-1], settings.mean.shape[-1]
    width = (size - stated) // 2
    task, setting = possible.nonzero(as_tuple=True)  # [M] each: one regression
    free = torch.stack([settings.ridge, settings.curve], -1).repeat_interleave(width, -1)
    variance = torch.cat([settings.variance, free], -1)[setting]  # [M, p]
    mean = torch.cat([settings.mean, torch.zeros_like(free)], -1)[setting]
    noise, mine, given = settings.noise[setting], gram[task], cross[task]
    pulled = (mine @ mean[..., None])[..., 0]
    gap = (given - pulled) / noise[:, None]
    misfit = square[task] - 2 * (given * mean).sum(-1) + (pulled * mean).sum(-1)
    factor = torch.linalg.cholesky(mine / noise[:, None, None] + torch.diag_embed(1 / variance))
    moved = torch.cholesky_solve(gap[..., None], factor)[..., 0]
    determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_evidence = -0.5 * (
        count[task] * noise.log() + variance.log().sum(-1) + determinant + misfit / noise - (gap * moved).sum(-1)
    )
    weight = torch.full_like(counts, -torch.inf).index_put((task, setting), log_evidence)
    weight = (weight + settings.prior + counts).softmax(-1)  # [T, H]
    each = torch.zeros(*counts.shape, size, dtype=gram.dtype).index_put((task, setting), mean + moved)
    average = torch.einsum("th,thp->tp", weight, each)
    apart = each - average[:, None]
    between = torch.einsum("thp,thq->tpq", weight[..., None] * apart, apart)
    share, best = weight.topk(min(MOST_KEPT_SETTINGS, weight.shape[-1]), -1)
    share = (share / share.sum(-1, keepdim=True))[..., None, None]
    rows = torch.zeros(counts.shape, dtype=torch.long).index_put((task, setting), torch.arange(len(task)))
    kept = factor[rows.gather(-1, best)]  # where fewer are possible, the rest has no share
    covariance = between + (share * torch.cholesky_inverse(kept)).sum(1)
    return average, covariance, weight @ settings.noise


def _effective(weights: Tensor, seen: Tensor, slot: Tensor, like: Tensor) -> Tensor:
    """[B] weights scaled so that those of a task's observed goals sum to their effective number, (sum w)^2 / sum w^2 (Kish 1965): unequal weights say
    less than as many equal ones, and evidence counts what is said."""
    total, square = (_sums(slot, seen * part, like) for part in (weights, weights.square()))
    return weights * (total / square.clamp(min=1e-12))[slot]


def _put(old: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """`old` with some rows replaced; new: of these rows, or of all."""
    return old.index_copy(0, rows, (new if len(new) == len(rows) else new[rows]).to(old.dtype))


def _sums(slot: Tensor, values: Tensor, like: Tensor) -> Tensor:
    """Sums of rows by task, shaped as `like`."""
    return torch.zeros(like.shape, dtype=values.dtype).index_add(0, slot, values)


class _Facts:
    """What the facts about each task expect. Strengths are those of the graph that is given, relative to the task's strongest."""

    def __init__(self, tensors: GraphTensors, criteria: CriteriaGaussian) -> None:
        self.shape = criteria.columns.shape
        place = {
            (task, column): row * self.shape[1] + at
            for row, task in enumerate(criteria.tasks.tolist())
            for at, (column, valid) in enumerate(zip(criteria.columns[row].tolist(), criteria.valid[row].tolist(), strict=True))
            if valid
        }  # fmt: skip
        direct, bounds, chains = [], [], []
        facts = tensors.facts()
        into: dict[int, list[tuple[int, int, float]]] = {}
        for edge, source, target, sign in facts:
            into.setdefault(target, []).append((edge, source, sign))
        tasks = set(criteria.tasks.tolist())
        of_bounds = set(tensors.of_meaning["bound"].tolist())
        for edge, source, target, sign in facts:
            if target not in tasks:
                continue
            if (target, source) in place:
                direct.append((place[target, source], edge, sign))
                if edge in of_bounds:
                    bounds.append((place[target, source], edge, sign))
            for further, first, other in into.get(source, []):
                if (target, first) in place and first != target:
                    chains.append((place[target, first], edge, further, sign * other))
        self.direct, self.direct_sign = _columns_of(direct, 2)
        self.chains, self.chain_sign = _columns_of(chains, 3)
        self.bounds, _ = _columns_of(bounds, 2)

    def strengths(self, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """(signed weights of the linear direction, strengths of the bounds), [T, k] each."""
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=graph.strength.dtype)
        strength = graph.strength
        place, edge = self.direct
        signed = flat.index_add(0, place, self.direct_sign * strength[edge])
        place, first, second = self.chains
        signed = signed.index_add(0, place, 0.5 * self.chain_sign * strength[first] * strength[second])
        place, edge = self.bounds
        bounds = flat.index_add(0, place, strength[edge])
        return signed.view(self.shape), bounds.view(self.shape)

    def stated(self) -> tuple[Tensor, Tensor]:
        """bool [T] each: whether the file states a fact about the task; a bound of it. So it stays, whatever the strengths."""
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.bool)
        bounds = flat.index_fill(0, self.bounds[0], True)
        facts = flat.index_fill(0, torch.cat([self.direct[0], self.chains[0]]), True)
        return facts.view(self.shape).any(-1), bounds.view(self.shape).any(-1)

    def directions(self, filled: Tensor, z: Tensor, raw: Tensor, graph: GraphTensors, slot: Tensor) -> Tensor:
        """[B, D]. filled, z: [B, k] with and without gaps filled in; raw: [B, k] filled, in score units."""
        signed, bounds = self.strengths(graph)
        strongest = signed.abs().amax(-1, keepdim=True)
        signed, fade = signed / strongest.clamp(min=FAINT), (strongest / FAINT).clamp(max=1)[slot, 0]
        bounds = bounds / bounds.amax(-1, keepdim=True).clamp(min=FAINT)
        signed, bounds = signed[slot], bounds[slot]
        good = torch.where(signed < 0, 1 - raw, raw)
        share = signed.abs() / signed.abs().sum(-1, keepdim=True).clamp(min=1e-6)
        soft = -fade * ((-SOFTNESS * good).exp() * share).sum(-1).clamp(min=1e-9).log()
        passed = 1 - bounds * (1 - raw)
        return torch.stack(
            [(signed * filled).sum(-1), (signed * z).sum(-1), soft, passed.amin(-1), passed.prod(-1)], -1
        )


def _columns_of(
    rows: list[tuple[int, int, float]] | list[tuple[int, int, int, float]], width: int
) -> tuple[Tensor, Tensor]:
    """(int64 [width, n], signs [n]); the sign is the last of each row."""
    places = torch.tensor([row[:-1] for row in rows], dtype=torch.long).reshape(-1, width)
    return places.T, torch.tensor([row[-1] for row in rows], dtype=torch.float32)
