"""Uses the package as if no package of an extra were installed, and prints as JSON what happened. Arguments: a finished run, a folder."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import io
import json
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_graph.errors import EXTRAS


class Absent(importlib.abc.MetaPathFinder):
    """Finds none of the packages of the extras."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def command(*arguments: str) -> list[Any]:
    """Exit code and output of the command line."""
    from rag_graph.cli.app import main

    sys.argv = ["rag-graph", *arguments]
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return [code, out.getvalue()]


def error_of(action: Callable[[], Any]) -> list[str] | None:
    """Type and text of the error that an action ends in."""
    try:
        action()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def main(run: str, folder: Path) -> dict[str, Any]:
    sys.meta_path.insert(0, Absent())
    told: dict[str, Any] = {"commands": {
        "help": command("--help"),
        "check": command("graph", "check", "parcels"),
        "show": command("graph", "show", "parcels"),
    }}  # fmt: skip
    told["heavy"] = [name for name in ("torch", "pandas", "sklearn", "scipy", "matplotlib") if name in sys.modules]
    told["commands"] |= {
        "draw": command("graph", "draw", "parcels", str(folder / "graph.svg")),
        "report": command("report", run, "--out", str(folder / "report.html")),
        "compare": command("compare", run, run),
    }
    told["refused"] = {
        "ask": command("ask", run, "where is it from ?", "--input", "anna bought a kettle ."),
        "train": command("train", f"{run}/config.yaml", "--set", f"output_dir={folder}/new"),
    }
    import rag_graph
    from rag_graph import Episode, Example, GraphReward, Run, SentenceEncoder
    from rag_graph.data.tables import read_table
    from rag_graph.evaluation.metrics import METRICS, Judged
    from rag_graph.judges import make_judges
    from rag_graph.retrieval.bm25 import Bm25Retriever
    from rag_graph.retrieval.milvus import MilvusVectors
    from rag_graph.retrieval.vectors import FaissVectors
    from rag_graph.runs.executors import run_on_ray

    reward = GraphReward("parcels", {"grounded": lambda episode: 0.25})
    asked = Example("1", "question", {"input": "anna bought a kettle .", "question": "where is it from ?"}, ("oslo",))
    scores = {"question": 1.0, "grounded": 0.25}
    told["reward"] = (
        reward.node_rewards([Episode("1", asked, prompt="?", response="oslo", scores=scores)]).total()[0].item()
    )
    told["metrics"] = {name: METRICS[name](Judged("a b", ("a b",))) for name in ("rouge_l", "bleu")}
    told["gain"] = None if (gain := Run(run).gain) is None else gain.mean
    told["errors"] = {
        "bm25": error_of(lambda: Bm25Retriever(["a b"])),
        "encoder": error_of(lambda: SentenceEncoder("scratch", corpus=["a"])),
        "parquet": error_of(lambda: list(read_table(Path("t.parquet")))),
        "faiss": error_of(lambda: FaissVectors.of_content(b"")),
        "milvus": error_of(lambda: MilvusVectors("x.db", "c", 2)),
        "ray": error_of(lambda: list(run_on_ray([], None, 1, 0))),
        "trainer": error_of(lambda: rag_graph.GraphPPOTrainer),
        "learning": error_of(lambda: rag_graph.LearningRewards),
        "judge": error_of(lambda: make_judges({"a": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}})),
        "evaluate": error_of(lambda: Run(run).evaluate()),
    }
    names = [found.name for found in pkgutil.walk_packages(rag_graph.__path__, "rag_graph.", onerror=lambda name: None)]
    modules = (name for name in names if not name.endswith("__main__"))
    told["modules"] = {name: error_of(lambda name=name: importlib.import_module(name)) for name in modules}  # type: ignore[misc]
    told["loaded"] = [name for name in EXTRAS if name in sys.modules]
    return told


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
