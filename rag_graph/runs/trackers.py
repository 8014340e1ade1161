"""Trackers of experiments that a config names in `report_to`. transformers' integrations send the metrics; here is what must be there first,
and where each tracker writes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag_graph.config import Tracker
from rag_graph.errors import ConfigError

PROJECT = "rag-graph"
"""Of wandb and trackio, unless WANDB_PROJECT or TRACKIO_PROJECT names another."""
_MODULES: dict[Tracker, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """
    Raises:
        ConfigError: one is not installed; says what to install.
    """
    missing = [tracker for tracker in trackers if not any(map(_is_installed, _MODULES[tracker]))]
    if missing:
        raise ConfigError(
            f"report_to: {', '.join(missing)} is not installed. Install it (pip install {' '.join(missing)}), or leave it out."
        )


def _is_installed(module: str) -> bool:
    """A folder that wandb or TensorBoard wrote has the name of its package, and is none."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def run_name(folder: Path) -> str:
    """What trackers call a run: the last two folders of its path, such as "readout=flat/seed0" in a sweep."""
    return "/".join(folder.absolute().parts[-2:])


@contextlib.contextmanager
def tracked(trackers: Sequence[Tracker], folder: Path) -> Iterator[None]:
    """While PPO trains: each tracker writes into the run folder, unless the environment says where. A wandb run that began here ends here, so that
    the next run of the same process has its own.

    TensorBoard writes to `tensorboard/`, wandb to `wandb/`, trackio to `trackio/`; trackio only if nothing imported it before.
    """
    places = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "WANDB_DIR": str(folder),
        "WANDB_PROJECT": PROJECT,
        "TRACKIO_DIR": str(folder / "trackio"),
    }
    unset = {name: place for name, place in places.items() if name not in os.environ} if trackers else {}
    began = _wandb_runs()
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
        if "wandb" in trackers and _wandb_runs() and not began:
            sys.modules["wandb"].finish()
            sys.modules["wandb"].teardown()  # it would keep the folder of this run for the next


def _wandb_runs() -> bool:
    """Whether a wandb run is going on in this process."""
    return getattr(sys.modules.get("wandb"), "run", None) is not None
