"""Nested states on disk: safetensors and JSON, never pickle. The JSON holds a digest of both files, so that a damaged state is refused."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rag_graph.errors import TrainingError
from rag_graph.stored_file import check_regular, damaged, read_json, using


def save_state(folder: Path, name: str, state: Any) -> None:
    """Nested dicts, lists and tuples of tensors, arrays, numbers, texts and None -> NAME.json, and NAME.safetensors for the tensors.

    Raises:
        TrainingError: the state holds something else; names the place.
    """
    tensors: dict[str, Tensor] = {}
    content = _to_json(state, name, tensors)
    file = folder / f"{name}.safetensors"
    if tensors:
        save_file(tensors, file)
    text = json.dumps({"sha256": _digest(content, file if tensors else None), "state": content}, allow_nan=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def load_state(folder: Path, name: str) -> Any:
    """What `save_state` was given; tensors on the CPU.

    Raises:
        DamagedFileError: one of the two files is missing, or is not what was written.
    """
    path, file = folder / f"{name}.json", folder / f"{name}.safetensors"
    written = read_json(path)
    if written is None:
        raise damaged(path, "is missing")
    if not isinstance(written, dict) or set(written) != {"sha256", "state"}:
        raise damaged(path, "holds no state")
    there = check_regular(file)
    if not there and '"tensor"' in json.dumps(written["state"]):
        raise damaged(file, "is missing")
    with using(file):
        tensors = load_file(file) if there else {}
        digest = _digest(written["state"], file if there else None)
    if digest != written["sha256"]:
        raise damaged(path, f"it or {file.name} is not what was written")
    with using(path):
        return _from_json(written["state"], tensors)


def _digest(content: Any, file: Path | None) -> str:
    """SHA-256 of the JSON and of the file of tensors."""
    digest = hashlib.sha256(json.dumps(content).encode())
    if file is not None:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def _to_json(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        key = str(len(tensors))
        try:  # a copy: safetensors takes no two tensors of one memory, and the state may move on
            tensors[key] = torch.as_tensor(value).detach().to("cpu", copy=True).contiguous()
        except (TypeError, RuntimeError) as error:
            raise TrainingError(f"the state {place} is an array that no checkpoint can hold: {error}") from None
        return {"tensor" if isinstance(value, Tensor) else "array": key}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str | int | float | bool | None)]
        if odd:
            raise TrainingError(
                f"the state {place} has a key {odd[0]!r}, which no checkpoint can hold. Use texts or numbers."
            )
        return {"dict": [[key, _to_json(item, f"{place}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_to_json(item, f"{place}.{index}", tensors) for index, item in enumerate(value)]}
    raise TrainingError(
        f"the state {place} is a {type(value).__name__}, which no checkpoint can hold. Tensors, arrays, numbers, texts, None, lists and dicts can be kept."
    )


def _from_json(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {key: _from_json(item, tensors) for key, item in content}
    items = [_from_json(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
