"""The core works without the packages of the extras, and what needs one of them says which extra to install."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Episode, Example, GraphReward
from rag_graph.errors import EXTRAS, TRAINING

NAMES = {"faiss": "faiss-cpu", "jinja2": "jinja2", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Module -> what it is installed as, where that is another name."""
BROUGHT_BY_USERS = {"deepspeed"}
"""accelerate uses it, if a user asks it to."""


def required(text: str) -> set[str]:
    """Names in a list of requirements, without versions."""
    return {re.split(r"[\[>=;]", line.strip())[0].lower() for line in text.splitlines() if line.strip()}


@pytest.fixture(scope="module")
def setup(root: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(root / "setup.cfg", encoding="utf-8")
    return found


def installed_as(module: str) -> str:
    return NAMES.get(module, module.replace("_", "-"))


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_that_an_error_names_installs_the_package(setup: configparser.ConfigParser, module: str) -> None:
    assert installed_as(module) in required(setup["options.extras_require"][EXTRAS[module]])
    assert installed_as(module) not in required(setup["options"]["install_requires"])


def test_the_extra_train_is_enough_to_train(setup: configparser.ConfigParser) -> None:
    assert {installed_as(module) for module in TRAINING} <= required(setup["options.extras_require"]["train"])


def test_all_and_dev_hold_the_others(setup: configparser.ConfigParser) -> None:
    extras = setup["options.extras_require"]
    assert "rag-graph[train,retrieval,parquet,judges]" in extras["all"]
    assert "rag-graph[all]" in extras["dev"]


def test_every_import_is_of_the_core_or_of_an_extra(root: Path, setup: configparser.ConfigParser) -> None:
    core = required(setup["options"]["install_requires"])
    strange = {}
    for path in sorted((root / "rag_graph").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names] if isinstance(node, ast.Import) else []  # fmt: skip
            for module in {name.partition(".")[0] for name in named} - sys.stdlib_module_names - {"rag_graph"}:
                if installed_as(module) not in core and module not in EXTRAS and module not in BROUGHT_BY_USERS:
                    strange[module] = str(path.relative_to(root))
    assert strange == {}


@pytest.fixture(scope="module")
def told(root: Path, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without the packages of the extras could do."""
    command = [sys.executable, str(root / "tests/without_extras.py"), str(finished_run), str(tmp_path_factory.mktemp("core"))]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_core_needs_no_package_of_an_extra(told: dict[str, Any]) -> None:
    for name, (code, out) in told["commands"].items():
        assert code == 0, f"{name}: {out}"
    assert "parcels: ok" in told["commands"]["check"][1]
    assert told["metrics"] == {"rouge_l": 1.0, "bleu": pytest.approx(1.0)}
    passage = {"input": "anna bought a kettle .", "question": "where is it from ?"}
    answer = Episode(
        "1", Example("1", "question", passage, ("oslo",)), "?", "oslo", scores={"question": 1.0, "grounded": 0.25}
    )
    assert told["reward"] == pytest.approx(GraphReward("parcels").node_rewards([answer]).total()[0].item())
    assert isinstance(told["gain"], float)
    assert told["loaded"] == []


def test_commands_on_graph_files_load_nothing_heavy(told: dict[str, Any]) -> None:
    assert told["heavy"] == []


def test_what_needs_an_extra_names_it(told: dict[str, Any], finished_run: Path) -> None:
    extras = {"bm25": "retrieval", "encoder": "retrieval", "parquet": "parquet", "faiss": "faiss", "milvus": "milvus", "ray": "ray",
              "judge": "judges", "trainer": "train", "learning": "train", "evaluate": "train"}  # fmt: skip
    assert set(told["errors"]) == set(extras)
    for name, extra in extras.items():
        kind, text = told["errors"][name]
        assert kind == "MissingPackageError", f"{name}: {text}"
        assert text.endswith(f'not installed. Run: pip install "rag-graph[{extra}]"')
    for code, out in told["refused"].values():
        assert code == 1
        assert out.startswith("error: ")
        assert out.strip().endswith('Run: pip install "rag-graph[train]"')


def test_every_module_is_imported_or_names_the_extra(told: dict[str, Any]) -> None:
    failed = {name: error for name, error in told["modules"].items() if error}
    assert {error[0] for error in failed.values()} == {"MissingPackageError"}, failed
    parts = {".".join(name.split(".")[:2]) for name in failed}
    assert parts == {"rag_graph.generation", "rag_graph.ppo", "rag_graph.rag", "rag_graph.runs"}
    assert len(told["modules"]) > 60


@pytest.mark.slow
def test_the_wheel_holds_what_an_installed_package_needs(root: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: which files belong to the package is not known")
    for name in listed.stdout.splitlines():
        if name.startswith(("rag_graph/", "graphs/")) or name in (
            "setup.cfg",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ):
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / "source" / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tmp_path / "source")]  # fmt: skip
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in held if name.endswith("METADATA"))
    ours = {name for name in listed.stdout.splitlines() if name.startswith("rag_graph/")}
    assert ours <= held
    assert "rag_graph/cli/starter/run/config.yaml" in held
    assert {"rag_graph/graphs/parcels.yaml", "rag_graph/graphs/graph.schema.json"} <= held
    assert not [name for name in held if name.startswith(("tests", "experiments", "docs"))]
    always = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [
        line
        for line in always
        if re.match(r"Requires-Dist: (transformers|trl|peft|datasets|accelerate|sentence|bm25s|pyarrow)", line)
    ]
    assert re.search(r"Requires-Dist: transformers>=\S+; extra == .train.", metadata)
