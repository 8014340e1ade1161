"""What two runs must agree in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TIMES = ("seconds/", "eps", "_per_second")


def outcome(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not any(part in name for part in TIMES)} for row in rows]
