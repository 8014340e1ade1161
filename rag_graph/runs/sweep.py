"""Many runs from one file: a grid of settings times seeds, one process a run, on this machine or through Ray.

A run is the command `rag-graph train` in a folder of its own, so that what a sweep does can be done by hand, and a run that fails takes
nothing with it. What is finished is passed over and what was stopped goes on when the same file is run again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from rag_graph.config import RunConfig, Settings, load_config
from rag_graph.errors import ConfigError, DataError, TrainingError
from rag_graph.runtime import RunFolder, write_atomically
from rag_graph.settings_file import read_settings, to_yaml

Value = bool | int | float | str | None | list[bool | int | float | str]
RESERVED = ("seed", "output_dir")


class SweepConfig(Settings):
    """What a sweep file says."""

    config: str = Field(description="the config that every run starts from; a path beside this file")
    folder: str | None = Field(
        None, description="where the runs go; default sweeps/NAME OF THE FILE, or of its folder for a sweep.yaml"
    )
    set: tuple[str, ...] = Field((), description="overrides of every run, such as ppo.updates=50")
    grid: dict[str, list[Value]] = Field({}, description="setting -> its values; every combination is an arm")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="each arm is run with each of them")
    executor: Literal["local", "ray"] = Field(
        "local", description="processes of this machine, or tasks of a Ray cluster"
    )
    parallel: int = Field(1, ge=1, description="local: runs at once; they share the cores")
    ray_address: str | None = Field(None, description="ray: of a running cluster, or 'auto'; default starts one here")
    cpus: float = Field(1, gt=0, description="ray: processors that each run is given")
    gpus: float = Field(0, ge=0, description="ray: GPUs that each run is given; a fraction shares one")

    @field_validator("grid")
    @classmethod
    def _not_empty(cls, grid: dict[str, list[Value]]) -> dict[str, list[Value]]:
        for key, values in grid.items():
            if not values:
                raise ValueError(f"'{key}' has no values.")
            _check_key(key)
        return grid

    @field_validator("set")
    @classmethod
    def _not_reserved(cls, overrides: tuple[str, ...]) -> tuple[str, ...]:
        for override in overrides:
            _check_key(override.partition("=")[0].strip())
        return overrides

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is stated twice.")
        return seeds


def _check_key(key: str) -> None:
    if key in RESERVED:
        raise ValueError(f"'{key}' is the sweep's own: state seeds under 'seeds', a folder under 'folder'.")


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep: its arm, its config, its folder, and how it is started or goes on."""

    arm: str
    config: RunConfig
    path: Path

    @property
    def log(self) -> Path:
        return self.path.with_suffix(".log")

    def command(self) -> list[str]:
        """What a shell would run."""
        train = [sys.executable, "-m", "rag_graph", "train"]
        if (self.path / "manifest.json").is_file():
            return [*train, "--resume", str(self.path)]
        return [*train, str(self.path.with_suffix(".yaml"))]

    @property
    def state(self) -> str:
        """waiting (nothing there), running, stopped (its process is gone), finished, interrupted, failed: as its folder tells."""
        try:
            return RunFolder(self.path).standing()
        except DataError:
            return "damaged"

    @property
    def is_held(self) -> bool:
        """True while a process works on it, ours or another's."""
        return RunFolder(self.path).is_held

    @property
    def is_open(self) -> bool:
        """True where there is something left to do that nobody does."""
        return self.state not in ("finished", "running") and not self.is_held

    def recent(self) -> dict[str, Any]:
        """The last line of its metrics; empty before the first."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return {}
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 16_384))
            lines = handle.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            try:
                found: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # being written
            return found
        return {}


class Sweep:
    """
    Args:
        path: the sweep file.

    Raises:
        ConfigError: a bad sweep file or run config, or a folder that holds a sweep of other settings.
    """

    def __init__(self, path: str | Path) -> None:
        self.config = read_settings(path, SweepConfig, what="sweep", example="experiments/quickstart/sweep.yaml")
        self.file = Path(path)
        stem = self.file.stem if self.file.stem != "sweep" else self.file.absolute().parent.name
        self.folder = Path(self.config.folder or f"sweeps/{stem}")
        self.runs = list(self._plan())
        paths = [run.path for run in self.runs]
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ConfigError(f"{path}: two arms of the grid are the same: {twice}. State each value once.")
        for run in self.runs:
            written = run.path / "config.yaml"
            if written.is_file() and load_config(written).fingerprint() != run.config.fingerprint():
                raise ConfigError(
                    f"{run.path}: holds a run of other settings than {path} asks for. Choose another 'folder', or delete it."
                )

    @property
    def base(self) -> Path:
        """The config that every run starts from: beside the sweep file, else from here."""
        beside = self.file.parent / self.config.config
        return beside if beside.is_file() else Path(self.config.config)

    def _plan(self) -> Iterator[SweepRun]:
        grid = self.config.grid
        last = [key.rsplit(".", 1)[-1] for key in grid]
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            short = zip(grid, last, values, strict=True)
            arm = (
                ",".join(f"{key if last.count(name) > 1 else name}={_shown(value)}" for key, name, value in short)
                or "all"
            )
            for seed in self.config.seeds:
                folder = self.folder / _as_file_name(arm) / f"seed{seed}"
                settings = [f"{key}={_as_yaml(value)}" for key, value in chosen.items()]
                overrides = [*self.config.set, *settings, f"seed={seed}", f"output_dir={_as_yaml(str(folder))}"]
                yield SweepRun(arm, load_config(self.base, overrides), folder)

    def start(self) -> None:
        """Make the folder: the sweep as resolved, and the config of each run. A run that died before it began is cleared away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        resolved = self.config.model_copy(
            update={"config": str(self.base.absolute()), "folder": str(self.folder.absolute())}
        )
        write_atomically(self.folder / "sweep.resolved.yaml", to_yaml(resolved))
        for run in self.runs:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(run.path.with_suffix(".yaml"), run.config.to_yaml())
            if run.path.is_dir() and not (run.path / "manifest.json").is_file() and not run.is_held:
                shutil.rmtree(run.path)

    def run(self, on_end: Callable[[SweepRun, int], None] = lambda run, code: None) -> dict[Path, int]:
        """Run what is not finished and what no other process works on.

        Args:
            on_end: called with each run and its exit code when it ends.

        Returns:
            folder -> exit code, of the runs that were started.
        """
        self.start()
        open_runs = [run for run in self.runs if run.is_open]
        execute = _on_ray if self.config.executor == "ray" else _here
        codes: dict[Path, int] = {}
        for run, code in execute(open_runs, self.config):
            codes[run.path] = code
            on_end(run, code)
        return codes


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_yaml(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_file_name(text: str) -> str:
    """With a digest of the text where it had to be changed or cut, so that no two arms meet in one folder."""
    name = re.sub(r"[^\w=,.+-]", "_", text, flags=re.ASCII)[:120]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _here(runs: Sequence[SweepRun], config: SweepConfig) -> Iterator[tuple[SweepRun, int]]:
    """Up to `parallel` processes at once; Ctrl-C reaches them, and each writes down where it stopped."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // config.parallel))
    going: dict[Path, subprocess.Popen[bytes]] = {}
    stopping = threading.Event()

    def one(run: SweepRun) -> int:
        if stopping.is_set():
            return -signal.SIGINT
        if not run.is_open:  # another sweep was quicker
            return 0
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                run.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": threads}, start_new_session=True
            )  # fmt: skip
            going[run.path] = process
            return process.wait()

    with ThreadPoolExecutor(config.parallel) as pool:
        waiting = {pool.submit(one, run): run for run in runs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            stopping.set()
            for process in going.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
            raise


def _on_ray(runs: Sequence[SweepRun], config: SweepConfig) -> Iterator[tuple[SweepRun, int]]:
    """One Ray task a run. The folder must be one that every machine of the cluster sees, and the package installed on each."""
    try:
        import ray
    except ImportError:
        raise ConfigError("executor: ray is not installed. Install the extra: pip install 'rag-graph[ray]'.") from None
    started_here = not ray.is_initialized()
    if started_here:
        _check_address(config.ray_address)
        try:
            ray.init(address=config.ray_address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise TrainingError(f"ray_address {config.ray_address}: no Ray cluster answers there: {error}") from None
    try:
        task = ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, max_retries=0)(_in_task)
        where = os.getcwd()
        waiting = {task.remote(run.command(), str(run.log), where, max(1, int(config.cpus))): run for run in runs}
        try:
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                run = waiting.pop(done)
                try:
                    code = int(ray.get(done))
                except ray.exceptions.RayError as error:
                    with run.log.open("a", encoding="utf-8") as log:
                        log.write(f"{error}\n")
                    code = 1
                yield run, code
        except BaseException:
            for task_id in waiting:
                ray.cancel(task_id)
            raise
    finally:
        if started_here:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """Ray tries for minutes to reach a cluster that is not there; a connection tells at once.

    Raises:
        TrainingError: nobody answers at host:port.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TrainingError(f"ray_address {address}: no Ray cluster answers there: {error}") from None


def _in_task(command: list[str], log: str, where: str, threads: int) -> int:
    """Runs in a Ray worker; an interrupt reaches the run as Ctrl-C."""
    with open(log, "ab") as handle:
        process = subprocess.Popen(
            command, stdout=handle, stderr=handle, stdin=subprocess.DEVNULL, cwd=where, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )  # fmt: skip
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            raise
