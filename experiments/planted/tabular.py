"""A tabular policy on the planted task, trained by clipped policy gradient with the package's own reward model.

All seeds of an arm are one batch: `torch.func.vmap` runs S independent `RewardModel`s, and one Adam updates all their parameters. So the
experiment measures the code that `GraphReward` uses, without the variance of a language model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from task import LENGTH, NOISE, VOCABULARY, PlantedTask
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from rag_graph.config import RewardConfig
from rag_graph.reward.imputers.graph_network import HEADS
from rag_graph.reward.imputers.prior import StructuralPrior
from rag_graph.reward.learning import FIRST_SWEEPS
from rag_graph.reward.memory import EPISODES
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings

PROMPTS, SAMPLES, UPDATES = 8, 8, 150
FIT_EVERY = 3
"""Updates between two closed-form fits: a batch here has 64 episodes, and a fit sees 2048."""
BATCH = PROMPTS * SAMPLES
LEARNING_RATE, CLIP, EPOCHS = 0.35, 0.2, 2
AUXILIARY_OBSERVED = 0.6


class _Method(nn.Module):
    """Calls a method of a module by name: what `functional_call` can be given. One that moves buffers returns them."""

    def __init__(self, model: RewardModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, name: str, scores: Scores, *args: Any) -> Any:
        result = getattr(self.model, name)(scores, *args)
        return result if name in ("forward", "loss", "predict_goal") else dict(self.named_buffers())


class Replicas:
    """S independent copies of a `RewardModel`, as one."""

    def __init__(self, make: Callable[[int], RewardModel], seeds: list[int], config: RewardConfig) -> None:
        models = [_Method(make(seed)) for seed in seeds]
        self.models, self.one, self.config = models, models[0], config
        self.batched = self.one.model.imputer.in_state
        parameters, buffers = stack_module_state(models)  # type: ignore[arg-type]
        self.parameters: dict[str, Tensor] = parameters
        self.buffers: dict[str, Tensor] = buffers
        prior = [p for name, p in parameters.items() if "imputer.base" in name]
        networks = [p for name, p in parameters.items() if "imputer.base" not in name]
        groups = [(networks, config.learning_rate, 1e-4), (prior, 10 * config.learning_rate, 0.0)]
        made = [{"params": ps, "lr": lr, "weight_decay": wd} for ps, lr, wd in groups if ps]
        self.optimizer = torch.optim.AdamW(made) if made else None

    def call(self, name: str, scores: Scores, *args: Any, dims: tuple[int | None, ...] = ()) -> Any:
        """A method of every copy; `dims` says which of `args` have a dimension of copies. Copies that are no tensors are called one by one."""
        if not self.batched:
            return self._one_by_one(name, scores, *args, dims=dims)

        def one(parameters: Any, buffers: Any, values: Tensor, observed: Tensor, *rest: Any) -> Any:
            batch = Scores(values, observed, scores.retrieved, scores.tasks)
            return functional_call(self.one, (parameters, buffers), (name, batch, *rest))

        in_dims = (0, 0, 0, 0, *(dims or (None,) * len(args)))
        return vmap(one, in_dims=in_dims)(self.parameters, self.buffers, scores.values, scores.observed, *args)

    def _one_by_one(self, name: str, scores: Scores, *args: Any, dims: tuple[int | None, ...]) -> Any:
        found = []
        for s, model in enumerate(self.models):
            state = tuple({key: value[s] for key, value in part.items()} for part in (self.parameters, self.buffers))
            batch = scores._replace(values=scores.values[s], observed=scores.observed[s])
            rest = [arg if dim is None else arg[s] for arg, dim in zip(args, dims or (None,) * len(args), strict=True)]
            found.append(functional_call(model, state, (name, batch, *rest)))
        if isinstance(found[0], dict):
            return {key: torch.stack([one[key] for one in found]) for key in found[0]}
        return type(found[0])(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    def move(self, name: str, scores: Scores, *args: Any, dims: tuple[int | None, ...] = ()) -> None:
        """Call a method that moves buffers."""
        self.buffers = {k: value.detach() for k, value in self.call(name, scores, *args, dims=dims).items()}

    def observe(self, scores: Scores) -> None:
        self.move("observe", scores)

    def fit(self, scores: Scores, generator: torch.Generator, update: int) -> None:
        """scores: [S, buffer, N]."""
        readout = self.one.model.readout
        if readout.fit == "closed_form" and update % FIT_EVERY == 0:
            self.move("refit", scores, 1 + FIRST_SWEEPS // (1 + update // FIT_EVERY))
        if readout.fit != "gradient" or self.optimizer is None:
            return
        replicas, rows, nodes = scores.values.shape
        size = min(self.config.fit_batch, rows)
        for _ in range(self.config.fit_steps):
            chosen = torch.randint(rows, (size,), generator=generator)
            part = Scores(
                scores.values[:, chosen], scores.observed[:, chosen], scores.retrieved[:size], scores.tasks[:size]
            )
            uniform = torch.rand((replicas, size, nodes), generator=generator)
            # Which head sees a row depends on the row alone.
            halves = 2.0 * ((chosen[:, None] * 2654435761 >> (7 + 3 * torch.arange(HEADS))) & 1)
            loss = self.call("loss", part, uniform, halves, dims=(0, None)).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.project()

    @torch.no_grad()
    def project(self) -> None:
        """What `StructuralPrior.project` does, on all copies."""
        for name, parameter in self.parameters.items():
            if name.endswith("base.gamma"):
                parameter.clamp_(0, 1)
            elif name.endswith("base.slope"):
                parameter.clamp_(min=0)


@dataclass
class Result:
    final: Tensor  # [S] true goal score of the trained policy
    curve: Tensor  # [S, evaluations]
    reward: list[float] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def run(
    task: PlantedTask,
    graph_name: str,
    config: RewardConfig,
    share: float,
    seeds: list[int],
    updates: int = UPDATES,
    everything_observed: bool = False,
) -> Result:
    """Train a policy per seed; the goal is observed on a share of the episodes, other nodes on 60%."""
    generator = torch.Generator().manual_seed(seeds[0])
    count = len(seeds)
    graph = task.graph(graph_name)
    text = TextEmbeddings().of_graph(graph)

    def make(seed: int) -> RewardModel:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return RewardModel(graph, config, text)

    replicas = Replicas(make, seeds, config)
    keys, anti = secrets(seeds)
    logits = torch.zeros(count, PROMPTS, LENGTH, VOCABULARY, requires_grad=True)
    prompt = torch.arange(PROMPTS).repeat_interleave(SAMPLES)
    nodes = len(task.nodes)
    learning, fit = replicas.one.model.method, replicas.one.model.readout.fit
    still = Scores(torch.empty(0), torch.empty(0), torch.zeros(BATCH, nodes), torch.zeros(BATCH, dtype=torch.long))
    kept: list[tuple[Tensor, Tensor]] = []
    curve, rewards = [], []
    probability = torch.full((nodes,), AUXILIARY_OBSERVED)
    probability[0] = 1.0 if everything_observed else share
    for update in range(updates):
        with torch.no_grad():
            tokens = sample(logits, prompt, generator)
            true = task.scores(tokens, keys[:, prompt], anti[:, prompt])
            measured = (true + NOISE * torch.randn(true.shape, generator=generator)).clamp(0, 1)
            observed = torch.rand(true.shape, generator=generator) < probability
            # Equal cost: of the goals that are scored, half are reserved for the graph where it learns.
            reserved = observed[..., 0] & (torch.rand(observed.shape[:-1], generator=generator) < 0.5)
            if learning == "none":
                reserved = torch.zeros_like(reserved)
            observed[..., 0] &= ~reserved
            scores = still._replace(values=measured, observed=observed)
            eta = config.auxiliary + (config.auxiliary_end - config.auxiliary) * update / (updates - 1)
            paid = replicas.call("forward", scores, eta)
            reward, counts = (paid.values * paid.weights).sum(-1), paid.paid
            rewards.append(float(reward.mean()))
            if learning == "meta_gradient":
                influence = influence_on_goal(logits, prompt, tokens, measured[..., 0], reserved)
        policy_step(logits, prompt, tokens, reward, counts)
        replicas.observe(scores)
        kept = [*kept, (measured, observed)][-(EPISODES // BATCH) :]
        if fit != "none":
            values, seen = (torch.cat(part, 1) for part in zip(*kept, strict=True))
            rows = values.shape[1]
            memory = Scores(values, seen, torch.zeros(rows, nodes), torch.zeros(rows, dtype=torch.long))
            replicas.fit(memory, generator, update)
        replicas.move("settle", scores)
        if learning in ("alignment", "meta_gradient"):
            replicas.move("align", scores, measured[..., 0], reserved, dims=(0, 0))
        if learning == "meta_gradient":
            replicas.move("meta_step", scores, influence, eta, dims=(0, None))
        if update % 10 == 9 or update == 0:
            curve.append(evaluate(task, logits, keys, anti, generator))
    extra = {name.removeprefix("model."): value for name, value in (replicas.parameters | replicas.buffers).items()}
    base = replicas.one.model.imputer.base
    gates = []
    if isinstance(base, StructuralPrior):
        gates = list(zip(base.gate_source.tolist(), base.gate_target.tolist(), strict=True))
    return Result(curve[-1], torch.stack(curve, 1), rewards, {"state": extra, "graph": graph, "gates": gates})


def secrets(seeds: list[int]) -> tuple[Tensor, Tensor]:
    """Keys and anti-keys [S, P, T], symbols 1 to V-1, different everywhere; a function of each seed alone."""
    keys, anti = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(100_000 + seed)
        key = torch.randint(1, VOCABULARY, (PROMPTS, LENGTH), generator=generator)
        keys.append(key)
        anti.append((key - 1 + torch.randint(1, VOCABULARY - 1, key.shape, generator=generator)) % (VOCABULARY - 1) + 1)
    return torch.stack(keys), torch.stack(anti)


def sample(logits: Tensor, prompt: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = torch.softmax(logits, -1)[:, prompt]
    shape = probabilities.shape[:-1]
    return torch.multinomial(probabilities.reshape(-1, VOCABULARY), 1, generator=generator).view(shape)


def policy_step(logits: Tensor, prompt: Tensor, tokens: Tensor, reward: Tensor, counts: Tensor) -> None:
    """PPO's clipped objective with a leave-one-out baseline per prompt; every prompt has a table of its own."""
    count = reward.shape[0]
    with torch.no_grad():
        grouped, included = (x.view(count, PROMPTS, SAMPLES) for x in (reward.float(), counts.float()))
        number = included.sum(-1, keepdim=True)
        mean = (grouped * included).sum(-1, keepdim=True) / number.clamp(min=1)
        others = torch.where(number > 1, (mean * number - grouped) / (number - 1).clamp(min=1), mean)
        advantage = ((grouped - others) * included).view(count, BATCH)
        deviation = ((advantage**2).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)).sqrt()
        advantage = torch.where(deviation > 1e-6, advantage / (deviation + 1e-6), 0.0)
        old = log_probability(logits, prompt, tokens)
    for _ in range(EPOCHS):
        ratio = (log_probability(logits, prompt, tokens) - old).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        loss = -((surrogate * counts).sum(1) / counts.sum(1).clamp(min=1)).sum() * PROMPTS
        (gradient,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            logits -= LEARNING_RATE * gradient


@torch.no_grad()
def influence_on_goal(
    logits: Tensor, prompt: Tensor, tokens: Tensor, goal: Tensor, reserved: Tensor, step: float = 1e-3
) -> Tensor:
    """[S, B] change of each episode's log-probability along the gradient of the reserved goal: two evaluations."""
    number = reserved.sum(1, keepdim=True).clamp(min=1)
    mean = (goal * reserved).sum(1, keepdim=True) / number
    advantage = torch.where(reserved, goal - mean, 0.0) / number
    with torch.enable_grad():
        value = (log_probability(logits, prompt, tokens) * advantage).sum()
        (gradient,) = torch.autograd.grad(value, logits)
    along = gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
    return (
        log_probability(logits + step * along, prompt, tokens) - log_probability(logits - step * along, prompt, tokens)
    ) / (2 * step)


def log_probability(logits: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1)[:, prompt].gather(-1, tokens[..., None])[..., 0].sum(-1)


@torch.no_grad()
def evaluate(task: PlantedTask, logits: Tensor, keys: Tensor, anti: Tensor, generator: torch.Generator) -> Tensor:
    prompt = torch.arange(PROMPTS).repeat_interleave(4 * SAMPLES)
    tokens = sample(logits, prompt, generator)
    return task.scores(tokens, keys[:, prompt], anti[:, prompt])[..., 0].mean(1)
