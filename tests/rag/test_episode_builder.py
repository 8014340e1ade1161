"""Episodes from the columns of a batch, and evidence that travels through a data set."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import pytest
from datasets import Dataset

from rag_graph.rag.episode_builder import EpisodeBuilder, evidence_of, row_of
from rag_graph.rag.pipeline import Prepared
from rag_graph.records import ContextNode, Evidence, Example

EXAMPLES = [Example("1", "t", {"input": "red"}, ("kettle",)), Example("2", "t", {"input": "blue"})]
FOUND = (
    Evidence(ContextNode("notes/a", "notes", "A", "a red kettle", "s", ("b", "c")), 0.5, 1, {"bm25": 2.0}, "words"),
    Evidence(ContextNode("notes/b", "notes", "B", "a mixer"), 0.25, 2, {"dense": 0.75}),
)


def test_an_episode_holds_what_the_columns_say() -> None:
    build = EpisodeBuilder(EXAMPLES, stop_ids={9})
    chat = [{"role": "assistant", "content": " a mixer"}]
    first, second = build(
        ["p", "q"], [" a kettle ", chat], [[5, 9], [5, 6]], ["1", "2"], draft=["d", ""], evidence=[FOUND, ()],
        trainer_state=SimpleNamespace(global_step=3), answer=["another column", ""],
    )  # fmt: skip
    assert (first.id, first.round, second.id) == ("4/1", 4, "4/2")
    assert (first.example, first.prompt, first.response, first.draft) == (EXAMPLES[0], "p", "a kettle", "d")
    assert first.evidence == FOUND
    assert (second.response, second.draft, second.evidence) == ("a mixer", "", ())
    assert (first.truncated, second.truncated) == (False, True), "only the first wrote an end token"


def test_without_retrieval_and_end_tokens() -> None:
    build = EpisodeBuilder(EXAMPLES)
    (episode,) = build(["p"], ["x"], [[5]], ["2"])
    assert (episode.draft, episode.evidence, episode.truncated, episode.round) == ("", (), False, 0)
    build.update = 7
    assert build(["p"], ["x"], [[5]], ["2"])[0].id == "7/2", (
        "where no trainer says the update, it is the one that was set"
    )
    with pytest.raises(KeyError, match="gone"):
        build(["p"], ["x"], [[5]], ["gone"])


def test_evidence_is_what_it_was_after_a_data_set() -> None:
    """A column of a data set knows one set of keys: the scores that a piece lacks come back as None."""
    row = row_of(Prepared(EXAMPLES[0], "p", "d", FOUND))
    assert row == {"prompt": "p", "example_id": "1", "draft": "d", "evidence": FOUND, "prompt_cut": False}
    table = Dataset.from_list([{"evidence": [asdict(piece) for piece in FOUND]}])
    stored = table[0]["evidence"]
    assert stored[0]["scores"] == {"bm25": 2.0, "dense": None}
    assert tuple(map(evidence_of, stored)) == FOUND
    assert evidence_of(FOUND[0]) is FOUND[0]
