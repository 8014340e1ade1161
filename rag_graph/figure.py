"""Figures that notebooks show and that are written to files."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):  # type: ignore[misc]
    """A matplotlib figure of no window: a notebook shows it once, as the value of a cell, whether pyplot was imported or not."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self._save(out, format="png", dpi=100)
        return out.getvalue()

    def write(self, out: str | Path | None, **settings: Any) -> None:
        """Write it to a file, whose ending selects the format; None: nowhere. A file that is there is replaced when the new one is whole.

        Args:
            settings: of matplotlib's `savefig`, such as dpi.
        """
        if out is None:
            return
        path = Path(out)
        path = path if path.suffix else path.with_suffix(".png")
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with beside.open("xb") as handle:  # a new file: nothing is written through a link
                self._save(handle, format=path.suffix[1:], **settings)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def _save(self, out: Any, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            self.savefig(out, **{"bbox_inches": "tight", **settings})
