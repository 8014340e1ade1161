"""Judges from the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping

from rag_graph.config import JudgeConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.judging import Judge


def make_judges(configs: Mapping[str, JudgeConfig], device: str = "cpu", seed: int = 0) -> dict[str, Judge]:
    """The judges that a config names. No model is loaded and nobody is asked before the first question.

    Args:
        device: of local models, such as "cuda".

    Raises:
        ConfigError: something that the back end of a judge cannot do.
    """
    return {name: _make(name, config, device) for name, config in configs.items()}


def _make(name: str, config: JudgeConfig, device: str) -> Judge:
    if config.backend == "transformers":
        from rag_graph.judges.local import LocalJudge

        return LocalJudge(name, config, device)
    if config.backend == "reward_model":
        from rag_graph.judges.reward_model import RewardModelJudge

        return RewardModelJudge(name, config, device)
    raise ConfigError(f"judges.{name}: no back end '{config.backend}'.")
