"""Generates the reference pages from the code: schema, settings, metrics, relations, command line, docstrings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import griffe
import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx

from rag_graph import _HOMES
from rag_graph.cli.app import app
from rag_graph.config import RunConfig
from rag_graph.evaluation.metrics import METRICS
from rag_graph.graph.spec import BUILT_IN_RELATIONS, ROLES
from rag_graph.records import REFERENCE_METRICS
from rag_graph.runs.sweep import SweepConfig

SCHEMA = Path(__file__).parents[2] / "graphs" / "graph.schema.json"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write the pages of `reference/`. They are in git, so links work without a build; a test checks that they are current."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name, content in pages().items():
        target = folder / f"{name}.md"
        if not target.is_file() or target.read_text(encoding="utf-8") != content:
            target.write_text(content, encoding="utf-8")


def pages() -> dict[str, str]:
    """Name -> Markdown of every generated page."""
    return {
        "graph_file": graph_file(),
        "relations": relations(),
        "metrics": metrics(),
        "cli": command_line(),
        "python": python_names(),
        "config": settings(
            "Run config",
            RunConfig,
            "The YAML file of a run. `rag-graph train FILE --dry-run` prints it with all defaults. `--set a.b=c` changes one key.",
        ),
        "sweep": settings(
            "Sweep file",
            SweepConfig,
            "The file of `rag-graph sweep`; see [Runs](../runs.md#sweep-settings).",
        ),
    }


def _cell(text: Any) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def graph_file() -> str:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [
        "# Graph file\n",
        "Generated from `graphs/graph.schema.json`. For an introduction see [The graph file on one page](../graph_file.md). Editors with a YAML language server complete "
        "and check a file that begins with `# yaml-language-server: $schema=./graph.schema.json`.\n",
        "## The file\n",
        _properties(schema),
    ]
    for name, part in sorted(schema["$defs"].items()):
        if "properties" in part:
            parts += [f"## {name}\n", f"{part.get('description', '')}\n", _properties(part)]
    return "\n".join(parts)


def _properties(part: dict[str, Any]) -> str:
    needed = set(part.get("required", ()))
    rows = []
    for key, about in part["properties"].items():
        default = "required" if key in needed else f"`{json.dumps(about['default'])}`" if "default" in about else ""
        rows.append((f"`{key}`", _type(about), default, about.get("description", "")))
    return _table(("key", "type", "default", "meaning"), rows)


def _type(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_type(option) for option in about["anyOf"])
    if "$ref" in about:
        return str(about["$ref"]).rsplit("/", 1)[-1]
    if "enum" in about or "const" in about:
        return ", ".join(f"`{value}`" for value in about.get("enum", [about.get("const")]))
    if about.get("type") == "array":
        return f"list of {_type(about.get('items', {}))}"
    if about.get("type") == "object" and isinstance(about.get("additionalProperties"), dict):
        return f"map to {_type(about['additionalProperties'])}"
    if about.get("patternProperties"):
        return f"map to {_type(next(iter(about['patternProperties'].values())))}"
    bounds = [
        f"{word} {about[key]}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in about
    ]
    return " ".join([str(about.get("type", "anything")), *bounds])


def relations() -> str:
    rows = [
        (f"`{name}`", kind.role, kind.semantics, ", ".join(kind.source), ", ".join(kind.target), kind.title)
        for name, kind in BUILT_IN_RELATIONS.items()
    ]
    effects = {
        "bound": "A factor $1 - g\\,(1 - x_j)$ in the prediction of the target: the product of its bounds, or the least. Here $g$ is the strength and $x_j$ the score of the source. How much it counts is fitted.",
        "indication": "$+g\\,z_j$ in the prediction of the target. Here $z_j$ is the score of the source in standard deviations. How much it counts is fitted.",
        "counterindication": "$-g\\,z_j$ in the prediction of the target.",
        "gate": "The worth of the target is multiplied by $1 - g\\,(1 - q_j)$. Here $g$ is the strength and $q_j$ the score of the source behind its own prerequisites. Cycles are not allowed.",
        "credit": "$g\\,q_j / (1 + T)$ is added to the worth of the target, before its prerequisites. $T$ is the sum of the weights of all credits and penalties, so together they never outweigh the goal.",
        "penalty": "$g\\,x_j / (1 + T)$ is charged, whatever the prerequisites of the target say.",
        "aggregate": "The score of the target becomes the mean $(s_i + \\sum_j g\\,s_j) / (1 + \\sum_j g)$ of itself and its components, criteria.",
        "message": "The graph network passes messages along the edge. It never pays by itself.",
        "evidence": "The context may be retrieved for the task. The strength is its prior weight.",
    }
    return "\n".join(
        [
            "# Relations\n",
            "Generated from `rag_graph/graph/spec.py`. A *fact* helps to predict scores that were not observed and never changes what is "
            "wanted. A *rule* changes what an answer is worth. The *semantics* of a relation decide which it is. A file may define its own relations under "
            "`relations`, each with one of these semantics. [Fact or rule?](../graph_file.md#fact-or-rule) helps to choose.\n",
            _table(("relation", "is a", "semantics", "from", "to", "meaning"), rows),
            "## What each semantics does\n",
            _table(("semantics", "is a", "does"), [(meaning, ROLES[meaning], effects[meaning]) for meaning in ROLES]),
            "The formulas are in [How the reward is computed](../reward.md). Every edge has a `strength` in [0, 1]. With `tuned: false`, learning does not change it.\n",
        ]
    )


def metrics() -> str:
    rows = []
    for name, function in METRICS.items():
        about = (
            "For one episode the same as `accuracy`; over a corpus the unweighted mean of the labels' F1."
            if name == "macro_f1"
            else function.__doc__
        )
        rows.append(
            (f"`{name}`", "reference" if name in REFERENCE_METRICS else "input, evidence or the answer itself", about)
        )
    return "\n".join(
        [
            "# Metrics\n",
            "Generated from `rag_graph/evaluation/metrics.py`. All metrics are in [0, 1]. A score that cannot be observed is *missing*, not zero. Metrics that compare "
            "with the reference are hidden together with the goal.\n",
            _table(("metric", "compares with", "meaning"), rows),
            "ROUGE comes from `rouge_score`, BLEU from `sacrebleu`, macro-F1 from scikit-learn; token F1 and exact match follow the SQuAD script.\n",
        ]
    )


def settings(title: str, model: type[BaseModel], about: str) -> str:
    parts = [f"# {title}\n", f"Generated from the code. {about}\n"]
    parts += _section(model, "")
    return "\n".join(parts)


def _section(model: type[BaseModel], prefix: str) -> list[str]:
    rows, deeper = [], []
    for name, field in model.model_fields.items():
        options = getattr(field.annotation, "__args__", (field.annotation,))
        inner = next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)
        if inner is not None:
            deeper += [
                f"## `{prefix}{name}`\n",
                f"{(inner.__doc__ or '').strip()}\n",
                *(["Default: none; write `{}` for its defaults.\n"] if field.default is None else []),
                *_section(inner, f"{prefix}{name}."),
            ]
            continue
        default = "required" if field.default is PydanticUndefined else f"`{json.dumps(field.default)}`"
        limits = " ".join(map(_limit, field.metadata))
        rows.append((f"`{prefix}{name}`", _annotation(field.annotation), default, field.description or "", limits))
    return [_table(("key", "type", "default", "meaning", "limits"), rows) if rows else "", *deeper]


BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below", "min_length": "at least"}


def _limit(limit: Any) -> str:
    """A bound in words: `Ge(ge=0)` is "from 0"."""
    found = [f"{word} {getattr(limit, name)}" for name, word in BOUNDS.items() if hasattr(limit, name)]
    return found[0] if found else str(limit)


def _annotation(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    text = re.sub(r"(typing|rag_graph\.\w+)\.", "", text)
    choices = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), text)
    return f"`{choices}`"


def command_line() -> str:
    root = typer.main.get_command(app)
    parts = ["# Command line\n", "Generated from `rag-graph --help`.\n"]
    for path, command in _commands(root, ("rag-graph",)):
        context = click.Context(command, info_name=" ".join(path))
        about = re.sub(r"^(`rag-graph [^`]*`)$", r"- \1", command.help or "", flags=re.M)
        rows = []
        for parameter in command.get_params(context):
            names = (
                ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
                if parameter.param_type_name == "option"
                else f"`{parameter.metavar or parameter.name.upper()}`"
            )
            rows.append((names, getattr(parameter, "help", "") or ""))
        parts += [f"## {' '.join(path)}\n", f"{about}\n", _table(("argument", "meaning"), rows)]
    return "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if not inner:
        return [(path, command)]
    return [found for name, each in inner.items() for found in _commands(each, (*path, name))]


SHOWN = {
    "Runs": ("train", "resume", "Run", "compare", "Comparison", "load_config", "RunConfig"),
    "Graphs": ("load_graph", "graph_warnings", "AuxiliaryGraph", "draw_graph"),
    "Rewards": ("GraphReward", "RewardConfig", "NodeScorer", "FitReport", "LearningRewards"),
    "PPO": ("GraphPPOTrainer", "GraphPPOConfig"),
    "Retrieval": ("PassageIndex", "SentenceEncoder", "Hit"),
    "Records": ("Example", "Item", "Episode", "Evidence", "ContextNode"),
    "Reports and figures": ("write_report", "write_fit_report", "present_run", "draw_curves", "draw_diagnostics"),
}
"""Every public name of the package; a test holds this equal to `rag_graph.__all__`."""
MORE = ("rag_graph.runs.answer.Answer", "rag_graph.evaluation.evaluate.Evaluation", "rag_graph.evaluation.statistics.Interval", "rag_graph.retrieval.base.Retriever", "rag_graph.records.NodeRewards", "rag_graph.figure.Picture", "rag_graph.errors.RagGraphError", "rag_graph.errors.MissingPackageError")  # fmt: skip
"""What they take and give."""


def python_names() -> str:
    package = griffe.load(
        "rag_graph", docstring_parser="google", docstring_options={"warnings": False}, resolve_aliases=False
    )
    parts = [
        "# Python\n",
        "Generated from the docstrings. Import these names from `rag_graph`. They are loaded at their first use: `import rag_graph` does not load torch.\n",
    ]
    for title, names in SHOWN.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _documented(
                package[f"{_HOMES[name]}.{name}".removeprefix("rag_graph.")]
                if _defined(package, name)
                else _find(package, name)
            )
    parts.append("## Types of arguments and results\n")
    for path in MORE:
        parts += _documented(package[path.removeprefix("rag_graph.")])
    return "\n".join(parts)


def _defined(package: Any, name: str) -> bool:
    home = package[_HOMES[name].removeprefix("rag_graph.")]
    return name in home.members and not home.members[name].is_alias


def _find(package: Any, name: str) -> Any:
    """A name that its home imports from one of its modules."""
    home = package[_HOMES[name].removeprefix("rag_graph.")]
    target = home.members[name].target_path
    return package[target.removeprefix("rag_graph.")]


def _documented(item: Any, level: str = "###") -> list[str]:
    """Signature and docstring of a class with its public methods, or of a function."""
    parts = [f"{level} {item.name}\n", f"```text\n{_signature(item)}\n```\n", *_docstring(item)]
    if item.is_class:
        for member in item.members.values():
            public = not member.name.startswith("_") and not member.is_alias
            if public and member.docstring and (member.is_function or member.is_attribute):
                call = (
                    _signature(member)
                    if member.is_function
                    else f"{member.name}: {member.annotation or ''}".rstrip(": ")
                )
                parts += [f"**`{member.name}`**\n", f"```text\n{call}\n```\n", *_docstring(member)]
    return parts


def _signature(item: Any) -> str:
    function = item.members.get("__init__") if item.is_class else item
    if function is None or not getattr(function, "is_function", False):
        return f"class {item.name}"
    shown, starred = [], False
    for parameter in function.parameters:
        if parameter.name == "self":
            continue
        if (
            str(parameter.kind) == "ParameterKind.keyword_only"
            or getattr(parameter.kind, "value", "") == "keyword-only"
        ):
            shown += [] if starred else ["*"]
            starred = True
        text = parameter.name + (f": {parameter.annotation}" if parameter.annotation else "")
        shown.append(
            text + (f" = {parameter.default}" if parameter.default is not None and parameter.required is False else "")
        )
    inner = ",\n    ".join(shown)
    call = f"{item.name}(\n    {inner},\n)" if len(", ".join(shown)) > 90 else f"{item.name}({', '.join(shown)})"
    returns = getattr(function, "returns", None)
    return call if item.is_class or returns is None else f"{call} -> {returns}"


def _docstring(item: Any) -> list[str]:
    if not item.docstring:
        return []
    parts = []
    for section in item.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            parts.append(_fenced(section.value) + "\n")
        elif kind in ("parameters", "attributes", "other parameters"):
            parts.append(_table(("argument", "meaning"), [(f"`{one.name}`", one.description) for one in section.value]))
        elif kind == "raises":
            parts += [f"Raises `{one.annotation}`: {' '.join(str(one.description).split())}\n" for one in section.value]
        elif kind in ("returns", "yields"):
            parts += [f"Returns {' '.join(str(one.description).split())}\n" for one in section.value]
        elif kind == "admonition":
            parts.append(f"**{section.title}** {section.value.description}\n")
    return parts


def _fenced(text: str) -> str:
    """Indented code of a docstring as a fence, so that a table or list beside it stays what it is."""
    return re.sub(
        r"((?:^    .*(?:\n|$))+)",
        lambda found: "```text\n" + re.sub(r"^    ", "", found[1], flags=re.M).rstrip() + "\n```\n",
        text,
        flags=re.M,
    )
