"""Rows of tables: every kind of file, the place of each row, damaged files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pandas
import pytest

from rag_graph.data.tables import read_table
from rag_graph.errors import DataError

ROWS = [{"id": "a", "text": "one\ntwo"}, {"id": "b", "text": "three, four"}]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("d.jsonl", [1, 2]),
        ("d.jsonl.gz", [1, 2]),
        ("d.json", [1, 2]),
        ("d.csv", [3, 4]),
        ("d.csv.gz", [3, 4]),
        ("d.tsv", [3, 4]),
        ("d.parquet", [1, 2]),
    ],
)
def test_every_kind_of_file(tmp_path: Path, name: str, places: list[int]) -> None:
    path, lines = tmp_path / name, "".join(json.dumps(row) + "\n" for row in ROWS)
    if name.startswith(("d.csv", "d.tsv")):
        pandas.DataFrame(ROWS).to_csv(path, index=False, encoding="utf-8-sig", sep="\t" if name == "d.tsv" else ",")
    elif name == "d.parquet":
        pandas.DataFrame(ROWS).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    wanted = [(f"{path}:{place}", row) for place, row in zip(places, ROWS, strict=True)]
    assert list(read_table(path)) == wanted, "a row of CSV is named by the line on which it ends"


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"d\.txt: unknown kind of file\. Known: \.jsonl, \.json, \.csv, \.tsv, \.parquet; text files also with \.gz\.",
    ):
        list(read_table(tmp_path / "d.txt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", b"a,b\n1,2,3\n", r"d\.csv:2: the row has another number of cells than the header has columns \(2\)"),
        ("d.csv", b"a\n\xe9\n", r"d\.csv:2: not UTF-8 text \(byte 0xe9\)\. Save the file as UTF-8"),
        ("d.csv", b'a\n"open\n', r"d\.csv:2: cannot be read as CSV: unexpected end of data"),
        ("d.csv", b'a,b\n"say "hi"",x\n', r"d\.csv:2: cannot be read as CSV: .* put into quotes, and they are doubled"),
        ("d.csv", b"a,,\n1,2,3\n", r"d\.csv: several columns have no name"),
        ("d.parquet", b"PAR1 and no more", r"d\.parquet: cannot be read as parquet"),
        ("d.jsonl", b'{"a": 1}\n{"a":\n', r"d\.jsonl:2: not valid JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_table(tmp_path / name))


def test_a_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,text,id\n1,a,2\n")
    with pytest.raises(DataError, match=r"d\.csv: the column 'id' comes twice\. Rename or drop one of them\."):
        list(read_table(tmp_path / "d.csv"))


def test_a_tsv_is_separated_by_tabs_whatever_else_its_header_holds(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("question\tanswer (long, short)\nwho, me\tx\n")
    (tmp_path / "e.tsv.gz").write_bytes(gzip.compress(b"question\tanswer; or none\nwho\tx\n"))
    (tmp_path / "f.tsv").write_text("question,answer\nwho,x\n")
    assert [row for _, row in read_table(tmp_path / "d.tsv")] == [{"question": "who, me", "answer (long, short)": "x"}]
    assert [row for _, row in read_table(tmp_path / "e.tsv.gz")] == [{"question": "who", "answer; or none": "x"}]
    assert [row for _, row in read_table(tmp_path / "f.tsv")] == [{"question": "who", "answer": "x"}]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"text;answer\na, b;x\n", [{"text": "a, b", "answer": "x"}]),
        ("text\tanswer\r\na\tx\r\n".encode("utf-16"), [{"text": "a", "answer": "x"}]),
        (b"text, answer\na,x\n\n", [{"text": "a", "answer": "x"}]),
        (b'"a, b";c\n1;2\n', [{"a, b": "1", "c": "2"}]),
        (f"text,answer\n{'word ' * 60_000},x\n".encode(), [{"text": "word " * 60_000, "answer": "x"}]),
        ("text\n\u00e9\n".encode("utf-8-sig"), [{"text": "\u00e9"}]),
        (b"", []),
    ],
)
def test_csv_as_the_world_writes_it(tmp_path: Path, content: bytes, rows: list[dict[str, str]]) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    assert [row for _, row in read_table(tmp_path / "d.csv")] == rows


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.tsv.gz", "d.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: cannot be read.*not a regular file"):
        list(read_table(tmp_path / name))
