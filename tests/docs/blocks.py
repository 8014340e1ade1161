"""Code blocks of Markdown files, found by a CommonMark parser, and run.

| block | what is done with it |
|---|---|
| python | run, in one namespace per document |
| bash | each line is run |
| console | each line that begins with `$ ` is run; what follows must appear in its output, in this order; `...` stands for anything |
| yaml | read as what it is: a graph, a sweep or a config; with a caption also written to the file of that name |
| json | with a caption: written to that file |
| text, html | output or a picture of something: not code |

`<!-- not run: REASON -->` before a block: skipped, with the reason. `<!-- setup` and lines of Python up to `-->`: run, not shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

NOT_CODE = ("text", "html", "mermaid")
NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->", re.S)
SETUP = re.compile(r"<!--\s*setup\n(.*?)-->", re.S)


@dataclass(frozen=True)
class Block:
    file: str
    line: int
    language: str
    text: str
    title: str = ""
    reason: str = ""
    """Why it is not run; empty where it is."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.language}"


def blocks_of(path: Path, shown: str) -> Iterator[Block]:
    """The code blocks of a document in order, hidden set-up among them."""
    reason = ""
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            if found := NOT_RUN.search(token.content):
                reason = found[1]
            if found := SETUP.search(token.content):
                yield Block(shown, line, "python", found[1])
        elif token.type in ("fence", "code_block"):
            language, title, text = _directive(token.info.strip(), token.content, path.parent)
            if language not in NOT_CODE:
                yield Block(shown, line, language, text, title, reason)
            reason = ""
        elif token.type == "inline" and token.content.strip():
            reason = ""


def _directive(info: str, content: str, folder: Path) -> tuple[str, str, str]:
    """(language, caption, text) of a fence, plain or one of MyST's directives."""
    name, _, argument = info.partition(" ")
    if not name.startswith("{"):
        return name, "", content
    options = dict(re.findall(r"^:(\w+): (.*)$", content, flags=re.M))
    if name == "{literalinclude}":
        return options["language"], options.get("caption", ""), (folder / argument).read_text(encoding="utf-8")
    if name == "{code-block}":
        return argument, options.get("caption", ""), re.sub(r"\A(:\w+:.*\n)+\n?", "", content)
    return "text", "", content  # a table of contents


@dataclass
class Sandbox:
    """A folder in which documents are run as a reader would."""

    folder: Path
    root: Path
    names: dict[str, Any] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Raises AssertionError where the block does not do what it says."""
        if block.title:
            target = self.folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.language == "python":
            self._python(block)
        elif block.language == "bash":
            for line in _joined(block.text):
                done = self.shell(line)
                assert done.returncode == 0, f"{block}: {line}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        elif block.language == "console":
            self._console(block)
        elif block.language == "yaml":
            self._yaml(block)
        else:
            assert block.language == "json", f"{block}: unknown language '{block.language}'; see tests/docs/blocks.py"
            assert block.title, f"{block}: data without a :caption: FILE"

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line) + block.text, block.file, "exec")
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                exec(code, self.names)
        finally:
            os.chdir(before)

    def _console(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            lines = part.splitlines()
            while lines[0].endswith("\\"):
                lines[:2] = [lines[0][:-1] + lines[1]]
            done = self.shell(lines[0])
            said = " ".join((done.stdout + done.stderr).split())
            place = 0
            for wanted in (" ".join(line.split()) for line in lines[1:]):
                for piece in filter(None, (piece.strip() for piece in wanted.split("..."))):
                    at = said.find(piece, place)
                    assert at >= 0, (
                        f"{block}: $ {lines[0]}\nnot said (in this order): {piece}\nsaid: {done.stdout}{done.stderr}"
                    )
                    place = at + len(piece)

    def _yaml(self, block: Block) -> None:
        import yaml

        from rag_graph import load_config, load_graph
        from rag_graph.training.sweep import Sweep

        content = yaml.safe_load(block.text)
        file = self.folder / (block.title or "block.yaml")
        file.write_text(block.text, encoding="utf-8")
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            if "tasks" in content or "criteria" in content or "edges" in content:
                if "format" in content:
                    load_graph(file)
            elif "config" in content:
                assert Sweep(file).runs
            else:
                load_config(file)
        finally:
            os.chdir(before)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a command line in the sandbox. `make` is asked what it would do; `pip install` only what extras there are."""
        words = shlex.split(line, comments=True)
        where = self.folder
        if words[:1] == ["make"]:
            line, where = f"make -n {' '.join(words[1:])}", self.root
        elif words[:2] == ["pip", "install"]:
            extras = {name for word in words for found in re.findall(r"\[(.+)\]", word) for name in found.split(",")}
            known = (self.root / "setup.cfg").read_text()
            assert all(f"\n{extra} =\n" in known for extra in extras), line
            return subprocess.CompletedProcess(line, 0, "", "")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(["bash", "-c", line], cwd=where, env=environment, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)  # fmt: skip


def _joined(text: str) -> list[str]:
    """Command lines without comments and blank lines; a backslash joins two."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
