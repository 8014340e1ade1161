"""Reads settings from a YAML file, with all errors at once, and writes them to a file. `config.py` defines the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rag_graph.errors import ConfigError, near_miss
from rag_graph.yaml_document import MAX_MESSAGE, MAX_PROBLEMS, Document, load_document, read_bounded

Model = TypeVar("Model", bound=BaseModel)


def parse_value(text: str) -> Any:
    """Read the value of `--set key=value` as YAML 1.2: numbers, booleans, null, lists, text.

    Raises:
        ValueError: it does not parse.
    """
    document = load_document(text.encode("utf-8", "surrogateescape"), "")
    if document.problems:
        raise ValueError(document.problems[0].text)
    return document.data


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Adds quotes if `parse_value` would not read the same text back."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    try:
        plain = parse_value(text) == text
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def to_yaml(settings: BaseModel) -> str:
    """The settings as a file that `read_settings` reads back."""
    text: str = yaml.dump(settings.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def read_settings(
    path: str | Path | None,
    model: type[Model],
    overrides: Iterable[str] = (),
    what: str = "config",
) -> Model:
    """Read a YAML file as settings and apply overrides of the form `a.b=c`.

    Args:
        path: the file; None starts from the defaults.
        what: the name of such a file in errors.

    Raises:
        ConfigError: missing file, YAML that does not parse, unknown keys, values out of range: all problems at once.
    """
    document = Document("config", {})
    if path is not None:
        try:
            document = load_document(read_bounded(Path(path)), str(path))
        except FileNotFoundError:
            raise ConfigError(
                f"{path}: no such file. A {what} is a YAML file; `rag-graph init FOLDER` writes one."
            ) from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if document.problems:
        raise ConfigError("\n".join(map(str, document.problems)))
    if not isinstance(document.data, dict | None):
        raise ConfigError(f"{path}: a {what} is a map of keys, this is a {type(document.data).__name__}.")
    content: dict[str, Any] = document.data or {}
    for override in overrides:
        _apply_override(content, override)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, document, model))) from None


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as key=value, such as --set ppo.learning_rate=1e-4")
    *parents, last = key.split(".")
    target = content
    for parent in parents:
        if not isinstance(target.get(parent), dict):
            target[parent] = {}
        target = target[parent]
    try:
        target[last] = parse_value(value)
    except ValueError as error:
        raise ConfigError(f"--set {override}: {error}") from None


def _explain(error: ValidationError, document: Document, root: type[BaseModel]) -> list[str]:
    lines = []
    for problem in error.errors()[:MAX_PROBLEMS]:
        location = problem["loc"]
        unknown = problem["type"] == "extra_forbidden"
        # Values of the file have a place, values of --set have none.
        table = document.keys if unknown else document.values
        where = f"{table[location]}: " if location in table else f"{document.file}: "
        shown = ".".join(str(part) for part in location)
        if unknown:
            text = f"unknown key '{location[-1]}'.{near_miss(str(location[-1]), _fields_at(location[:-1], root))}"
        else:
            given = problem.get("input")
            text = problem["msg"].removeprefix("Value error, ")
            text += f" (given: {given!r})" if isinstance(given, str | int | float | bool | None) else ""
        line = f"{shown + ': ' if shown else ''}{text}"
        lines.append(where + (line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} ..."))
    if error.error_count() > MAX_PROBLEMS:
        lines.append(f"{document.file}: more than {MAX_PROBLEMS} problems: the others are not shown.")
    return lines


def _fields_at(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        options = getattr(annotation, "__args__", (annotation,))
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"ppo": {"lam": 1}}` -> `{"ppo.lam": 1}`; the names that `--set` uses."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
