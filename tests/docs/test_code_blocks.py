"""Every code block of the README and of the documentation runs and gives the output that is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import NOT_CODE, PRINTED, Block, Sandbox, blocks_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.relative_to(ROOT).parts),
    *sorted(ROOT.glob("experiments/*/README.md")),
]
RUN = [path for path in DOCUMENTS if any(not block.reason for block in blocks_of(path, path.name))]


def reduced(path: Path, small: tuple[str, ...]) -> str:
    """The config of an experiment at a size that takes seconds. The commands of the page do not change."""
    from rag_graph.config import load_config

    content = yaml.safe_load(path.read_text())
    settings = load_config(path, small) if content.get("model", {}).get("source") == "scratch" else load_config(path)
    return settings.to_yaml()


@pytest.fixture(scope="session")
def presented_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its figures, as the command line leaves it."""
    from rag_graph.report.present import present_run
    from rag_graph.runs.run import Run

    folder = tmp_path_factory.mktemp("presented") / "run"
    shutil.copytree(finished_run, folder)
    present_run(Run(folder))
    return folder


@pytest.fixture
def sandbox(tmp_path: Path, small: tuple[str, ...], presented_run: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A checkout, a run of the quickstart, and a cache of judges' replies that is empty."""
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path / "cache"))
    for name in ("graphs", "docs", "benchmarks", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path / "experiments").glob("*/config.yaml"):
        path.write_text(reduced(path, small))
    shutil.copytree(presented_run, tmp_path / "runs/quickstart-seed0")
    return Sandbox(tmp_path, ROOT)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_runs(path: Path, sandbox: Sandbox) -> None:
    for block in blocks_of(path, str(path.relative_to(ROOT))):
        if not block.reason:
            sandbox.run(block)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_what_it_is(path: Path) -> None:
    """Every block has a known language."""
    for block in blocks_of(path, str(path.relative_to(ROOT))):
        assert block.language in ("python", "bash", "console", "yaml", "json", PRINTED), (
            f"{block}: say what it is: {block.text[:60]!r}"
        )
        assert block.language not in NOT_CODE


def test_the_runner_finds_what_is_wrong(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, ROOT)
    block = Block("x.md", 3, "console", "$ echo one two; echo three\none ...\nthree\n")
    box.run(block)
    with pytest.raises(AssertionError, match="not said"):
        box.run(Block("x.md", 3, "console", "$ echo one; echo two\ntwo\none\n"))
    box.run(Block("x.md", 3, "console", "$ exit 3  # exit 3\n"))
    for language, text in (
        ("console", "$ echo one two\none\n"),
        ("console", "$ echo ok; exit 3\nok\n"),
        ("console", "echo ok\n"),
        ("bash", "true\nfalse\ntrue\n"),
        ("bash", "false | cat\n"),
        ("json", "[1]"),
        ("bash", "make quickstart NOSUCH=1\n"),
        ("bash", "make nosuch\n"),
    ):
        with pytest.raises(AssertionError):
            box.run(Block("x.md", 3, language, text))
    box.run(Block("x.md", 3, "python", "print('one', 2)\n"))
    box.run(Block("x.md", 3, PRINTED, "one 2\n"))
    with pytest.raises(AssertionError, match="printed"):
        box.run(Block("x.md", 3, PRINTED, "one\n"))
    with pytest.raises(ZeroDivisionError):
        box.run(Block("x.md", 3, "python", "1 / 0"))
    with pytest.raises(Exception, match="unknown key 'ppoo'"):
        box.run(Block("x.md", 3, "yaml", "ppoo: {}"))


def test_examples_shown_are_the_files_that_are_tested() -> None:
    pages = ("own_parts.md", "judges.md")
    shown = {block.title: block.text for page in pages for block in blocks_of(ROOT / "docs" / page, page)}
    for path in sorted((ROOT / "docs/examples").glob("*.py")):
        assert shown[path.name] == path.read_text()


def test_output_is_read_as_what_the_block_before_it_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n<!-- printed -->\n```text\n1\n```\n\n```text\na picture\n```\n")
    assert [(block.language, block.text) for block in blocks_of(page, "page.md")] == [
        ("python", "print(1)\n"),
        (PRINTED, "1\n"),
    ]
