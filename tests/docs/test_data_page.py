"""The page on data: each mistake that it tells is made from what it shows, and gives the message that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rag_graph.config import DataConfig
from rag_graph.data.load import load_data
from rag_graph.errors import RagGraphError
from rag_graph.graph import load_graph

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^### ", PAGE, flags=re.M)[1:]
BLOCK = re.compile(r"^`([\w.]+)`(, saved as Windows-1252)?:\n\n```text\n(.*?)^```$", re.M | re.S)
MESSAGE = re.compile(r"^The message:\n\n```text\n(.*?)^```$", re.M | re.S)
GOOD = {
    "train.jsonl": '{"text": "the invoice is wrong", "team": "billing"}\n',
    "test.jsonl": '{"text": "my parcel is late", "team": "shipping"}\n',
    "notes.jsonl": '{"id": 1, "text": "Parcels leave at noon."}\n',
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAG_GRAPH_DATA", raising=False)
    (stated,) = re.findall(r"<!-- file: graph.yaml -->\n```yaml\n(.*?)^```$", PAGE, flags=re.M | re.S)
    for name, content in {"graph.yaml": stated, **GOOD}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_the_project_is_right_but_for_the_mistakes(project: Path) -> None:
    data = load_data(load_graph("graph.yaml"), DataConfig(), seed=0)
    assert [example.references for example in data.train + data.test] == [("billing",), ("shipping",)]
    assert [section.partition(".")[0] for section in SECTIONS] == list("123456789")


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_each_mistake_gives_the_message_of_the_page(project: Path, section: str) -> None:
    (message,) = MESSAGE.findall(section)
    files = BLOCK.findall(section)
    assert files
    for name, other, content in files:
        (project / name).write_bytes(content.encode("cp1252" if other else "utf-8"))
    with pytest.raises(RagGraphError) as raised:
        load_data(load_graph("graph.yaml"), DataConfig(), seed=0)
    assert str(raised.value) == message.strip()
