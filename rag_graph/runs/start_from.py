"""A run whose reward starts with what was learned before: what can be wrong with it is said before the run has a folder."""

from __future__ import annotations

from pathlib import Path

from rag_graph.config import RunConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph


def check_start(config: RunConfig, graph: AuxiliaryGraph) -> None:
    """Check `reward.start_from`, where a config has it.

    Raises:
        ConfigError: no reward was saved there, or for another graph or readout; says what differs.
    """
    if config.reward.start_from is not None:
        from rag_graph.reward.saved import check_saved  # loads torch

        check_saved(Path(config.reward.start_from), graph, config.reward.readout)
