"""`GraphReward`: the reward function that a trainer calls, with the signature of TRL's GRPO rewards.

A call scores each episode once, pays it and keeps both; it moves no statistic. `learn`, called once per policy update, uses what was
kept: it moves the running statistics, fits the imputer and moves the graph (score first, fit after). So what was paid is what is learned
from. `GraphPPOTrainer` calls `learn` by itself; to TRL's GRPOTrainer and RLOOTrainer the reward adds what calls it (`trainers.py`).

`columns.py` makes episodes of a batch, `observation.py` decides what is observed, hidden and reserved; `learning.py` learns.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from rag_graph.config import BudgetConfig, RewardConfig
from rag_graph.errors import ConfigError, TrainingError
from rag_graph.evaluation.costs import cost_metrics, is_cost
from rag_graph.evaluation.functions import Scorer
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import hides_goals, warning_of_run
from rag_graph.graph.proposal import Proposal
from rag_graph.graph.reader import GraphSource, load_graph, places_of
from rag_graph.records import Episode, NodeRewards
from rag_graph.reward.acquisition import HORIZON, values_of_scores
from rag_graph.reward.arguments import Judges, ScoreNodes, Scoring, config_of, described, scoring_of
from rag_graph.reward.attribution import attribute
from rag_graph.reward.batch import Batch, batch_of, without_items
from rag_graph.reward.columns import REFERENCE, ColumnEpisodes, open_reference, with_columns
from rag_graph.reward.diagnostics import mean_goals, node_metrics, node_scores, weighted_score
from rag_graph.reward.failures import failure_metrics, too_many
from rag_graph.reward.imputers.evidence import EvidenceImputer
from rag_graph.reward.learning import RewardLearning
from rag_graph.reward.model import RewardModel
from rag_graph.reward.node_functions import NodeFunction, OneScoring, paying_nodes
from rag_graph.reward.observation import MakeEpisodes, Observation
from rag_graph.reward.paid import ExpectedScore, PaidEpisode, paid_episodes
from rag_graph.reward.readout import Paid
from rag_graph.reward.readouts import READOUTS, OwnReadout
from rag_graph.reward.rubric import ItemPay, item_attribution, item_pay
from rag_graph.reward.saved import load_reward, save_reward
from rag_graph.reward.text import HASHING, TextEmbeddings
from rag_graph.reward.trainers import NOT_TAUGHT, join_trainer, of_all_processes

if TYPE_CHECKING:
    import pandas

    from rag_graph.reward.offline.fit_report import FitReport
    from rag_graph.reward.offline.progress import ShowsProgress
    from rag_graph.reward.offline.rows import Reading

MOST_KEPT = 65_536
"""Episodes that are kept between two updates at most."""


class GraphReward(Observation):
    """Node scores of episodes -> rewards.

        reward = GraphReward("goals.yaml", {"correct": exact_match, "form": format_regex}, reference="answer")

    Args:
        graph: a graph, a graph-definition file, the name of a shipped graph, YAML text, or a networkx graph (`load_graph`).
        scorers: your own functions by node, in TRL's signature or of one episode (`rag_graph.evaluation.functions`); None in place of a function
            leaves a node to prediction. Or a `NodeScorer`, or what scores all nodes: (episode, wanted nodes) -> their scores, absent where not
            observable. None: every node by its metric in the file.
        config: readout, eta, share of observed and of reserved goals, imputer, graph learning; also as a dict. Default `RewardConfig()`.
        make_episodes: columns of a trainer's batch -> episodes without scores. None: an episode per completion, from `reference` and `task`.
        seed: of the observation mask and of the imputer.
        embeddings: of node texts; needed where `config.text_encoder` is not 'hashing'.
        readout: a function of your own that pays: scores without gaps [B, N], graph, tasks [B] -> [B, N]. `config.readout` then says which
            imputer fills the gaps, and whether the graph learns. Or a `rag_graph.reward.readouts.Readout`, which says all of it.
        reference: the column of the batch that holds the reference. Where the goal is hidden, so is this column, from every function. None: there
            is no such column.
        task: the column that names the task of a row; not needed where the graph has one task.
        judges: by name, for the nodes whose metric is `judge`: settings (`JudgeConfig`, or a dict), or a judge; of a `NodeScorer` its own are asked.

    Raises:
        ConfigError: no goal task, credit that diverges, an encoder that is named and not given; functions by node, and one is missing for a node
            that no metric scores (without functions this is said at the first batch); something of a wrong type.
    """

    __name__ = "graph_reward"

    def __init__(
        self,
        graph: GraphSource,
        scorers: Mapping[str, Scorer | None] | Scoring | ScoreNodes | None = None,
        config: RewardConfig | Mapping[str, Any] | None = None,
        make_episodes: MakeEpisodes | None = None,
        seed: int = 0,
        embeddings: TextEmbeddings | None = None,
        readout: OwnReadout | None = None,
        reference: str | None = REFERENCE,
        task: str | None = None,
        judges: Judges | None = None,
    ) -> None:
        graph = load_graph(graph)
        config = config_of(config)
        scoring = scoring_of(graph, scorers, judges)
        scorer = scoring if isinstance(scoring, NodeScorer) else None
        make_episodes = make_episodes or ColumnEpisodes(graph, reference, task, scorer.scorers if scorer else ())
        super().__init__(graph, config, scoring, make_episodes, seed, reference)
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
            readers = scorer.readers(self.reference_columns()) if scorer else ()
            self.model = RewardModel(graph, config, text, readout, readers)
        if config.budget.mode == "active" and not isinstance(self.model.imputer, EvidenceImputer):
            raise ConfigError(
                f"reward.budget.mode is 'active', which asks for what says most about the goal, and readout '{self.model.readout.name}' knows no uncertainty of a "
                "goal. Use the readout expected_goal, or mode: random."
            )
        self.learning = RewardLearning(self.model, config, text.shape[1], seed, graph)
        self.progress = 0.0
        """Share of training that is done, in [0, 1]; eta falls with it."""
        self.updates = 0
        self.last_episodes: list[Episode] = []
        self.last_rewards: NodeRewards | None = None
        self.last_metrics: dict[str, float] = {}
        self._kept: deque[PaidEpisode] = deque(maxlen=MOST_KEPT)
        self._said: set[str] = set()
        self._too_many_failed = ""

    def __repr__(self) -> str:
        """Graph, what scores its nodes, readout, updates learned."""
        about = f"readout {self.model.readout.name}, {self.updates} updates learned"
        return f"GraphReward('{self.graph.name}', {described(self.scoring)}, {about})"

    @property
    def auxiliary(self) -> float:
        """eta: current weight of everything that is not the goal itself."""
        return self.config.auxiliary + (self.config.auxiliary_end - self.config.auxiliary) * self.progress

    # ------------------------------------------------------------------ scoring

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        """Scalar reward of each completion; None where nothing that pays was observed.

        TRL's GRPO and RLOO pass `log_metric`: through it the mean scores of this batch reach their logs (`measure`; of an evaluation too), the
        shares of failed functions, and the other metrics of the last update.
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
        self.check_failures()
        join_trainer(self, columns)
        made = self.make_episodes(prompts, completions, completion_ids, **columns)
        made = with_columns(made, prompts, completions, completion_ids, columns)
        hides = hides_goals(self.graph, self.config) or self.config.reserved > 0
        if hides and self.reference is not None and isinstance(self.scoring, NodeScorer):
            self._warn(open_reference(self.scoring, made[0], self.reference_columns()))
        if self._kept and self._kept[-1].episode.round < made[0].round:
            self._learn_late(columns)
        episodes = self.observe(made)
        rewards = self.node_rewards(episodes)
        if len(self._kept) < MOST_KEPT <= len(self._kept) + len(episodes):
            self._warn(
                f"{MOST_KEPT} episodes were scored since the reward last learned; the oldest are forgotten. Call learn() after each update; "
                "in transformers' trainers the callback LearningRewards(reward) does."
            )
        scored = paid_episodes(episodes, rewards)
        self._kept.extend(scored)
        if callable(columns.get("log_metric")):  # else it is a column of the data
            # Scores and failures of this batch, which may be an evaluation's, and never those of the last update in their place.
            learned = {name: value for name, value in self.metrics().items() if not _is_of_batch(name)}
            for name, value in {**learned, **self.measure(scored), **self._failed(episodes)}.items():
                columns["log_metric"](name, value)
        return rewards

    def _learn_late(self, columns: Mapping[str, Any]) -> None:
        """Learn from the update before, which nobody has asked for."""
        self._warn(NOT_TAUGHT)
        self.learn(of_all_processes(self.take_kept()))
        state = columns.get("trainer_state")
        if getattr(state, "max_steps", 0):
            self.advance(min(1.0, state.global_step / max(1, state.max_steps - 1)), float("nan"))  # type: ignore[union-attr]

    def _warn(self, text: str) -> None:
        if text and text not in self._said:
            self._said.add(text)
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def check_failures(self) -> None:
        """Raises TrainingError where scorers failed on more than a share `max_bad_episodes` of the last update's episodes. The next call does so
        too."""
        if self._too_many_failed:
            raise TrainingError(self._too_many_failed)

    def pay(self, episodes: Sequence[Episode]) -> list[PaidEpisode]:
        """The pay of scored episodes (see `observe`) by the current statistics. Nothing changes."""
        return paid_episodes(episodes, self.node_rewards(episodes))

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

    @torch.no_grad()
    def _values(self, episodes: Sequence[Episode], price: torch.Tensor) -> torch.Tensor | None:
        imputer, model = self.model.imputer, self.model
        if not self.learning.fits or not isinstance(imputer, EvidenceImputer):
            return None
        scores = self.batch_of(episodes).scores
        values = values_of_scores(imputer, scores, model.graph, price, HORIZON * len(episodes))
        return values * model.topology.goal[scores.tasks].square()[:, None]

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
        self._forget_goals = True
        spent = self.budget.end_update(episodes)
        self._too_many_failed = too_many(episodes, self.config.max_bad_episodes)
        sound = [row for row, episode in enumerate(episodes) if not episode.error]
        if not sound:
            self.last_metrics = self._failed(self.last_episodes) | spent
            return
        if len(sound) < len(episodes):
            episodes, batch = [episodes[row] for row in sound], batch.rows(sound)
            paid = Paid(*(column[sound] for column in paid))
        goal, reserved = self.reserved_goals(episodes)
        learned = self.learning.learn(batch, episodes, paid, goal, reserved, self.auxiliary)
        self.last_metrics = self._of_nodes() | self._failed(self.last_episodes) | spent | learned

    @property
    def new_alarms(self) -> Sequence[str]:
        """Messages of the alarms that started in the last update."""
        return self.learning.new_alarms

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """Every alarm that went on, see `rag_graph.reward.alarms`: update, alarm, of (a task), seen, advice, episodes (ids), examples (two answers)."""
        return self.learning.alarms.history

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
        """How much of the training is done, in [0, 1]; the policy's KL to its reference, which trainers pass as well, is not needed here."""
        self.progress = progress

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

    # ------------------------------------------------------------------ logged answers

    def fit(
        self,
        table: str | Path | pandas.DataFrame,
        *,
        readouts: Sequence[str] | None = None,
        folds: int = 5,
        judges: Sequence[str] | None = None,
        progress: ShowsProgress | None = None,
        **how: Unpack[Reading],
    ) -> FitReport:
        """Learn from a table of logged answers, as if nothing had been learned before, and say how far the result can be trusted.

        Args:
            table: a .jsonl, .csv or .parquet file or a DataFrame, a row an answer: a column per node (NODE, `scores.NODE`, or `scores` =
                {NODE: number}) with numbers in [0, 1], empty where not observed; `task` where the graph has several; optional `group`, `prompt`.
                A preference pair is a row with `chosen.NODE` and `rejected.NODE`.
            readouts: compared by cross-validation, beside the reward's own; default those that fit in closed form.
            folds: parts of the groups whose goals are hidden in turn.
            judges: criteria that a judge scores; the report says how far they agree with the goals (`offline.judge_check`). Default: those with metric judge.
            progress: shows the progress; default a bar where there is a terminal or a notebook.
            how: `task`, `group`: other names of these columns (group='row': every row by itself); `rescale`: node -> (value that becomes 0, value
                that becomes 1); `ignore`: columns that are no scores.

        Raises:
            DataError: what is wrong with the table, all at once.
            ConfigError: an unknown readout, fewer than 2 folds, or a judge that is no criterion.
        """
        from rag_graph.reward.offline.fit import fit_reward
        from rag_graph.reward.offline.progress import Bar

        with contextlib.nullcontext(progress) if progress is not None else Bar() as shown:
            return fit_reward(self, table, readouts, folds, judges, places_of(self.graph), shown, how)

    def predict(
        self, table: str | Path | pandas.DataFrame, level: float = 0.8, **how: Unpack[Reading]
    ) -> pandas.DataFrame:
        """What the reward says of the answers of a table, by what it has learned so far; nothing changes.

        Args:
            table, how: as in `fit`.
            level: probability with which the interval covers the goal, in (0, 1).

        Returns:
            A row an answer, with the index of a DataFrame or the number of the row from 0: `reward`, with the goal where it is observed (NaN where nothing
            that pays was observed); `goal`, `goal_low`, `goal_high`: what is expected of the goal from the other scores, its own hidden (NaN
            bounds where the readout knows no interval); `scores.NODE`: the score of each node, observed or filled in.

        Raises:
            DataError: what is wrong with the table.
        """
        from rag_graph.reward.offline.fit import predict_table

        return predict_table(self, table, level, how)

    def fresh(self, config: RewardConfig, readout: OwnReadout | None = None) -> GraphReward:
        """A reward that has learned nothing, alike but for its settings and its readout. It buys nothing: it is for scores that are there."""
        config = config.model_copy(update={"budget": BudgetConfig()})
        return GraphReward(
            self.graph, self.scoring, config, self.make_episodes, self.seed, self.embeddings, readout, self.reference
        )

    def save(self, folder: str | Path) -> Path:
        """Write all that was learned into a folder, `reward.json` and `reward.safetensors`; a run starts from it with `reward.start_from`.

        Raises:
            TrainingError: the folder cannot be written.
        """
        return save_reward(self, Path(folder))

    def start_from(self, folder: str | Path) -> None:
        """Take over what `save` wrote, or what a run left in its folder. Training begins anew from there.

        Raises:
            ConfigError: nothing was saved there, or for another graph or readout; says what differs.
        """
        load_reward(self, Path(folder))

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

    def attribute_items(self, episode: Episode, method: str = "shapley") -> dict[str, list[ItemPay]]:
        """Rubric -> the items of a scored episode, `paid` being the share of each in what `attribute` gives the rubric; they sum to it.

        Raises:
            ConfigError: as `attribute`.
        """
        means = dict(zip(self.graph.nodes, self.model.imputer.base.means.tolist(), strict=True))
        return item_attribution(self.attribute(episode, method), episode, means)

    def items_paid(self, paid: PaidEpisode) -> dict[str, list[ItemPay]]:
        """Rubric -> the items of a paid episode (see `pay`), with the share of each in what the rubric was paid; they sum to it."""
        return item_pay(self.model, paid.episode, paid.values, paid.weights)

    # ------------------------------------------------------------------ state and metrics

    def state_dict(self) -> dict[str, Any]:
        """All state of scoring and learning."""
        return {
            "model": dict(self.model.state_dict()),
            "progress": self.progress,
            "updates": self.updates,
            "budget": self.budget.state_dict(),
            **self.learning.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.progress, self.updates = float(state["progress"]), int(state["updates"])
        self.budget.load_state_dict(state["budget"])
        self.learning.load_state_dict(state)
        self._kept.clear()
        self._too_many_failed = ""

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
        scores, contexts, _ = self.batch_of(episodes)
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
        in_play = self.model.topology.applies[torch.tensor(tasks)] & ~without_items(self.last_episodes, self.graph)
        return node_metrics(self.last_rewards, in_play, self.learning.calibration)

    def _failed(self, episodes: Sequence[Episode]) -> dict[str, float]:
        functions = tuple(self.scoring.functions) if isinstance(self.scoring, NodeScorer) else ()
        return failure_metrics(episodes, self.graph, functions) | cost_metrics(episodes)

    def _strengths(self) -> dict[str, float]:
        if self.model.method == "none":
            return {}
        edges = zip(self.graph.spec.edges, self._learned_strengths(), self.model.learner.movable.tolist(), strict=True)
        return {f"graph/{edge.source}>{edge.target}:{edge.relation}": value for edge, value, moves in edges if moves}


def _is_of_batch(metric: str) -> bool:
    """Whether a trainer that logs by batch gets the metric of the batch at hand."""
    return metric == "score" or metric.startswith("score/") or metric.endswith(("/score", "/failed")) or is_cost(metric)
