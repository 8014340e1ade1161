"""What `GraphReward` is given, as what it works with. A thing of a wrong type gets a sentence that says what to write."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from rag_graph.config import JudgeConfig, RewardConfig
from rag_graph.errors import ConfigError, near_miss
from rag_graph.evaluation.functions import Scorer, name_of
from rag_graph.evaluation.judging import Judge
from rag_graph.evaluation.rubric import folded
from rag_graph.evaluation.scorer import NodeScorer, NodeScores
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.judges.make import check_templates, make_judges
from rag_graph.records import Episode
from rag_graph.runtime import resolve_device

MOST_SHOWN = 8
"""Nodes in a `repr`."""


class ScoreNodes(Protocol):
    """Scores the nodes of an episode, such as `NodeScorer.score`."""

    def __call__(self, episode: Episode, nodes: Collection[str] | None = None) -> Mapping[str, float]:
        """Node -> score in [0, 1], of the wanted nodes (None: of all that bear on the episode); absent where not observable."""
        ...


class Scoring(Protocol):
    """Scores the nodes of a batch of episodes, such as `NodeScorer`."""

    def score_all(
        self, episodes: Sequence[Episode], wanted: Sequence[Collection[str] | None] | None = None
    ) -> list[NodeScores]:
        """Per episode the scores of its wanted nodes (None: of all that bear on it)."""
        ...


class EachEpisode:
    """A function that scores all nodes of one episode, as `Scoring`. The score of a rubric may be a list, one value per item of the episode. An
    episode on which the function fails has no scores and says why."""

    def __init__(self, score: ScoreNodes) -> None:
        self.score = score

    def score_all(
        self, episodes: Sequence[Episode], wanted: Sequence[Collection[str] | None] | None = None
    ) -> list[NodeScores]:
        return [
            self._one(episode, nodes) for episode, nodes in zip(episodes, wanted or [None] * len(episodes), strict=True)
        ]

    def _one(self, episode: Episode, nodes: Collection[str] | None) -> NodeScores:
        try:
            given = self.score(episode) if nodes is None else self.score(episode, nodes)
            scores, items = folded(episode, given)
            for name, value in scores.items():
                if not 0 <= value <= 1:  # NaN too
                    raise ConfigError(
                        f"node '{name}': a score is a number from 0 to 1, and this one is {value}. Leave out what cannot be observed."
                    )
            return NodeScores(scores, items=items)
        except Exception as error:  # a scorer may be anyone's code, and a bad episode is data, not a crash
            return NodeScores(error=f"{type(error).__name__}: {error}")


Judges = Mapping[str, JudgeConfig | Judge | Mapping[str, Any]]
"""Judges by name, or their settings."""


def scoring_of(graph: AuxiliaryGraph, scorers: Any, judges: Judges | None = None) -> Scoring:
    """None, functions by node, a `NodeScorer`, its method `score`, or a function that scores all nodes -> `Scoring`.

    Raises:
        ConfigError: something else, or a mapping in which a node that no metric scores is missing; settings of a judge that are wrong.
    """
    if scorers is None or isinstance(scorers, Mapping):
        made = make_judges(judges, resolve_device("auto")) if judges else {}
        scorer = NodeScorer(graph, scorers=_named(graph, scorers) if scorers is not None else None, judges=made)
        check_templates(scorer.judged, made)
        if scorers is not None:
            scorer.require_all()
        return scorer
    if judges:
        raise ConfigError(
            f"judges: they are asked where the graph's own metrics score, and here {name_of(scorers) if callable(scorers) else type(scorers).__name__} scores "
            "all nodes. Give them to it, as in NodeScorer(graph, judges=make_judges({...}))."
        )
    owner = getattr(scorers, "__self__", None)
    if isinstance(owner, NodeScorer) and getattr(scorers, "__name__", "") == "score":
        return owner
    if hasattr(scorers, "score_all"):
        return scorers  # type: ignore[no-any-return]
    node = next(iter(graph.nodes), "node")
    if isinstance(scorers, RewardConfig):
        raise ConfigError(
            "scorers: this is a RewardConfig. The order is GraphReward(graph, scorers, config), or write config=...."
        )
    if not callable(scorers):
        raise ConfigError(
            f"scorers: a {type(scorers).__name__}. Give functions by node, such as {{'{node}': function}}, a NodeScorer, or nothing."
        )
    if not _takes_nodes(scorers):
        name = name_of(scorers)
        raise ConfigError(
            f"scorers: {name} is one function, and it does not say which node it scores. Write GraphReward(graph, {{'{node}': {name}}}). A function that "
            "scores all nodes takes an episode and the wanted nodes, score(episode, nodes), as NodeScorer.score does."
        )
    return EachEpisode(scorers)


def config_of(config: Any) -> RewardConfig:
    """None, a `RewardConfig`, or its settings as a mapping.

    Raises:
        ConfigError: something else, an unknown setting, a value out of range.
    """
    if config is None:
        return RewardConfig()
    if isinstance(config, RewardConfig):
        return config
    if isinstance(config, Mapping):
        try:
            return RewardConfig.model_validate(dict(config))
        except ValidationError as error:
            raise ConfigError("\n".join(_explained(problem) for problem in error.errors())) from None
    if isinstance(config, AuxiliaryGraph):
        raise ConfigError("config: this is a graph. The graph comes first: GraphReward(graph, scorers, config).")
    if isinstance(getattr(config, "reward", None), RewardConfig):
        raise ConfigError("config: these are the settings of a whole run. Give its part config.reward.")
    if callable(config):
        raise ConfigError(
            f"config: {name_of(config)} is a function. Functions are the second argument: GraphReward(graph, {{'node': {name_of(config)}}})."
        )
    raise ConfigError(
        f"config: a {type(config).__name__}. Give RewardConfig(readout=...), or its settings as a dict, {{'readout': ...}}."
    )


def described(scoring: Scoring) -> str:
    """What scores which node, for a `repr`."""
    if not isinstance(scoring, NodeScorer):
        return f"scored by {type(scoring).__name__}"
    nodes = [f"{node}: {name or 'not scored'}" for node, name in scoring.scored_by().items()]
    rest = [f"{len(nodes) - MOST_SHOWN} more"] if len(nodes) > MOST_SHOWN else []
    return f"scored by {{{', '.join([*nodes[:MOST_SHOWN], *rest])}}}"


def _named(graph: AuxiliaryGraph, scorers: Mapping[str, Any]) -> Mapping[str, Scorer | None]:
    settings = [name for name in scorers if name in RewardConfig.model_fields and name not in graph.index]
    if settings:
        raise ConfigError(
            f"scorers: '{settings[0]}' is a setting of the reward, not a node. Settings are the third argument: config={{'{settings[0]}': ...}}."
        )
    return scorers


def _explained(problem: Any) -> str:
    *_, key = problem["loc"] or ("",)
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"config: unknown setting '{place}'.{near_miss(str(key), RewardConfig.model_fields)}"
    return f"config: {place}: {problem['msg'].removeprefix('Value error, ')} (given: {problem['input']!r:.80})"


def _takes_nodes(score: Any) -> bool:
    try:
        signature = inspect.signature(score)
        if "completions" in signature.parameters:
            return False
        signature.bind(None, None)
    except TypeError:
        return False
    except ValueError:  # builtins do not say
        return True
    return True
