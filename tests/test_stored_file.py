"""Files that a run has written are read with suspicion, and every complaint names the file and a way out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rag_graph.errors import DamagedFileError
from rag_graph.runtime import append_records, write_json
from rag_graph.stored_file import check_regular, last_record, plain_file, read_json, read_records, read_text, using


def test_lines_survive_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert read_records(path) == []
    assert last_record(path) == {}
    append_records(path, [{"a": 1}, {"a": float("nan")}])
    with path.open("a") as handle:
        handle.write('{"a": 3')
    assert read_records(path) == [{"a": 1}, {"a": None}]
    assert last_record(path) == {"a": None}
    path.write_text('{"a": 1}\n{bad}\n{"a": 2}\n')
    with pytest.raises(DamagedFileError, match=r"m\.jsonl: line 2 is not valid JSON"):
        read_records(path)


def test_a_damaged_json_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert read_json(path) is None
    write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": None}
    path.write_text('{"a": ')
    with pytest.raises(DamagedFileError, match=r"results\.json: not valid JSON .*`rag-graph evaluate` measures"):
        read_json(path)


def test_any_text_survives_the_jsonl(tmp_path: Path) -> None:
    texts = ["a\u2028b", "c\u0085d", "e\x1cf", "g\nh", ""]
    append_records(tmp_path / "e.jsonl", [{"text": text} for text in texts])
    assert [record["text"] for record in read_records(tmp_path / "e.jsonl")] == texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[NaN]",
        "[Infinity]",
        "[1e999]",
        "9" * 41,
        "[" * 65 + "]" * 65,
        "[" * 100_000 + "]" * 100_000,
        "\xff",
    ],
)
def test_what_a_run_never_writes_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedFileError, match=re.escape(f"{path}: ") + r".*\. Without it the run cannot answer"):
        read_json(path)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n' + text.encode("latin-1") + b'\n{"a": 2}\n')
    with pytest.raises(DamagedFileError, match=r"metrics.jsonl: line 2 "):
        read_records(path)
    met: list[DamagedFileError] = []
    assert read_records(path, on_damage=met.append) == [{"a": 1}, {"a": 2}]
    assert len(met) == 1


def test_numbers_and_depths_that_a_run_writes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * 64 + f"{2**128}, -1.5e300, 0" + "]" * 64)
    found = read_json(path)
    for _ in range(63):
        (found,) = found
    assert found == [2**128, -1.5e300, 0]
    path.write_text("[Infinity]")
    assert read_json(path, finite=False) == [float("inf")]


def test_only_files_are_opened(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("folder.json", "pipe.json", "device.json", "loop.json")]
    places[0].mkdir()
    os.mkfifo(places[1])
    places[2].symlink_to("/dev/zero")
    places[3].symlink_to(places[3])
    for path in places:
        for read in (read_json, read_records, read_text, check_regular):
            with pytest.raises(DamagedFileError, match=re.escape(f"{path}: ")):
                read(path)
        assert last_record(path) == {}
    target = tmp_path / "real.json"
    target.write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to(target)
    assert read_json(tmp_path / "link.json") == {"a": 1}  # reading through a link harms nothing


def test_many_damaged_lines_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n[]\n{"a": "x"}\n3\n')
    with pytest.raises(DamagedFileError, match="line 2 is not a JSON object, and 2 more of 4 lines"):
        read_records(path, lambda row: "" if isinstance(row["a"], int) else "has no a")


def test_what_fails_while_a_file_is_used_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(DamagedFileError, match=r"reward.json: what it holds cannot be used \(KeyError: 'b'\)"),
        using(tmp_path / "reward.json"),
    ):
        {"a": 1}["b"]
    own = DamagedFileError("another file")
    with pytest.raises(DamagedFileError, match="another file"), using(tmp_path / "x"):
        raise own


def test_links_pipes_and_devices_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    with plain_file(tmp_path / "real") as handle:
        assert handle.read() == b"x"
    for path in (tmp_path / "link", tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"link|regular"):
            plain_file(path)
    with plain_file(tmp_path / "link", follow=True) as handle:
        assert handle.read() == b"x"
    with pytest.raises(OSError, match="regular"):
        plain_file(tmp_path / "pipe", follow=True)
