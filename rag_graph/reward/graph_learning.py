"""Reinforcement learning of the graph: strengths move by what raises J, the goal score on reserved episodes, once that is beyond chance.

| method | evidence about a strength | extra cost |
|---|---|---|
| none (the default) | the same as of alignment, for proposals only: no strength moves | none |
| alignment | covariance of both ends within their task; at a goal, on reserved episodes only. The covariance proxy of OL-AUX (Lin et al. 2019, NeurIPS) | none |
| meta_gradient | dJ/dg = sum_b kappa_b dR_b/dg through readout and encoder (LIRPG, Zheng et al. 2018, eq. 7); kappa_b is how far one more step on episode b would move the policy along the gradient of J | one backward and two forward passes of the policy |

What evidence wants of a strength starts at the file's and moves by RATE * mean / rms of the recent evidence, clipped to [0, 1]. The strength itself
is the file's until all evidence so far passes a threshold, then what is wanted; where it falls below again, the file's. A strength with `tuned: false`
never moves. The threshold is on e-processes (`Evidence.log_e`; Howard et al. 2021), by the rule of Wang & Ramdas (2022) for many at once (`sound`). It
holds at all updates together: where no relation means anything, no strength leaves the file's in 98% of the runs, however long these are.

Alignment centres within the task: the criterion by its mean in the same update, so what improves both ends from update to update is no
evidence; the goal, of which an update has few reserved scores, by its running mean. One exact centring is enough for an expectation of 0 without a
relation, whatever the lag of the other. Every answer counts once.

Facts and rules both have strengths. No relation changes its sign: where the data contradict a fact, or show one that the file lacks, there is a
proposal. A rule is what a researcher wants, and no data contradict it. Alignment is linear: it cannot tell a bound from an indication. Discovered
bounds come from `rag_graph.reward.imputers.prior`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.config import GraphLearningConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.proposal import Proposal
from rag_graph.reward.graph_tensors import SIGNS, GraphTensors
from rag_graph.reward.scores import Scores

RATE = 0.02
"""Step of a strength per update: where the evidence always agrees, a strength crosses [0, 1] in 50 updates."""
MEMORY = 0.95
"""Of the running means of the evidence, per update: about twenty updates."""
ERROR = 0.02
"""Share of noise among the strengths that are moved, and chance that one is where all is noise, over a whole run; the same for proposals."""
MIXTURE = 2.0
"""rho of the e-processes, in units of the variance of one update: they are strongest after some twenty updates."""
LEAST_VARIANCE = 1e-9
"""Of the evidence in score units to the fourth: an end that does not vary says nothing, whatever rounding leaves of it."""
LEAST_UPDATES = 10
"""Before, nothing is known of how much evidence varies from update to update."""
MIN_CORRELATION = 0.1
"""A proposal needs a correlation of this size."""


def sound(log_e: Tensor, error: float, asked: Tensor) -> Tensor:
    """bool [K]: e-BH (Wang & Ramdas 2022, JRSS B 84, 822). The k largest are sound where the k-th is at least K / (k error).

    At every time the expected share of noise among them is at most `error`. Where all is noise, the mean of the e-processes is one as well, so the
    chance that anything is ever sound is at most `error` (Ville 1939).

    Args:
        log_e: [K] logarithms of e-processes.
        error: in (0, 1).
        asked: bool [K]; the others do not count in K, and are never sound.
    """
    log_e = torch.where(asked, log_e, -torch.inf)
    ordered = log_e.sort(descending=True).values
    rank = torch.arange(1, len(log_e) + 1, device=log_e.device)
    enough = ordered >= torch.log(asked.sum() / (rank * error))
    least = torch.where(enough, ordered, torch.inf)
    return asked & (log_e >= (least.amin() if len(least) else torch.inf))


class Evidence(nn.Module):
    """Running evidence of K hypotheses, one number per update and hypothesis, and how far it is beyond chance."""

    mean: Tensor  # [K] running mean of the evidence
    square: Tensor  # [K] running mean of its square
    noise: Tensor  # [K] running mean of its variance if there were no effect
    weight: Tensor  # [K] what the three sum their weights to
    updates: Tensor  # [K] updates with evidence
    total: Tensor  # [K] sum of the evidence, in units of its usual noise
    variance: Tensor  # [K] sum of its variances, in squares of these units

    def __init__(self, number: int) -> None:
        super().__init__()
        for name in ("mean", "square", "noise", "weight", "updates", "total", "variance"):
            self.register_buffer(name, torch.zeros(number))

    def add(self, evidence: Tensor, seen: Tensor, variance: Tensor | None = None) -> None:
        """
        Args:
            evidence: [K], of any scale.
            seen: bool [K], where there is any.
            variance: [K] of the evidence if there is no effect, estimated from the parts that it is the sum of: the sum of their squares. Without,
                its own square: then an update is all one part.
        """
        evidence = torch.where(seen, evidence, 0.0)
        variance = evidence**2 if variance is None else torch.where(seen, variance, 0.0)
        keep = torch.where(seen, MEMORY, 1.0)
        self.mean = keep * self.mean + (1 - keep) * evidence
        self.square = keep * self.square + (1 - keep) * evidence**2
        self.noise = keep * self.noise + (1 - keep) * variance
        self.weight = keep * self.weight + (1 - keep)
        self.updates = self.updates + seen.to(self.updates.dtype)
        # In units of what is usual of late, so that no single update outweighs the others. The unit does not depend on signs.
        unit = (self.noise / self.weight.clamp(min=1e-12)).sqrt() + 1e-8
        self.total = self.total + evidence / unit
        self.variance = self.variance + variance / unit**2

    @property
    def direction(self) -> Tensor:
        """[K] in [-1, 1]: recent mean / recent rms."""
        weight = self.weight.clamp(min=1e-12)
        return self.mean / weight / ((self.square / weight).sqrt() + 1e-8)

    @property
    def log_e(self) -> Tensor:
        """[K] logarithm of the e-process against "no effect": the two-sided normal mixture sqrt(rho / (V + rho)) exp(S^2 / (2 (V + rho))) of Robbins
        (1970; Howard et al. 2021, Annals of Statistics 49, eq. 14), S the sum of the evidence and V of its variances (self-normalised, de la Pena 1999).

        The parts of an update may be alike, such as the answers to one prompt. So V is multiplied by how much more the evidence varies from
        update to update than its parts say, if it does (the design effect, Kish 1965).
        """
        spread = self.square / self.weight.clamp(min=1e-12) - (self.mean / self.weight.clamp(min=1e-12)) ** 2
        design = (spread * self.weight / self.noise.clamp(min=1e-12)).clamp(min=1)
        total = self.variance * design + MIXTURE
        log_e = (self.total**2 / total + torch.log(MIXTURE / total)) / 2
        return torch.where(self.updates >= LEAST_UPDATES, log_e, -torch.inf)


class GraphLearner(nn.Module):
    """Moves strengths by evidence, except those that the file freezes. Holds all of its state in buffers."""

    wanted: Tensor  # [E] where the evidence moves the strengths, whether it passes the threshold or not

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: GraphLearningConfig) -> None:
        super().__init__()
        self.warm_up = config.warm_up
        sign = torch.zeros(len(tensors.strength))
        for meaning, value in SIGNS.items():
            sign[tensors.of_meaning[meaning]] = value
        self.register_buffer("sign", sign, persistent=False)
        self.register_buffer("movable", torch.from_numpy(graph.tuned) & (sign != 0), persistent=False)
        self.register_buffer("of_file", tensors.strength.clone(), persistent=False)
        self.register_buffer("wanted", tensors.strength.clone())
        self.of_edges = Evidence(len(sign))

    sign: Tensor
    movable: Tensor
    of_file: Tensor

    def step(self, evidence: Tensor, seen: Tensor, variance: Tensor | None = None) -> Tensor:
        """New strengths [E] from what speaks for more strength [E], where there is any (seen: bool [E]); variance: see `Evidence.add`."""
        found = self.of_edges
        found.add(evidence, seen, variance)
        ready = seen & self.movable & (found.updates > self.warm_up)
        moved = (self.wanted + RATE * found.direction).clamp(0, 1)
        self.wanted = torch.where(ready, moved, self.wanted)
        agrees = (self.wanted - self.of_file) * found.total > 0
        return torch.where(sound(found.log_e, ERROR, self.movable) & agrees, self.wanted, self.of_file)


class Alignment(GraphLearner):
    """Evidence of an edge, and of every pair of a criterion and a goal task that no fact of the file relates."""

    goal_sum: Tensor  # [T] with goal_weight: the running mean of the goal of each task
    goal_weight: Tensor
    moments: Tensor  # [5, pairs]: answers, and sums of xy, xx, yy, xxyy within tasks

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: GraphLearningConfig) -> None:
        super().__init__(graph, tensors, config)
        edges = [(j, i) for j, i in tensors.edge_index.T.tolist()]
        self.num_edges = len(edges)
        self.facts = [graph.role(edge) == "fact" for edge in graph.spec.edges]
        related = [pair for pair, fact in zip(edges, self.facts, strict=True) if fact]
        pairs = edges + tensors.criteria_of_goals(graph, related)
        ends = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        tasks = torch.tensor([row for row, kind in enumerate(graph.kinds.values()) if kind == "task"])
        task_row = torch.zeros(len(graph.nodes), dtype=torch.long)
        task_row[tasks] = torch.arange(len(tasks))
        of_goal: list[list[int]] = [[] for _ in range(len(tasks))]  # what each goal makes a pair with
        at = []
        for j, i in pairs[self.num_edges :]:
            row = int(task_row[i])
            at.append((row, len(of_goal[row])))
            of_goal[row].append(j)
        most = max(map(len, of_goal), default=0)
        constants = {"source": ends[:, 0], "target": ends[:, 1], "task_row": task_row}
        constants["of_goal"] = torch.tensor([row + [0] * (most - len(row)) for row in of_goal], dtype=torch.long)
        constants["place"] = torch.tensor([row * most + column for row, column in at], dtype=torch.long)
        constants["is_goal"] = tensors.goal > 0
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("goal_sum", torch.zeros(len(tasks)))
        self.register_buffer("goal_weight", torch.zeros(len(tasks)))
        self.register_buffer("moments", torch.zeros(5, len(pairs)))
        self.of_pairs = Evidence(len(pairs))

    source: Tensor
    target: Tensor
    task_row: Tensor
    of_goal: Tensor  # int64 [T, K] padded with 0
    place: Tensor  # int64 [pairs with a goal] where each stands in it, counted row by row
    is_goal: Tensor

    def evidence(self, scores: Scores) -> tuple[Tensor, Tensor, Tensor]:
        """Take in an update: [pairs] what it says, sum of products / sqrt(number of answers); whether it says anything; its variance.

        Args:
            scores: at the episodes' own goals, of reserved episodes only (`with_reserved_goals`).
        """
        centred, observed = self._centred(scores)
        source, target = self.source[: self.num_edges], self.target[: self.num_edges]
        x, y = centred.index_select(1, source), centred.index_select(1, target)
        both = (observed.index_select(1, source) & observed.index_select(1, target)).to(x.dtype)
        of_edges = torch.stack([(part * both).sum(0) for part in (torch.ones_like(x), x * y, x**2, y**2, (x * y) ** 2)])
        # A pair with a goal meets in episodes of that task alone.
        row = self.task_row[scores.tasks]
        mine = self.of_goal[row]
        y, known = (part.gather(1, scores.tasks[:, None]) for part in (centred, observed.to(centred.dtype)))
        x, there = centred.gather(1, mine), observed.gather(1, mine).to(centred.dtype)  # [B, K]
        met = torch.stack([known * there, y * x, known * x**2, y**2 * there, (y * x) ** 2])
        sums = torch.zeros(len(met), *self.of_goal.shape).index_add(1, row, met)
        found = torch.cat([of_edges, sums.flatten(1)[:, self.place]], 1)
        self.moments = self.moments + found
        answers = found[0].clamp(min=1)
        value, variance = found[1] / answers.sqrt(), found[4] / answers
        seen = variance > LEAST_VARIANCE
        self.of_pairs.add(value, seen, variance)
        return value, seen, variance

    def _centred(self, scores: Scores) -> tuple[Tensor, Tensor]:
        """(scores less their mean in the task [B, N], 0 where not observed; bool [B, N] observed): the goal by its running mean, all else by
        the mean of this update."""
        same = (scores.tasks[:, None] == scores.tasks).to(scores.values.dtype)  # [B, B]
        means = (same @ scores.filled) / (same @ scores.observed.to(same.dtype)).clamp(min=1)  # [B, N]
        at, row = scores.is_task & self.is_goal, self.task_row[scores.tasks]
        goal, known = ((part * at).sum(-1) for part in (scores.filled, scores.observed))
        self.goal_sum = (MEMORY * self.goal_sum).index_add(0, row, goal)
        self.goal_weight = (MEMORY * self.goal_weight).index_add(0, row, known.to(goal.dtype))
        goal_mean = (self.goal_sum / self.goal_weight.clamp(min=1e-6))[row]  # [B]
        centred = scores.filled - torch.where(at, goal_mean[:, None], means)
        return torch.where(scores.observed, centred, 0.0), scores.observed

    def align(self, scores: Scores) -> Tensor:
        """New strengths [E]; scores: see `evidence`."""
        found, seen, variance = (part[: self.num_edges] for part in self.evidence(scores))
        return self.step(self.sign * found, seen, variance)

    @property
    def correlation(self) -> Tensor:
        """[pairs] within tasks, over all answers so far."""
        _, xy, xx, yy, _ = self.moments
        found: Tensor = xy / (xx * yy).sqrt().clamp(min=1e-9)
        return found

    def proposals(self, graph: AuxiliaryGraph) -> list[Proposal]:
        """Facts that the data contradict, or that the file lacks; the strongest first."""
        found: list[tuple[float, Proposal]] = []
        asked = self.of_pairs.updates > 0
        clear = sound(self.of_pairs.log_e, ERROR, asked) & (self.correlation.abs() >= MIN_CORRELATION)
        for pair in clear.nonzero().flatten().tolist():
            correlation, answers = float(self.correlation[pair]), int(self.moments[0, pair])
            source, target = graph.nodes[int(self.source[pair])], graph.nodes[int(self.target[pair])]
            looks = "indicates" if correlation > 0 else "indicates_low"
            updates = int(self.of_pairs.updates[pair])
            evidence = f"correlation within the task {correlation:+.2f} over {answers} answers in {updates} updates"
            if pair >= self.num_edges:
                found.append((abs(correlation), Proposal("relation", source, target, "", looks, evidence)))
            elif self.facts[pair] and float(self.sign[pair]) * correlation < 0:
                name = graph.spec.edges[pair].relation
                found.append((abs(correlation), Proposal("flip", source, target, name, looks, evidence)))
        return [proposal for _, proposal in sorted(found, key=lambda pair: -pair[0])]


def with_reserved_goals(scores: Scores, goal: Tensor, reserved: Tensor, goal_weight: Tensor) -> Scores:
    """The scores in which a goal is known on reserved episodes only; a task without a goal weight [N] is no secret.

    Args:
        goal: [B], read where reserved; reserved: bool [B].
    """
    at = scores.is_task & (goal_weight > 0)
    values = torch.where(at, goal[:, None], scores.values)
    return scores._replace(values=values, observed=torch.where(at, reserved[:, None], scores.observed))
