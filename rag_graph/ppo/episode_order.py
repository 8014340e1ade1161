"""Which rows an update answers and which random numbers it uses: functions of the seed and the update alone.

Nothing has to be remembered for a resumed run, and two processes together do what one would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from rag_graph.errors import DataError
from rag_graph.ppo.reward_functions import Row

_SHUFFLE, _SAMPLING, _MINI_BATCHES = range(3)


@dataclass(frozen=True, slots=True)
class EpisodeOrder:
    """
    Args:
        seed: of everything here.
        num_rows: rows of the data set; epochs follow each other without a gap, each shuffled anew.
        batch_size: episodes of an update on this process.
        process_index, num_processes: this process's place.
    """

    seed: int
    num_rows: int
    batch_size: int
    process_index: int = 0
    num_processes: int = 1

    def rows(self, update: int) -> list[int]:
        """Positions in the data set of this process's share of update `update` (from 0)."""
        start = (update * self.num_processes + self.process_index) * self.batch_size
        wanted = range(start, start + self.batch_size)
        epochs = {at // self.num_rows for at in wanted}
        orders = {epoch: self._generator(_SHUFFLE, epoch).permutation(self.num_rows) for epoch in epochs}
        return [int(orders[at // self.num_rows][at % self.num_rows]) for at in wanted]

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
    """Rows as a data set with a column `prompt`.

    Raises:
        DataError: there is none, there are no rows, a prompt is neither text nor chat messages, or a column has a reserved name.
    """
    if isinstance(rows, Mapping | IterableDataset):
        raise DataError(
            f"{name} is a {type(rows).__name__}. One data set with a length is expected, or a list of rows."
        )
    dataset = rows if isinstance(rows, Dataset) else Dataset.from_list(list(rows))
    if "prompt" not in dataset.column_names:
        raise DataError(f"{name} has no column 'prompt' (it has: {', '.join(dataset.column_names) or 'no rows'}).")
    if len(dataset) == 0:
        raise DataError(f"{name} has no rows.")
    for reserved in ("prompts", "completions", "completion_ids", "trainer_state"):
        if reserved in dataset.column_names:
            raise DataError(f"{name} has a column '{reserved}', the name of an argument of every reward. Rename it.")
    for row, prompt in enumerate(dataset["prompt"]):
        chat = isinstance(prompt, list) and bool(prompt) and all(isinstance(message, dict) for message in prompt)
        if not chat and not isinstance(prompt, str):
            raise DataError(
                f"{name}, row {row}: the prompt is {prompt!r}. A text, or a list of chat messages, is expected."
            )
        if chat and tokenizer is not None and tokenizer.chat_template is None:
            raise DataError(
                f"{name}, row {row}: chat messages, and the tokenizer has no chat_template. Set one, or give texts."
            )
    return dataset


def rows_at(dataset: Dataset, positions: Sequence[int]) -> list[Row]:
    """Rows of a data set, in the order of `positions`."""
    columns: dict[str, list[Any]] = dataset[list(positions)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
