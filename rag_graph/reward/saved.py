"""What a reward has learned, in a folder: written by a fit or a run, and taken over by another run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_graph.errors import ConfigError, TrainingError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.state_file import load_state, save_state
from rag_graph.stored_file import using

if TYPE_CHECKING:
    from rag_graph.reward.fittable import Fittable

NAME = "reward"
ABOUT = "about"


def save_reward(reward: Fittable, folder: Path) -> Path:
    """See `GraphReward.save`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_state(folder, NAME, {ABOUT: about(reward.graph, reward.config.readout), **reward.state_dict()})
    except OSError as error:
        raise TrainingError(
            f"{folder}: the reward cannot be written: {error.strerror or error}. Choose another folder."
        ) from None
    return folder


def load_reward(reward: Fittable, folder: Path) -> None:
    """See `GraphReward.start_from`."""
    state = check_saved(folder, reward.graph, reward.config.readout)
    with using(folder / f"{NAME}.json"):
        budget = {**state["budget"], "size": None}  # the updates of this run may be of another size
        reward.load_state_dict({**state, "budget": budget, "progress": 0.0, "kl": float("nan"), "updates": 0})


def check_saved(folder: Path, graph: AuxiliaryGraph, readout: str) -> dict[str, Any]:
    """The state of a saved reward that fits a graph and a readout.

    Raises:
        ConfigError: nothing was saved there, it is damaged, or for another graph or readout; says what differs.
    """
    where = f"reward.start_from: {folder}"
    if not (folder / f"{NAME}.json").is_file():
        there = "it has no reward.json" if folder.is_dir() else "no such folder"
        raise ConfigError(
            f"{where}: {there}. Name a folder that `rag-graph fit --out` or GraphReward.save wrote, or a finished run."
        )
    try:
        state: dict[str, Any] = load_state(folder, NAME)
        saved = state.pop(ABOUT)
    except Exception as error:  # JSON and safetensors raise errors of many types
        raise ConfigError(
            f"{where}: reward.json cannot be read ({type(error).__name__}: {error}). Fit again."
        ) from None
    ours = about(graph, readout)
    if not isinstance(saved, dict):
        raise ConfigError(f"{where}: reward.json does not say what it was fitted for. Fit again.")
    for what, mine in ours.items():
        if saved.get(what) != mine:
            raise ConfigError(f"{where}: {_differs(what, saved.get(what), mine)}")
    return state


def about(graph: AuxiliaryGraph, readout: str) -> dict[str, Any]:
    """What must agree between a saved reward and the one that takes it over."""
    edges = [f"{edge.source} -> {edge.target} {edge.relation} {edge.strength:g}" for edge in graph.spec.edges]
    return {"readout": readout, "nodes": list(graph.nodes), "edges": edges}


def _differs(what: str, theirs: Any, ours: Any) -> str:
    if what == "readout":
        return f"fitted with the readout '{theirs}', and reward.readout is '{ours}'. Set reward.readout: {theirs}, or fit with --readout {ours}."
    only_there = [one for one in theirs or [] if one not in ours]
    only_here = [one for one in ours if one not in (theirs or [])]
    parts = [
        f"{text}: {', '.join(part[:5])}"
        for text, part in (("only in the fit", only_there), ("only in this graph", only_here))
        if part
    ]
    return f"fitted for another graph, whose {what} differ ({'; '.join(parts) or 'in their order'}). Fit again with this graph."
