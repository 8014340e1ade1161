"""Graph and config files that were mutated at random: each is read, or refused with our error; never a traceback, and within 5 seconds and 1 GB.

As a script it is the worker of the slow test: it imports once, and reads every file in a process of its own.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from rag_graph.config import load_config
from rag_graph.errors import RagGraphError
from rag_graph.graph.picture import relation_table, task_tree
from rag_graph.graph.reader import check_graph, graph_warnings, load_graph
from rag_graph.terminal import Terminal

ROOT = Path(__file__).parent.parent
GRAPHS = [*sorted((ROOT / "graphs").glob("*.yaml")), ROOT / "experiments/cotrain/graph.yaml"]
CONFIGS = sorted((ROOT / "experiments").glob("*/config.yaml"))
SECONDS, MEMORY = 5, 1 << 30
PIECES = (
    b"{", b"}", b"[", b"]", b": ", b"- ", b"\n  ", b"&a ", b"*a", b"!!python/object/apply:os.system [ls]", b"<<: ", b"? ", b"|\n", b">\n", b"#", b"'", b'"', b"\\x1b[31m", b"\x1b[31m", b"\x00",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[/red]", b"[bold", b"%s{0}{input}", b"9" * 400, b"1e309", b".nan", b"-.inf", b"0x1F", b"null", b"true", b"x" * 60_000, b"[" * 600, b"{a: " * 600,
    b"\xe2\x80\xae", b"\r", b"\t", b"../../etc/passwd", b"parcels", b"1:1:1", b"2026-01-01", b"~", b"-1", b"0", b"(a+)+$", b"include: [parcels]\n",
)  # fmt: skip


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to eight changes: bytes flipped, parts cut, doubled, moved, lines repeated many times, numbers and words replaced."""
    for _ in range(draw.randint(1, 8)):
        lines = content.split(b"\n")
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice([1, 3, 20, 200]))
        part, line = content[start:end], draw.randrange(len(lines))
        kind = draw.randrange(8)
        if kind == 0:
            content = content[:start] + bytes(draw.randrange(256) for _ in part) + content[end:]
        elif kind == 1:
            content = content[:start] + content[end:]
        elif kind == 2:
            content = content[:end] + part * draw.choice([1, 2, 50]) + content[end:]
        elif kind in (3, 4):
            content = content[:start] + draw.choice(PIECES) + content[end if kind == 3 else start :]
        elif kind == 5:
            lines[line:line] = [lines[line]] * draw.choice([1, 3, 2000])
            content = b"\n".join(lines)
        elif kind == 6:
            other = draw.randrange(len(lines))
            lines[line], lines[other] = lines[other], lines[line]
            content = b"\n".join(lines)
        else:
            name, colon, _ = lines[line].partition(b":")
            lines[line] = name + colon + b" " + draw.choice(PIECES)
            content = b"\n".join(lines)
    return content


def read(number: int, folder: Path) -> None:
    """Mutate a file and read it as the commands do. Errors of ours are the right answer; others are raised."""
    draw = random.Random(f"fuzz {number}")
    graph = draw.random() < 0.7
    source = draw.choice(GRAPHS if graph else CONFIGS)
    path = folder / "mutated.yaml"
    path.write_bytes(mutated(source.read_bytes(), draw))
    refused = ""
    try:
        if not graph:
            load_config(path).to_yaml()
            return
        found, problems = check_graph(path)
        said = [str(problem) for problem in problems]
        assert sum(map(len, said)) < 200_000, "more than anybody reads"
        assert all(c.isprintable() or c == "\n" for one in said for c in one)
        if found is not None:
            graph_warnings(str(path))
            console = Terminal(file=io.StringIO(), width=80)
            for shown in (task_tree(load_graph(path)), relation_table(found)):
                console.print(shown)
            found.to_yaml()
    except RagGraphError as error:
        refused = str(error)
    assert len(refused) < 200_000, "more than anybody reads"


@pytest.mark.parametrize("batch", range(4))
def test_a_few_mutated_files(batch: int, tmp_path: Path) -> None:
    for number in range(batch * 10, batch * 10 + 10):
        read(number, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limits on processes")
@pytest.mark.parametrize("batch", range(4))
def test_two_thousand_mutated_files_under_limits(batch: int) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(batch * 500), str(batch * 500 + 500)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout == "500 files, 0 failures\n"


def work(first: int, end: int) -> None:
    """The worker: the numbers of files that failed, with why."""
    import resource

    assert "torch" not in sys.modules, "a process that was forked from one with threads may hang"
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, end):
            child = os.fork()
            if child == 0:
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
                try:
                    read(number, Path(folder))
                except BaseException:  # MemoryError and RecursionError too
                    traceback.print_exc(limit=-4)
                    os._exit(1)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code:
                failures += 1
                print(f"file {number}: {'killed by signal ' + str(-code) if code < 0 else 'a traceback'}", flush=True)
    print(f"{end - first} files, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]))
