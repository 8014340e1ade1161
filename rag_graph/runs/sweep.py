"""Many runs from one file: a grid of settings times seeds. When the same file is run again, finished runs are skipped and stopped runs are
resumed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from rag_graph.config import RunConfig, Settings, load_config, read_config
from rag_graph.errors import ConfigError
from rag_graph.runs.executors import is_open, log_of, run_here, run_on_ray
from rag_graph.runs.folder import check_place, is_locked, locked
from rag_graph.runtime import write_atomically
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
    seeds: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4), min_length=1, description="each arm is run with each of them; fewer than 5 tell little"
    )
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


class PlannedRun(NamedTuple):
    """One run of a sweep: what its arm is called, its config, and the folder that it has or will have."""

    arm: str
    config: RunConfig
    path: Path


class Sweep:
    """
    Args:
        path: the sweep file.

    Raises:
        ConfigError: a bad sweep file or run config, or a folder that holds a sweep of other settings.
    """

    def __init__(self, path: str | Path) -> None:
        self.config = read_settings(path, SweepConfig, what="sweep")
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
            if written.is_file() and read_config(written).fingerprint() != run.config.fingerprint():
                raise ConfigError(
                    f"{run.path}: holds a run of other settings than {path} asks for. Choose another 'folder', or delete it."
                )

    @property
    def base(self) -> Path:
        """The config that every run starts from: beside the sweep file, else from here."""
        beside = self.file.parent / self.config.config
        return beside if beside.is_file() else Path(self.config.config)

    def _plan(self) -> Iterator[PlannedRun]:
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
                yield PlannedRun(arm, load_config(self.base, overrides), folder)

    def start(self) -> None:
        """Make the folder: the sweep as resolved, and the config of each run. A run that died before it began is cleared away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        resolved = self.config.model_copy(
            update={"config": str(self.base.absolute()), "folder": str(self.folder.absolute())}
        )
        write_atomically(self.folder / "sweep.resolved.yaml", to_yaml(resolved))
        for run in self.runs:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            check_place(log_of(run.path))
            write_atomically(run.path.with_suffix(".yaml"), run.config.to_yaml())
            if run.path.is_dir() and not (run.path / "manifest.json").is_file() and not is_locked(run.path):
                shutil.rmtree(run.path)

    def run(self, on_end: Callable[[Path, int], None] = lambda path, code: None) -> dict[Path, int]:
        """Run what is not finished and what no other process works on.

        Args:
            on_end: called with the folder and the exit code of each run when it ends.

        Returns:
            folder -> exit code, of the runs that were started.

        Raises:
            DataError: another process runs this sweep.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        codes: dict[Path, int] = {}
        with locked(self.folder, "sweep"):
            self.start()
            config, waiting = self.config, [run.path for run in self.runs if is_open(run.path)]
            if config.executor == "ray":
                ended = run_on_ray(waiting, config.ray_address, config.cpus, config.gpus)
            else:
                ended = run_here(waiting, config.parallel)
            for path, code in ended:
                codes[path] = code
                on_end(path, code)
        return codes


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_yaml(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_file_name(text: str) -> str:
    """With a digest of the text where it had to be changed or cut, so that no two arms meet in one folder."""
    name = re.sub(r"[^\w=,.+-]", "_", text, flags=re.ASCII)[:120]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
