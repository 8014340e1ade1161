"""Judges from the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from rag_graph.config import JudgeConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.judging import Judge
from rag_graph.judges.prompt import check_template

BACKENDS = {
    "openai": ("rag_graph.judges.openai_judge", "OpenAIJudge"),
    "transformers": ("rag_graph.judges.local", "LocalJudge"),
    "reward_model": ("rag_graph.judges.reward_model", "RewardModelJudge"),
}
"""Back end -> module and class of its judge. The module is imported when such a judge is made."""
ON_A_DEVICE = ("transformers", "reward_model")
"""Back ends whose judges are made of name, settings and device; others of name and settings."""


def make_judges(
    configs: Mapping[str, JudgeConfig | Judge | Mapping[str, Any]], device: str = "cpu"
) -> dict[str, Judge]:
    """The judges that settings name. No model is loaded and nobody is asked before the first question.

    Args:
        configs: by name: settings, settings as a dict, or a judge of your own.
        device: of local models, such as "cuda".

    Raises:
        ConfigError: something that the back end of a judge cannot do.
        MissingPackageError: its packages are not installed.
    """
    return {name: _make(name, config, device) for name, config in configs.items()}


def check_templates(judged: Mapping[str, Mapping[str, Any]], judges: Mapping[str, Judge]) -> None:
    """Raises ConfigError where a node asks with the reference, and its judge's template has no place for it.

    Args:
        judged: node -> its arguments (`NodeScorer.judged`). A node whose judge is not there is not looked at.
    """
    for node, args in judged.items():
        name = args.get("judge") or (next(iter(judges)) if len(judges) == 1 else None)
        template = getattr(judges.get(name) if name else None, "template", None)
        if args.get("reference") and isinstance(template, str):
            check_template(template, f"node '{node}': judges.{name}.template", reference=True)


def _make(name: str, config: JudgeConfig | Judge | Mapping[str, Any], device: str) -> Judge:
    if isinstance(config, Mapping):
        try:
            config = JudgeConfig.model_validate(dict(config))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ConfigError(f"judges.{name}: {problems}") from None
    if isinstance(config, JudgeConfig):
        module, kind = BACKENDS[config.backend]
        where = (device,) if config.backend in ON_A_DEVICE else ()
        judge: Judge = getattr(import_module(module), kind)(
            name, config.with_template(where=f"judges.{name}.template"), *where
        )
        return judge
    if not callable(getattr(config, "judge", None)):
        raise ConfigError(
            f"judges.{name}: {type(config).__name__} is no judge. Give a JudgeConfig, a dict of its settings, or an object with the method judge."
        )
    return config
