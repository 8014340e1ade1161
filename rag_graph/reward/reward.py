"""`GraphReward`: the reward function that a trainer calls, with the signature of TRL's GRPO rewards.

Calling it moves no statistic; `update`, called once per policy update, moves the running statistics and fits the imputer (score
first, fit after). Trainers that do not call `update` (TRL's GRPO and RLOO) take the callback `LearningRewards`, which has the reward
learn from the episodes that it was asked about since the last update. What is observed of the goal is drawn per (episode, response) from a hash, so that chunks, repeats and
logging see the same mask; where it is hidden, so is every criterion that compares with the reference.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import REFERENCE_METRICS, Episode, NodeRewards
from rag_graph.reward.graph_tensors import GraphTensors, katz_credit
from rag_graph.reward.imputation import Imputer
from rag_graph.reward.readout import RunningMoments, aggregate, gate, graph_weights, own_weights

FIT_BATCH = 256


class GraphReward:
    """Node scores of episodes -> rewards.

    Args:
        graph: the auxiliary graph.
        config: readout, eta, share of observed goals, imputer.
        score: an episode -> scores of its nodes; absent where not observable (`NodeScorer.score`).
        make_episodes: columns of a trainer's batch -> episodes without scores.
        seed: of the observation mask and of the imputer.
    """

    __name__ = "graph_reward"

    def __init__(
        self, graph: AuxiliaryGraph, config: RewardConfig, score: Any, make_episodes: Any, seed: int = 0
    ) -> None:
        self.graph = graph
        self.config = config
        self.score_episode = score
        self.make_episodes = make_episodes
        self.seed = seed
        self.tensors = GraphTensors.of(graph)
        if not bool((self.tensors.goal > 0).any()):
            raise ConfigError(
                f"graph '{graph.name}': no task has a goal weight, so there is nothing to reward. Give a task 'goal: 1.0'."
            )
        katz_credit(
            self.tensors.goal[None], self.tensors.matrix("credit"), config.damping
        )  # a credit that diverges is refused now
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.imputer = Imputer(graph, self.tensors, config)
        self.optimizer = torch.optim.AdamW(self.imputer.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        self.moments = RunningMoments.start(len(graph.nodes))
        self.generator = torch.Generator().manual_seed(seed)
        self.buffer: deque[tuple[Tensor, ...]] = deque(maxlen=config.buffer_size)
        self.progress = 0.0
        """Share of training done, in [0, 1]; eta falls along it."""
        self.last_episodes: list[Episode] = []
        self.last_rewards: NodeRewards | None = None
        self.last_loss = float("nan")
        self._heard: dict[tuple[str, str], tuple[Episode, int]] = {}

    @property
    def auxiliary(self) -> float:
        """eta: current weight of everything that is not the goal itself."""
        return self.config.auxiliary + (self.config.auxiliary_end - self.config.auxiliary) * self.progress

    # ------------------------------------------------------------------ scoring

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        """Scalar reward of each completion; None where nothing that pays was observed.

        TRL's GRPO and RLOO pass `log_metric`: through it the metrics of the last update reach their logs.
        """
        episodes = self._scored(prompts, completions, completion_ids, columns)
        self._hear(episodes)
        if "log_metric" in columns:
            for name, value in self.metrics().items():
                columns["log_metric"](name, value)
        total = self.node_rewards(episodes).total().tolist()
        return [None if value != value else value for value in total]

    def _scored(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        columns: Mapping[str, list[Any]],
    ) -> list[Episode]:
        episodes = self.make_episodes(prompts, completions, completion_ids, **columns)
        scored = []
        for episode in episodes:
            try:
                scores = self.score_episode(episode)
            except Exception as error:  # a scorer may be anyone's code, and a bad episode is data, not a crash
                scored.append(replace(episode, error=f"{type(error).__name__}: {error}"))
                continue
            if not self.goal_is_observed(episode):
                scores = {name: value for name, value in scores.items() if not self._reads_references(name)}
            scored.append(episode.with_scores(scores))
        return scored

    def _hear(self, episodes: Sequence[Episode]) -> None:
        """Remember who was asked about, until the next update: asking again, in chunks or for a log, adds nothing."""
        counts: dict[tuple[str, str], int] = {}
        for episode in episodes:
            key = episode.id, episode.response
            counts[key] = counts.get(key, 0) + 1
            self._heard[key] = episode, max(counts[key], self._heard.get(key, (episode, 0))[1])
        while len(self._heard) > self.config.buffer_size:
            del self._heard[next(iter(self._heard))]

    def heard(self) -> list[Episode]:
        """The scored episodes that were asked about since the last update, each as often as one call named it; forgets them."""
        episodes = [episode for episode, count in self._heard.values() for _ in range(count)]
        self._heard.clear()
        return episodes

    def goal_is_observed(self, episode: Episode) -> bool:
        """True for a share `goal_observed` of (episode, response) pairs, always the same ones."""
        if self.graph.spec.tasks[episode.example.task].goal == 0:
            return True
        digest = hashlib.blake2b(f"{self.seed}\0{episode.id}\0{episode.response}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64 < self.config.goal_observed

    def _reads_references(self, node: str) -> bool:
        """True where a node's score gives the hidden goal away: a task, or a criterion that compares with the reference."""
        criterion = self.graph.spec.criteria.get(node)
        return criterion is None or criterion.metric in REFERENCE_METRICS

    def tensors_of(self, episodes: Sequence[Episode]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """scores [B, N] (0 where unobserved), observed [B, N], retrieved [B, N], tasks [B]."""
        size = len(self.graph.nodes)
        scores, retrieved = torch.zeros(len(episodes), size), torch.zeros(len(episodes), size)
        observed = torch.zeros(len(episodes), size, dtype=torch.bool)
        tasks = torch.tensor([self.graph.index[episode.example.task] for episode in episodes], dtype=torch.long)
        for row, episode in enumerate(episodes):
            for name, value in episode.scores.items():
                scores[row, self.graph.index[name]] = value
                observed[row, self.graph.index[name]] = True
            for piece in episode.evidence:
                column = self.graph.index[piece.context.node]
                retrieved[row, column] = max(float(retrieved[row, column]), 1 / piece.rank)
        return scores, observed, retrieved, tasks

    @torch.no_grad()
    def node_rewards(self, episodes: Sequence[Episode]) -> NodeRewards:
        """Rewards of scored episodes, by the current statistics; changes nothing. A failed episode pays nothing."""
        rewards = self._read_out(*self.tensors_of(episodes))
        failed = torch.tensor([bool(episode.error) for episode in episodes])
        return replace(rewards, paid=rewards.paid & ~failed & (rewards.weights != 0).any(-1))

    def _read_out(self, scores: Tensor, observed: Tensor, retrieved: Tensor, tasks: Tensor) -> NodeRewards:
        nodes = self.graph.nodes
        everyone = torch.ones(len(tasks), dtype=torch.bool)
        if self.config.readout == "graph":
            filled = torch.where(observed, scores, self.imputer(scores, observed, retrieved, tasks))
            values = self.moments.normalise(self._gated(filled, tasks))
            weights = graph_weights(self.tensors, tasks, self.auxiliary, self.config.damping)
            return NodeRewards(nodes, values, observed, weights, filled, everyone)
        # The baselines know no imputation: a missing score stands at its running mean, z = 0.
        values = torch.where(observed, self.moments.normalise(scores), torch.zeros_like(scores))
        filled = torch.where(observed, scores, self.moments.mean.expand_as(scores))
        if self.config.readout == "flat":
            return NodeRewards(
                nodes, values, observed, own_weights(self.tensors, tasks, self.auxiliary), filled, everyone
            )
        weights = own_weights(self.tensors, tasks, 0.0)
        goal_observed = observed.gather(1, tasks[:, None]).squeeze(1)
        return NodeRewards(nodes, values, observed, weights, filled, goal_observed)

    def _gated(self, filled: Tensor, tasks: Tensor) -> Tensor:
        return gate(aggregate(filled, self.tensors, self.tensors.applies[tasks]), self.tensors)

    # ------------------------------------------------------------------ learning

    def update(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> None:
        """Learn from one update's episodes, after they were scored: running statistics, then the imputer."""
        self.learn(self._scored(prompts, completions, completion_ids, columns))

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Take scored episodes into the statistics and the buffer, and fit the imputer on the buffer."""
        self._heard.clear()
        self.last_episodes, self.last_rewards = list(episodes), self.node_rewards(episodes)
        scores, observed, retrieved, tasks = self.tensors_of(episodes)
        if self.config.readout == "graph":
            self.imputer.observe(scores, observed)
            with torch.no_grad():
                filled = torch.where(observed, scores, self.imputer(scores, observed, retrieved, tasks))
                self.moments.update(self._gated(filled, tasks), observed)
            self.buffer.extend(zip(scores, observed, retrieved, tasks, strict=True))
            self._fit()
        else:
            self.moments.update(scores, observed)

    def _fit(self) -> None:
        losses = []
        for _ in range(self.config.fit_steps):
            rows = torch.randint(
                len(self.buffer), (min(FIT_BATCH, len(self.buffer)),), generator=self.generator
            ).tolist()
            scores, observed, retrieved, tasks = map(torch.stack, zip(*(self.buffer[row] for row in rows), strict=True))
            loss = self.imputer.loss(scores, observed, retrieved, tasks, self.generator)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        if losses:
            self.last_loss = sum(losses) / len(losses)

    def state_dict(self) -> dict[str, Any]:
        """Everything that scoring and further learning depend on."""
        return {
            "imputer": dict(self.imputer.state_dict()),
            "moments": self.moments.state_dict(),
            "progress": self.progress,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "buffer": [torch.stack(column) for column in zip(*self.buffer, strict=True)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.imputer.load_state_dict(state["imputer"])
        self.moments.load_state_dict(state["moments"])
        self.progress = float(state["progress"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.buffer.clear()
        self.buffer.extend(zip(*state["buffer"], strict=True))
        self._heard.clear()

    def metrics(self) -> dict[str, float]:
        """Per node: mean score where observed, what it paid per episode it bears on, and how often it was observed."""
        if self.last_rewards is None:
            return {}
        rewards = self.last_rewards
        tasks = torch.tensor([self.graph.index[episode.example.task] for episode in self.last_episodes])
        in_play = self.tensors.applies[tasks]
        logged: dict[str, float] = {"reward/auxiliary_weight": self.auxiliary, "reward/imputer_loss": self.last_loss}
        for column, name in enumerate(rewards.nodes):
            mine = in_play[:, column] & rewards.paid
            if not mine.any():
                continue
            seen = mine & rewards.observed[:, column]
            logged[f"nodes/{name}/reward"] = (rewards.values * rewards.weights)[mine, column].mean().item()
            logged[f"nodes/{name}/observed"] = seen.sum().item() / mine.sum().item()
            logged[f"nodes/{name}/imputed"] = rewards.scores[mine, column].mean().item()
            if seen.any():
                logged[f"nodes/{name}/score"] = rewards.scores[seen, column].mean().item()
        return logged
