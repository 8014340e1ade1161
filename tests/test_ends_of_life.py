"""A disk that is full, a home that is not there, a pipe that closes, odd paths: one sentence each, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run
from rag_graph.config import load_config
from rag_graph.errors import RagGraphError
from rag_graph.report.present import present_run
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.train import resume, train
from rag_graph.runtime import append_records, cache_folder
from rag_graph.stored_file import read_records
from tests.conftest import Cli

Outcome = Callable[[Path], list[dict[str, Any]]]


class Disk:
    """A disk below a folder that takes `room` more files, then is full: opening to write and making folders fail. None: it has room for all."""

    folder: str | None = None
    room: int | None = None
    seen = 0

    def looks(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in ("open", "os.mkdir"):
            return
        path = arguments[0]
        writes = event == "os.mkdir" or (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder):
            self.seen += 1
            if self.room is not None and self.seen > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


DISK = Disk()
HOOKED: list[bool] = []


@pytest.fixture
def disk() -> Iterator[Disk]:
    """An audit hook of Python cannot be taken out: there is one, which looks only during a test."""
    if not HOOKED:
        sys.addaudithook(lambda event, arguments: DISK.looks(event, arguments))
        HOOKED.append(True)
    yield DISK
    DISK.folder = DISK.room = None


def is_whole(folder: Path) -> None:
    """What is there can be read: JSON is JSON, and of `.jsonl` every line."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line)


ROOMS = [40, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 150, 8))]


@pytest.mark.parametrize("room", ROOMS)
def test_a_disk_that_is_full_from_any_file_on(
    disk: Disk, room: int, root: Path, small: tuple[str, ...], tmp_path: Path, finished_run: Path, outcome: Outcome
) -> None:
    folder = tmp_path / "run"
    config = load_config(root / "experiments/quickstart/config.yaml", [*small, f"output_dir={folder}"])
    disk.folder, disk.room, disk.seen = str(folder), room, 0
    quiet = StageProgress(quiet=True)
    try:
        present_run(train(config, progress=quiet))
    except (RagGraphError, OSError) as error:
        said = str(error)
        assert "No space left on device" in said
        assert str(folder) in said
        assert len(said.splitlines()) == 1
    else:
        assert disk.seen <= room, "a write failed, and nobody was told"
        pytest.skip(f"a run writes {disk.seen} files")
    disk.folder = None
    is_whole(folder) if folder.exists() else None
    if not (folder / "manifest.json").is_file():
        return  # it had not begun
    run = Run(folder) if Run(folder).status["status"] == "finished" else resume(folder, progress=quiet)
    present_run(run)
    assert outcome(folder) == outcome(finished_run)
    assert (folder / "episodes.jsonl").read_text() == (finished_run / "episodes.jsonl").read_text()
    assert run.gain == Run(finished_run).gain


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
@pytest.mark.parametrize("limit", [100, 1000, 4000, 10_000, 20_000, 50_000, 100_000, 200_000])
def test_files_that_can_be_written_in_part(
    limit: int, root: Path, small: tuple[str, ...], tmp_path: Path, finished_run: Path, outcome: Outcome
) -> None:
    """The system cuts the write, in libraries too: of weights, of pictures."""
    import resource

    folder = tmp_path / "run"
    config = load_config(root / "experiments/quickstart/config.yaml", [*small, f"output_dir={folder}"])
    quiet, hard = StageProgress(quiet=True), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises((RagGraphError, OSError)) as caught:
            present_run(train(config, progress=quiet))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    said = str(caught.value)
    assert str(folder) in said, said
    assert len(said.splitlines()) == 1, said
    is_whole(folder)
    if (folder / "manifest.json").is_file():
        run = Run(folder) if Run(folder).status["status"] == "finished" else resume(folder, progress=quiet)
        present_run(run)
        assert outcome(folder) == outcome(finished_run)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_command_says_that_its_output_has_no_space() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rag_graph", "graph", "schema"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == (
        "error: a file or the output: No space left on device. Check the path, the permissions and the space on the disk.\n"
    )


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.jsonl"
    append_records(path, [{"a": 1}])
    real = Path.open

    def half(self: Path, *arguments: Any, **named: Any) -> Any:
        handle = real(self, *arguments, **named)

        @contextlib.contextmanager
        def full() -> Iterator[Any]:
            handle.write('{"a": ')
            handle.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield handle

        return full()

    monkeypatch.setattr(Path, "open", half)
    with pytest.raises(RagGraphError, match="No space left"):
        append_records(path, [{"a": 2}])
    monkeypatch.undo()
    append_records(path, [{"a": 3}])
    assert read_records(path) == [{"a": 1}, {"a": 3}]


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "RAG_GRAPH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert cache_folder().name == "rag_graph"
    monkeypatch.setenv("RAG_GRAPH_CACHE", "/x")
    assert cache_folder() == Path("/x")


BARE = {name: value for name, value in os.environ.items() if name not in ("HOME", "LANG", "XDG_CACHE_HOME")}
POSIX = {**BARE, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("command", ["check", pytest.param("train", marks=pytest.mark.slow)])
def test_commands_in_a_bare_place(command: str, root: Path, tmp_path: Path) -> None:
    """No HOME, the POSIX locale, 64 threads, no standard input; folders and texts that are not ASCII; a file that is not there."""
    folder = tmp_path / 'größe \'n "q"\nnew line'
    folder.mkdir()
    text = (root / "graphs/parcels.yaml").read_text(encoding="utf-8")
    (folder / "g.yaml").write_text(text + "\n# 正\n", encoding="utf-8")
    (folder / "c.yaml").write_text("graph: g.yaml\nname: run\n", encoding="utf-8")
    given = {"check": ["graph", "check", "g.yaml", "gone ü.yaml"], "train": ["train", "c.yaml", "--dry-run"]}[command]
    done = subprocess.run(
        [sys.executable, "-m", "rag_graph", *given],
        capture_output=True,
        env={**POSIX, "OMP_NUM_THREADS": "64", "PYTHONPATH": str(root)},
        cwd=folder,
        preexec_fn=lambda: os.close(0),
    )
    said = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in said
    if command == "check":
        assert "ok," in said
        assert "gone ?.yaml: " in said or "gone \\" in said
        assert "no such" in said
    else:
        assert done.returncode == 0, said
        assert "what will happen" in said


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGPIPE")
@pytest.mark.parametrize("arguments", [["graph", "schema"], ["graph", "show", "four_tasks"]])
def test_a_reader_that_goes_away(arguments: list[str], root: Path) -> None:
    """`rag-graph ... | head -n 0`: no traceback, and nothing is said."""
    one, other = os.pipe()
    os.close(one)
    done = subprocess.run(
        [sys.executable, "-m", "rag_graph", *arguments],
        stdout=other,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    os.close(other)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["two words", "'quote\" and [b]", "line\nbreak", "-dash", "ümlaut 正", "$HOME;x"])
def test_run_folders_of_any_name(name: str, finished_run: Path, tmp_path: Path, run_cli: Cli) -> None:
    folder = tmp_path / name
    folder.symlink_to(finished_run)
    done = run_cli("report", folder, "--out", tmp_path / f"{name}.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{name}.html").is_file()
    compared = run_cli("compare", folder, folder)
    assert compared.returncode == 0, compared.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_folders_that_may_not_be_written(finished_run: Path, tmp_path: Path, run_cli: Cli, root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    config = root / "experiments/quickstart/config.yaml"
    for command in (
        ["report", finished_run, "--out", closed / "r.html"],
        ["train", config, "--set", f"output_dir={closed / 'run'}"],
        ["train", config, "--set", f"output_dir={closed / 'run'}", "--dry-run"],
        ["graph", "draw", "parcels", closed / "g.svg"],
        ["init", closed / "new"],
    ):
        done = run_cli(*command)
        assert done.returncode != 0
        assert str(closed) in done.stderr
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
