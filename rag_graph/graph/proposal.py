"""A relation that looks wrong or missing in a graph file, as a sentence; and what a change of a relation changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rag_graph.display import one_line
from rag_graph.graph.spec import BUILT_IN_RELATIONS


def role_change(before: str, after: str) -> str:
    """What it means to put one relation in the place of another: " (rule -> fact: changes what is wanted)" or, between relations of the same
    role or of a file's own types, an empty string. A change to or from a rule changes what an answer is worth."""
    known = [BUILT_IN_RELATIONS.get(name) for name in (before, after)]
    if known[0] is None or known[1] is None or known[0].role == known[1].role:
        return ""
    roles = f"{known[0].role} -> {known[1].role}"
    wanted = "rule" in (known[0].role, known[1].role)
    return f" ({roles}: changes what is {'wanted' if wanted else 'predicted'})"


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
        if self.kind == "contained":
            return f"{what} is stated as the rule '{self.stated}': {self.evidence}"
        if self.stated:
            return f"{what} is stated as '{self.stated}' and looks like '{self.proposed}'{role_change(self.stated, self.proposed)} ({self.evidence})"
        return f"{what} is not stated and looks like '{self.proposed}'{_role(self.proposed)} ({self.evidence})"

    def __repr__(self) -> str:
        return one_line("Proposal", str(self))

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def _role(relation: str) -> str:
    """ ", a fact" or ", a rule" for the name of a built-in relation."""
    known = BUILT_IN_RELATIONS.get(relation)
    return f", a {known.role}" if known and known.role != "neither" else ""
