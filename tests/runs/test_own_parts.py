"""A researcher's own scorer, retriever and readout, from files of their own (docs/examples), in a whole run and after it."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rag_graph import Run, load_graph, train
from rag_graph.config import RetrievalConfig, RewardConfig
from rag_graph.errors import ConfigError, DataError
from rag_graph.retrieval.base import check_pool
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings
from rag_graph.runs.own_parts import OwnParts, name_of
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.train import resume
from tests.contracts.retriever import RetrieverContract

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GRAPH = """
format: 1
name: coloured
include: [parcels.yaml]
criteria:
  coloured: {title: "The answer names a colour", metric: external, applies_to: [summary]}
edges:
  - {from: coloured, to: summary, relation: supports, strength: 0.5}
"""


def load(name: str) -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return {
        "scorers": {"coloured": load("my_scorer").names_a_colour},
        "retriever": load("my_retriever").ByTitle,
        "readout": load("my_readout").weakest,
    }


@pytest.fixture(scope="module")
def folder(root: Path, small: tuple[str, ...], parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("own")
    shutil.copy(root / "graphs/parcels.yaml", where)
    (where / "coloured.yaml").write_text(GRAPH)
    settings = [*small, "reward.scale=score", f"graph={where / 'coloured.yaml'}", f"output_dir={where / 'run'}"]
    train(root / "experiments/quickstart/config.yaml", settings, **parts, progress=StageProgress(quiet=True))
    return where / "run"


@pytest.mark.parametrize("name", ["my_scorer", "my_retriever", "my_readout"])
def test_each_is_under_ten_lines(name: str) -> None:
    """The function or class itself, without blank lines."""
    source = (EXAMPLES / f"{name}.py").read_text()
    (part,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    assert part.end_lineno is not None
    lines = source.splitlines()[part.lineno - 1 : part.end_lineno]
    assert sum(bool(line.strip()) for line in lines) < 10
    assert "rag_graph." not in source, "public names only"


def test_all_three_take_part_in_a_run(folder: Path) -> None:
    episodes = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    summaries = [e for e in episodes if e["task"] == "summary"]
    assert summaries
    assert all(e["scores"]["coloured"] in (0.0, 1.0) for e in summaries)
    names = {name for e in episodes for piece in e["evidence"] for name in piece["scores"]}
    assert names == {"by_title"}
    for episode in episodes:
        everything = {**episode["imputed"], **episode["scores"]}
        assert episode["reward"] == pytest.approx(min(everything.values()), abs=1e-3), "the weakest node alone pays"
        assert sum(episode["paid"].values()) == pytest.approx(episode["reward"], abs=1e-3)


def test_the_manifest_names_them_and_the_run_asks_for_them(folder: Path, parts: dict[str, Any]) -> None:
    named = json.loads((folder / "manifest.json").read_text())["own_parts"]
    assert named["scorers"]["coloured"].startswith("names_a_colour#")
    assert named["retriever"].startswith("ByTitle#")
    assert named["readout"].startswith("weakest#")
    answer = Run(folder, **parts).ask("anna bought a red kettle . it is good .", task="summary")
    assert answer.scores["coloured"] in (0.0, 1.0)
    assert answer.reward == pytest.approx(min(answer.scores.values()), abs=1e-5)
    with pytest.raises(DataError, match=r"your own parts .*readout=weakest#.*now you gave: none.*Open it in Python"):
        Run(folder).ask("anna")
    with pytest.raises(DataError, match=r"and now you gave: retriever=ByTitle#"):
        Run(folder, retriever=parts["retriever"]).ask("anna")


def test_a_stopped_run_goes_on_with_the_same_parts_only(
    root: Path, small: tuple[str, ...], stop_in: Any, tmp_path: Path, parts: dict[str, Any]
) -> None:
    own = {"readout": parts["readout"]}
    config, where = root / "experiments/quickstart/config.yaml", tmp_path / "run"
    with pytest.raises(KeyboardInterrupt) as stop:
        train(config, [*small, f"output_dir={where}"], **own, progress=stop_in("PPO", 3))
    assert stop.value.__notes__[0].endswith(f"To go on, in Python: rag_graph.resume({str(where)!r}, readout=...)")
    with pytest.raises(DataError, match="your own parts"):
        resume(where, progress=StageProgress(quiet=True))
    resume(where, **own, progress=StageProgress(quiet=True))
    assert Run(where).status["status"] == "finished"


def test_a_part_that_changed_is_refused_unless_that_is_said() -> None:
    def rude(episode: Any) -> float:
        return 0.0

    was = OwnParts({"polite": rude}, retriever=str).names()
    mine = OwnParts({"polite": lambda episode: 1.0}, retriever=str)
    with pytest.raises(
        DataError, match=r"accept_changed=\['polite'\] in Python, --accept-changed polite on the command"
    ):
        mine.check_same(was, "runs/x")
    mine.check_same(was, "runs/x", ["polite"])
    (change,) = mine.changes_since(was)
    assert (change["part"], change["was"], change["now"]) == (
        "polite",
        name_of(rude),
        mine.names()["scorers"]["polite"],
    )
    with pytest.raises(DataError, match="you gave: scorers=.* Open it in Python with the same ones") as lacking:
        OwnParts({"polite": rude}).check_same(was, "runs/x", ["retriever"])
    assert "accept_changed=" not in str(lacking.value), "a part that was not given has not changed"
    with pytest.raises(DataError, match="now you gave: none"):
        OwnParts().check_same(was, "runs/x", ["polite", "retriever"])
    with pytest.raises(ConfigError, match=r"polit: the run was made without such a part. Did you mean 'polite'\?"):
        mine.check_same(was, "runs/x", ["polit"])


class TestContract(RetrieverContract):
    NEAREST = {"where is the blue mixer from": 1, "green hoses": 2}  # noqa: RUF012

    def make(self, texts: list[str]) -> Any:
        from rag_graph.records import ContextNode

        check_pool(len(texts))
        return load("my_retriever").ByTitle([ContextNode(str(i), "c", text, text) for i, text in enumerate(texts)])


def test_a_readout_that_returns_nonsense_is_an_error() -> None:
    graph = load_graph("parcels")
    text = TextEmbeddings().of_graph(graph)
    size = len(graph.nodes)
    scores = Scores(
        torch.rand(3, size),
        torch.ones(3, size, dtype=torch.bool),
        torch.zeros(3, size),
        torch.zeros(3, dtype=torch.long),
    )
    with pytest.raises(ConfigError, match=rf"your readout returned a tensor of shape \[3\].*shape \[3, {size}\]"):
        RewardModel(graph, RewardConfig(), text, lambda values, graph, tasks: values.mean(-1))(scores, 0.0)
    with pytest.raises(ConfigError, match="with NaN or infinity"):
        RewardModel(graph, RewardConfig(), text, lambda values, graph, tasks: values / 0)(scores, 0.0)


def test_an_encoder_beside_an_own_retriever_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="there is nothing for its encoder to do"):
        OwnParts(retriever=parts["retriever"]).check(RetrievalConfig(method="dense"))


def test_overrides_of_a_loaded_config_are_refused() -> None:
    from rag_graph.config import RunConfig

    with pytest.raises(ConfigError, match="Give them to load_config"):
        train(RunConfig(), ["seed=1"])


def test_what_a_part_does_is_part_of_its_name() -> None:
    from functools import partial

    def pays(values: Any, graph: Any, tasks: Any, share: float = 1.0) -> Any:
        return values * share

    class Fixed:
        def __init__(self, share: float) -> None:
            self.share = share

        def __call__(self, values: Any, graph: Any, tasks: Any) -> Any:
            return values * self.share

    def make(share: float) -> Any:
        return lambda values, graph, tasks: values * share

    different = [
        lambda v, g, t: v,
        lambda v, g, t: v * 2,
        partial(pays, share=0.1),
        partial(pays, share=0.9),
        Fixed(1.0),
        Fixed(2.0),
        make(1.0),
        make(2.0),
    ]
    assert len({name_of(part) for part in different}) == len(different)
    assert name_of(make(2.0)) == name_of(make(2.0))
    assert name_of(load("my_retriever").ByTitle) == name_of(load("my_retriever").ByTitle)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="retriever: a int, which cannot be called. Give a function; for a retriever the class itself"
    ):
        OwnParts(retriever=3).check(RetrievalConfig())  # type: ignore[arg-type]
