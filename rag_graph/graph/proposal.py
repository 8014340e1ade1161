"""A relation that looks wrong or missing in a graph file, as a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something in the file that looks wrong. A person decides what to do."""

    kind: str  # flip, relation, gate or contained
    source: str
    target: str
    stated: str  # relation in the file, or ""
    proposed: str
    evidence: str

    def __str__(self) -> str:
        what = f"{self.source} -> {self.target}"
        if self.kind == "flip":
            return f"{what} is stated as '{self.stated}' and looks like '{self.proposed}' ({self.evidence})"
        if self.kind == "contained":
            return f"{what} is stated as the rule '{self.stated}': {self.evidence}"
        return f"{what} is not stated and looks like '{self.proposed}' ({self.evidence})"

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
