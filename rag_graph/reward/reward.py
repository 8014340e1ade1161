"""`GraphReward`: the reward function that a trainer calls, with the signature of TRL's GRPO rewards.

A call scores each episode once, pays it and keeps both; it moves no statistic. `learn`, called once per policy update, uses what was
kept: it moves the running statistics, fits the imputer and moves the graph (score first, fit after). So what was paid is what is learned
from. `GraphPPOTrainer` calls `learn` by itself; TRL's GRPO and RLOO take the callback `LearningRewards`.

`observation.py` decides what is observed, hidden and reserved; `learning.py` learns.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer, Scorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import warning_of_run
from rag_graph.graph.proposal import Proposal
from rag_graph.graph.reader import load_graph
from rag_graph.records import Episode, NodeRewards
from rag_graph.reward.attribution import attribute
from rag_graph.reward.batch import Batch, batch_of
from rag_graph.reward.diagnostics import mean_goals, node_metrics, node_scores, weighted_score
from rag_graph.reward.learning import RewardLearning
from rag_graph.reward.model import RewardModel
from rag_graph.reward.node_functions import NodeFunction, OneScoring, paying_nodes
from rag_graph.reward.observation import MakeEpisodes, Observation, ScoreNodes
from rag_graph.reward.readout import Paid
from rag_graph.reward.readouts import READOUTS, OwnReadout
from rag_graph.reward.text import HASHING, TextEmbeddings

MOST_KEPT = 65_536
"""Episodes that are kept between two updates at most."""


class PaidEpisode(NamedTuple):
    """A scored episode and what it was paid, each tensor [N]."""

    episode: Episode
    values: Tensor
    weights: Tensor
    scores: Tensor
    gates: Tensor
    paid: Tensor  # bool []


class ExpectedScore(NamedTuple):
    """A predicted score and its interval, in [0, 1]; NaN bounds where the readout's imputer has no predictive distribution."""

    mean: float
    low: float
    high: float


class GraphReward(Observation):
    """Node scores of episodes -> rewards.

    Args:
        graph: an auxiliary graph, a graph-definition file, or the name of a shipped graph.
        scorers: your own functions by node, for `NodeScorer`; or what scores all nodes, (episode, wanted nodes) -> their scores, absent
            where not observable (`NodeScorer.score`). None: every node by its metric in the file.
        config: readout, eta, share of observed and of reserved goals, imputer, graph learning. Default `RewardConfig()`.
        make_episodes: columns of a trainer's batch -> episodes without scores. Without it the reward takes scored episodes, no batches.
        seed: of the observation mask and of the imputer.
        embeddings: of node texts; needed where `config.text_encoder` is not 'hashing'.
        readout: a function of your own that pays: scores without gaps [B, N], graph, tasks [B] -> [B, N]. `config.readout` then says which
            imputer fills the gaps, and whether the graph learns. Or a `rag_graph.reward.readouts.Readout`, which says all of it.

    Raises:
        ConfigError: no goal task, credit that diverges, or an encoder that is named and not given.
    """

    __name__ = "graph_reward"

    def __init__(
        self,
        graph: AuxiliaryGraph | str | Path,
        scorers: Mapping[str, Scorer] | ScoreNodes | None = None,
        config: RewardConfig | None = None,
        make_episodes: MakeEpisodes | None = None,
        seed: int = 0,
        embeddings: TextEmbeddings | None = None,
        readout: OwnReadout | None = None,
    ) -> None:
        graph = load_graph(graph) if isinstance(graph, str | Path) else graph
        config = RewardConfig() if config is None else config
        if scorers is None or isinstance(scorers, Mapping):
            scorers = NodeScorer(graph, scorers=scorers).score
        super().__init__(graph, config, scorers, make_episodes or _no_batches, seed)
        if embeddings is None and config.text_encoder != HASHING:
            raise ConfigError(
                f"reward.text_encoder is '{config.text_encoder}' and no embeddings were given. Pass embeddings=TextEmbeddings(name, encode)."
            )
        if readout is None and config.auxiliary > 0 and (warning := warning_of_run(graph, config)):
            warnings.warn(warning, RuntimeWarning, stacklevel=2)
        self.embeddings = embeddings or TextEmbeddings()
        text = self.embeddings.of_graph(graph)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = RewardModel(graph, config, text, readout)
        self.learning = RewardLearning(self.model, config, text.shape[1], seed)
        self.progress = 0.0
        """Share of training that is done, in [0, 1]; eta falls with it."""
        self.kl = float("nan")
        """KL of the policy to its reference, if it is known; an alarm uses it."""
        self.updates = 0
        self.last_episodes: list[Episode] = []
        self.last_rewards: NodeRewards | None = None
        self.last_metrics: dict[str, float] = {}
        self._kept: deque[PaidEpisode] = deque(maxlen=MOST_KEPT)
        self._warned = False

    @property
    def auxiliary(self) -> float:
        """eta: current weight of everything that is not the goal itself."""
        return self.config.auxiliary + (self.config.auxiliary_end - self.config.auxiliary) * self.progress

    # ------------------------------------------------------------------ scoring

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        """Scalar reward of each completion; None where nothing that pays was observed.

        TRL's GRPO and RLOO pass `log_metric`: through it the mean scores of this batch reach their logs (`measure`; of an evaluation too), and
        the metrics of the last update.
        """
        if not prompts:
            return []
        rewards = self._pay_and_keep(prompts, completions, completion_ids, **columns)
        return [None if math.isnan(value) else value for value in rewards.total().tolist()]

    def node_functions(self) -> list[NodeFunction]:
        """One reward function per node that can pay, named after it, for trainers that aggregate several rewards themselves. They share one
        scoring per batch; what they return for an episode sums to its reward. Give a trainer these or the reward itself, never both."""
        shared = OneScoring(self._pay_and_keep)
        nodes = paying_nodes(self.model, max(self.config.auxiliary, self.config.auxiliary_end))
        return [NodeFunction(self.graph.nodes[node], node, shared) for node in nodes]

    def _pay_and_keep(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> NodeRewards:
        episodes = self.observe(self.make_episodes(prompts, completions, completion_ids, **columns))
        rewards = self.node_rewards(episodes)
        if len(self._kept) < MOST_KEPT <= len(self._kept) + len(episodes):
            warnings.warn(
                f"{MOST_KEPT} episodes were scored since the reward last learned; the oldest are forgotten. Call learn() after each update; "
                "in TRL's trainers the callback LearningRewards(reward) does.",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._kept and episodes and self._kept[-1].episode.round < episodes[0].round and not self._warned:
            self._warned = True
            warnings.warn(
                "this reward is asked about another update and has not learned from the one before: the trainer does not see it inside what wraps "
                "it. Wrap it by a class that derives from WrappedReward, or give the trainer the callback LearningRewards(reward).",
                RuntimeWarning,
                stacklevel=2,
            )
        scored = _rows(episodes, rewards)
        self._kept.extend(scored)
        if callable(columns.get("log_metric")):  # else it is a column of the data
            # Scores of this batch, which may be an evaluation's, and never those of the last update in their place.
            learned = {name: value for name, value in self.metrics().items() if not _is_mean_score(name)}
            for name, value in {**learned, **self.measure(scored)}.items():
                columns["log_metric"](name, value)
        return rewards

    def pay(self, episodes: Sequence[Episode]) -> list[PaidEpisode]:
        """The pay of scored episodes (see `observe`) by the current statistics. Nothing changes."""
        return _rows(episodes, self.node_rewards(episodes))

    @torch.no_grad()
    def predict_goal(self, episodes: Sequence[Episode], level: float = 0.8) -> list[ExpectedScore]:
        """What is expected of the goal of scored episodes from their other scores, their own goal hidden.

        Args:
            level: probability with which the interval covers the goal, in (0, 1).
        """
        batch = self.batch_of(episodes)
        columns = self.model.goal_interval(batch.scores, level, batch.contexts)
        return [ExpectedScore(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def take_kept(self) -> list[PaidEpisode]:
        """The episodes that the calls since the last update scored and paid, in order. They are forgotten here."""
        kept = list(self._kept)
        self._kept.clear()
        return kept

    def batch_of(self, episodes: Sequence[Episode]) -> Batch:
        """Scored episodes as tensors, with what was retrieved for each; reserved goals are not in them."""
        return batch_of(episodes, self.graph, self.embeddings, self.learning.memory.text_size)

    @torch.no_grad()
    def node_rewards(self, episodes: Sequence[Episode]) -> NodeRewards:
        """Rewards of scored episodes, by the current statistics; changes nothing. A failed episode pays nothing."""
        batch = self.batch_of(episodes)
        paid = self.model(batch.scores, self.auxiliary, batch.contexts)
        failed = torch.tensor([bool(episode.error) for episode in episodes], dtype=torch.bool)
        counts = paid.paid & ~failed & (paid.weights != 0).any(-1)
        return NodeRewards(
            self.graph.nodes, paid.values, batch.scores.observed, paid.weights, paid.scores, paid.gates, counts
        )

    # ------------------------------------------------------------------ learning

    def learn(self, kept: Sequence[PaidEpisode] | None = None) -> None:
        """Compare the predictions with scored episodes. Then update the statistics, fit the imputer and move the graph.

        Args:
            kept: what was scored and paid, of all processes; None: what this object kept. For episodes of your own:
                `reward.learn(reward.pay(reward.observe(episodes)))`.
        """
        kept = self.take_kept() if kept is None else kept
        if not kept:
            return
        self.learning.new_alarms = ()
        episodes = [one.episode for one in kept]
        batch = self.batch_of(episodes)
        paid = Paid(*map(torch.stack, list(zip(*kept, strict=True))[1:]))
        self.last_episodes = list(episodes)
        self.last_rewards = NodeRewards(
            self.graph.nodes, paid.values, batch.scores.observed, paid.weights, paid.scores, paid.gates, paid.paid
        )
        self.updates += 1
        sound = [row for row, episode in enumerate(episodes) if not episode.error]
        if not sound:
            self.last_metrics = {}
            return
        if len(sound) < len(episodes):
            episodes, batch = [episodes[row] for row in sound], batch.rows(sound)
            paid = Paid(*(column[sound] for column in paid))
        goal, reserved = self.reserved_goals(episodes)
        learned = self.learning.learn(batch, paid, goal, reserved, self.kl, self.auxiliary)
        self.last_metrics = self._of_nodes() | learned

    @property
    def new_alarms(self) -> Sequence[str]:
        """Messages of the alarms that started in the last update."""
        return self.learning.new_alarms

    def prefer(self, better: Episode, worse: Episode) -> None:
        """Say that one answered episode's goal is better than another's (Bradley & Terry 1952); learned from with every later fit.

        Args:
            better, worse: episodes of one task, with the scores that were observed.

        Raises:
            ConfigError: of different tasks, or a readout that learns no imputer.
        """
        if better.example.task != worse.example.task:
            raise ConfigError(
                f"a preference between tasks '{better.example.task}' and '{worse.example.task}': both must be of one."
            )
        if self.learning.optimizer is None:
            fitted = ", ".join(name for name, readout in READOUTS.items() if readout.fit == "gradient")
            raise ConfigError(
                f"readout '{self.config.readout}' learns no imputer that preferences could teach. Use one of {fitted}."
            )
        self.learning.memory.add_pair(self.batch_of([better]), self.batch_of([worse]))

    # ------------------------------------------------------------------ the graph

    @property
    def wants_influence(self) -> bool:
        """True where a trainer should call `held_out` and `move` before `learn`."""
        return self.model.method == "meta_gradient"

    def held_out(self) -> list[float | None]:
        """The goal score of each kept episode where it is reserved, None for the others: what J is made of."""
        goal, reserved = self.reserved_goals([one.episode for one in self._kept])
        return [value if known else None for value, known in zip(goal.tolist(), reserved.tolist(), strict=True)]

    def move(self, influence: Sequence[float]) -> None:
        """Move strengths by the meta-gradient; influence [B]: how far one more step on a kept episode moves the policy along the
        gradient of J."""
        batch = self.batch_of([one.episode for one in self._kept])
        self.model.meta_step(batch.scores, torch.tensor(influence), self.auxiliary, batch.contexts)

    def advance(self, progress: float, kl: float) -> None:
        """How much of the training is done, in [0, 1], and the policy's KL to its reference; NaN: not known."""
        self.progress = progress
        self.kl = self.kl if math.isnan(kl) else kl

    def learned_graph(self) -> AuxiliaryGraph:
        """The graph with the strengths as learned so far."""
        return self.graph.with_strengths(self._learned_strengths())

    def _learned_strengths(self) -> list[float]:
        strengths: list[float] = self.model.strength.tolist()
        return strengths

    def proposals(self) -> list[Proposal]:
        """Rules that the goal's own score contains already, and facts that look wrong or missing in the file. They are not applied."""
        return [
            *self.model.contained.proposals(self.graph),
            *self.model.gate_proposals(self.graph),
            *self.model.learner.proposals(self.graph),
        ]

    # ------------------------------------------------------------------ attribution

    def attribute(self, episode: Episode, method: str = "shapley") -> dict[str, float]:
        """The contribution of each node to the reward of a scored episode, compared with the node at its running mean.

        Args:
            method: 'shapley' (exact, at most 12 nodes in play; the values sum to reward - reward of the mean scores) or 'gradient'.

        Raises:
            ConfigError: too many nodes for 'shapley', or another method.
        """
        found = attribute(self.model, self.batch_of([episode]), self.auxiliary, method)
        return {self.graph.nodes[node]: share for node, share in found.items()}

    # ------------------------------------------------------------------ state and metrics

    def state_dict(self) -> dict[str, Any]:
        """All state of scoring and learning."""
        return {
            "model": dict(self.model.state_dict()),
            "progress": self.progress,
            "kl": self.kl,
            "updates": self.updates,
            **self.learning.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.progress, self.kl, self.updates = float(state["progress"]), float(state["kl"]), int(state["updates"])
        self.learning.load_state_dict(state)
        self._kept.clear()

    @torch.no_grad()
    def measure(self, kept: Sequence[PaidEpisode]) -> dict[str, float]:
        """How good scored episodes are, in score units: `score`, `score/TASK` and `nodes/NODE/score`, each in [0, 1]. Nothing changes.

        A goal counts as it is where it is observed or reserved, else by its prediction; see `diagnostics.mean_goals`. A trainer logs
        this of held-out answers, as `eval_score`.

        Args:
            kept: what was scored and paid, such as `take_kept()` returned.
        """
        episodes = [one.episode for one in kept if not one.episode.error]
        if not episodes:
            return {}
        scores, contexts = self.batch_of(episodes)
        expected, topology = self.model.predict_goal(scores, contexts), self.model.topology
        means = mean_goals(scores, expected, *self.reserved_goals(episodes), topology)
        known = {**weighted_score(means, topology), **{f"score/{task}": mean for task, mean in means.items()}}
        return known | node_scores(scores, topology)

    def metrics(self) -> dict[str, float]:
        """Of the last update. `score/TASK`: the mean goal in score units, observed or predicted; `score`: their mean by goal weights, a task that
        the update lacks with its last mean. Per node: mean score where observed, what it paid per episode it bears on, how often it was observed,
        how well it is predicted; of the reward: utility, held-out goal, leakage, alarms; of the graph: strengths."""
        if self.last_rewards is None:
            return {}
        return {"reward/auxiliary_weight": self.auxiliary, **self.last_metrics, **self._strengths()}

    def _of_nodes(self) -> dict[str, float]:
        assert self.last_rewards is not None
        tasks = [self.graph.index[episode.example.task] for episode in self.last_episodes]
        in_play = self.model.topology.applies[torch.tensor(tasks)]
        return node_metrics(self.last_rewards, in_play, self.learning.calibration)

    def _strengths(self) -> dict[str, float]:
        if self.model.method == "none":
            return {}
        edges = zip(self.graph.spec.edges, self._learned_strengths(), self.model.learner.movable.tolist(), strict=True)
        return {f"graph/{edge.source}>{edge.target}:{edge.relation}": value for edge, value, moves in edges if moves}


def _is_mean_score(metric: str) -> bool:
    return metric == "score" or metric.startswith("score/") or metric.endswith("/score")


def _no_batches(*_: Any, **__: Any) -> Sequence[Episode]:
    raise ConfigError(
        "this reward was made without make_episodes, so it cannot read a trainer's batch. Pass GraphReward(..., make_episodes=function)."
    )


def _rows(episodes: Sequence[Episode], rewards: NodeRewards) -> list[PaidEpisode]:
    """Copies, not views: a view would carry the whole batch along when it travels to another process."""
    columns = (rewards.values, rewards.weights, rewards.scores, rewards.gates, rewards.paid)
    return [PaidEpisode(one, *(column[row].clone() for column in columns)) for row, one in enumerate(episodes)]
