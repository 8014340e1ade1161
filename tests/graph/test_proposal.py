"""A proposal says when it would turn a fact into a rule."""

from __future__ import annotations

import pytest

from rag_graph.graph.proposal import Proposal, role_change


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("bounds", "prerequisite", " (fact -> rule: changes what is wanted)"),
        ("prerequisite", "bounds", " (rule -> fact: changes what is wanted)"),
        ("shares_structure", "indicates", " (neither -> fact: changes what is predicted)"),
        ("supports", "conflicts", ""),
        ("mine", "bounds", ""),
    ],
)
def test_a_change_of_role(before: str, after: str, said: str) -> None:
    assert role_change(before, after) == said


def test_as_a_sentence() -> None:
    turned = Proposal("fact", "c", "t", "prerequisite", "bounds", "fitted gate .90")
    assert str(turned) == (
        "c -> t is stated as 'prerequisite' and looks like 'bounds' (rule -> fact: changes what is wanted) (fitted gate .90)"
    )
    flipped = Proposal("flip", "c", "t", "indicates", "indicates_low", "t = -5")
    assert str(flipped) == "c -> t is stated as 'indicates' and looks like 'indicates_low' (t = -5)"
    missing = Proposal("relation", "c", "t", "", "indicates", "t = 5")
    assert str(missing) == "c -> t is not stated and looks like 'indicates', a fact (t = 5)"
    assert Proposal(**missing.as_dict()) == missing
