"""Which rows an update answers and which random numbers it uses: functions of the seed and the update alone.

Nothing has to be remembered for a resumed run, and two processes together do what one would.
"""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from rag_graph.errors import DataError
from rag_graph.generation.chat import check_chat_rows
from rag_graph.ppo.reward_protocols import RESERVED, Row

_SHUFFLE, _SAMPLING, _MINI_BATCHES = range(3)


@dataclass(frozen=True, slots=True)
class EpisodeOrder:
    """
    Args:
        seed: of everything here.
        num_rows: rows of the data set; epochs follow each other without a gap, each shuffled anew.
        batch_size: episodes of an update on this process.
        samples: answers to each row of an update, side by side in the batch; they divide `batch_size`.
        process_index, num_processes: this process's place.
    """

    seed: int
    num_rows: int
    batch_size: int
    process_index: int = 0
    num_processes: int = 1
    samples: int = 1

    def rows(self, update: int) -> list[int]:
        """Positions in the data set of this process's share of update `update` (from 0), one per episode."""
        num_prompts = self.batch_size // self.samples
        start = (update * self.num_processes + self.process_index) * num_prompts
        wanted = range(start, start + num_prompts)
        epochs = {at // self.num_rows for at in wanted}
        orders = {epoch: self._generator(_SHUFFLE, epoch).permutation(self.num_rows) for epoch in epochs}
        return [int(orders[at // self.num_rows][at % self.num_rows]) for at in wanted for _ in range(self.samples)]

    def uniforms(self, update: int, num_tokens: int) -> Tensor:
        """float32 [B, num_tokens] in [0, 1): this process's rows of the update's numbers."""
        shape = (self.num_processes, self.batch_size, num_tokens)
        return torch.from_numpy(self._generator(_SAMPLING, update).random(shape, np.float32)[self.process_index])

    def mini_batches(self, update: int) -> np.random.Generator:
        """For the shuffles of the update's epochs on this process."""
        return self._generator(_MINI_BATCHES, update, self.process_index)

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])


def as_dataset(rows: Dataset | Sequence[Row], name: str, tokenizer: Any = None) -> Dataset:
    """Rows as a data set with a column `prompt`. A row of a list may lack columns: they are None.

    Chat messages are rendered once here where a tokenizer is given (see `check_chat_rows` for how many), so that a template that
    refuses them says so now.

    Raises:
        DataError: there is none, there are no rows, a prompt is neither text nor chat messages, its template refuses it, or a column
            holds values of different types.
    """
    if isinstance(rows, Mapping | IterableDataset):
        raise DataError(
            f"{name} is a {type(rows).__name__}. One data set with a length is expected, or a list of rows."
        )
    dataset = rows if isinstance(rows, Dataset) else _table(list(rows), name)
    if "prompt" not in dataset.column_names:
        raise DataError(f"{name} has no column 'prompt' (it has: {', '.join(dataset.column_names) or 'no rows'}).")
    if len(dataset) == 0:
        raise DataError(f"{name} has no rows.")
    unseen = [column for column in dataset.column_names if column in RESERVED]
    if unseen:
        warnings.warn(
            f"{name}: rewards do not get the columns {', '.join(unseen)}: they are the names of arguments that every reward has. Rename them.",
            RuntimeWarning,
            stacklevel=3,
        )
    wanted = [column for column in ("prompt", "tools", "chat_template_kwargs") if column in dataset.column_names]
    check_chat_rows(tokenizer, dataset.select_columns(wanted), name)
    return dataset


def _table(rows: list[Row], name: str) -> Dataset:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}, row {number}: a {type(row).__name__}. A dict of columns is expected.")
    kinds = {type(row.get("prompt")): number for number, row in reversed(list(enumerate(rows)))}
    if str in kinds and list in kinds:
        raise DataError(
            f"{name}: the prompt of row {kinds[str]} is a text, and that of row {kinds[list]} is a list of messages. Give all prompts as texts, or all as "
            "chat messages."
        )
    columns = {
        column: [row.get(column) for row in rows] for column in dict.fromkeys(key for row in rows for key in row)
    }
    try:
        return Dataset.from_dict(columns)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for column, values in columns.items():
            if (misfit := _first_misfit(values)) is not None:
                raise DataError(
                    f"{name}, row {misfit}: {values[misfit]!r:.80} does not fit into column '{column}' with the rows before. A column holds values of one "
                    "type: numbers, texts, lists or dicts of them."
                ) from None
        raise


def _first_misfit(values: list[Any]) -> int | None:
    """The first value that cannot be stored together with those before it; None where all can."""

    def fits(count: int) -> bool:
        try:
            Dataset.from_dict({"column": values[:count]})
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return False
        return True

    if fits(len(values)):
        return None
    return bisect.bisect_left(range(len(values) + 1), True, key=lambda count: not fits(count)) - 1


def rows_at(dataset: Dataset, positions: Sequence[int]) -> list[Row]:
    """Rows of a data set, in the order of `positions`."""
    columns: dict[str, list[Any]] = dataset[list(positions)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
