"""Finds the code blocks of Markdown files with a CommonMark parser, and runs them.

| block | what is done with it |
|---|---|
| python | It is run. All blocks of a document share one namespace. |
| bash | It is run as one script, which stops at the first failure. |
| console | Each line that begins with `$ ` is run. It must succeed, or end with the code that `# exit 2` at its end states. The lines below it must appear in its output, in this order; `...` stands for any text within a line. |
| yaml | It is read as what it is: a graph, a sweep or a config. |
| json | Each line must be an object. |
| text | It is not run. After `<!-- printed -->`, the last python block must have printed exactly this. |
| html | It is not run. |

A comment before a block changes this. `<!-- file: NAME -->`: the text is also written to that file. `<!-- not run: REASON -->`: the block is
skipped. `<!-- setup`, lines of Python, `-->`: the lines are run and not shown.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

NOT_CODE = ("text", "html", "{toctree}")
PRINTED = "printed"
"""The language of a text block that shows what the python block before it printed."""
NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->", re.S)
FILE = re.compile(r"<!--\s*file:\s*(\S+?)\s*-->")
SHOWS_OUTPUT = re.compile(r"<!--\s*printed\s*-->")
EXIT = re.compile(r"\s*# exit (\d+)$")
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
    text = path.read_text(encoding="utf-8")
    assert ":::{" not in text, f"{shown}: a colon fence, which CommonMark does not know: use backquotes"
    reason = title = ""
    printed = False
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            assert "```" not in token.content, f"{shown}:{line}: a fence inside HTML: put a blank line before it"
            reason = found[1] if (found := NOT_RUN.search(token.content)) else reason
            title = found[1] if (found := FILE.search(token.content)) else title
            printed = printed or bool(SHOWS_OUTPUT.search(token.content))
            if found := SETUP.search(token.content):
                yield Block(shown, line, "python", found[1])
        elif token.type in ("fence", "code_block"):
            language = token.info.strip().partition(" ")[0]
            if printed:
                assert language == "text", f"{shown}:{line}: what was printed is shown as text, not as {language}"
                yield Block(shown, line, PRINTED, token.content)
            elif language not in NOT_CODE:
                yield Block(shown, line, language, token.content, title, reason)
            reason, title, printed = "", "", False
        elif token.type == "inline" and token.content.strip():
            reason, title, printed = "", "", False


@dataclass
class Sandbox:
    """A folder in which documents are run as a reader would."""

    folder: Path
    root: Path
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    """What the last python block printed."""

    def run(self, block: Block) -> None:
        """Raises AssertionError where the block does not do what it says."""
        if block.title:
            target = self.folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.language == "python":
            self._python(block)
        elif block.language == PRINTED:
            shown, said = block.text.strip().splitlines(), self.printed.strip().splitlines()
            assert shown == said, f"{block}: the python block before it printed\n{self.printed}"
        elif block.language == "bash":
            done = self.shell(block.text)
            assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        elif block.language == "console":
            self._console(block)
        elif block.language == "yaml":
            self._yaml(block)
        else:
            assert block.language == "json", f"{block}: unknown language '{block.language}'; see tests/docs/blocks.py"
            assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines()), f"{block}: not objects"

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line) + block.text, block.file, "exec")
        before, said = Path.cwd(), io.StringIO()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
                exec(code, self.names)
        finally:
            os.chdir(before)
            self.printed = said.getvalue()

    def _console(self, block: Block) -> None:
        before, *parts = re.split(r"^\$ ", block.text, flags=re.M)
        assert parts, f"{block}: no line begins with '$ '"
        assert not before.strip(), f"{block}: output before the first command"
        for part in parts:
            command, *wanted = part.splitlines()
            code = int(found[1]) if (found := EXIT.search(command)) else 0
            done = self.shell(EXIT.sub("", command))
            said = [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines()]
            assert done.returncode == code, f"{block}: $ {command}\nended with {done.returncode}\n" + "\n".join(said)
            place = 0
            for line in filter(None, (" ".join(line.split()) for line in wanted)):
                pattern = re.compile(".*".join(re.escape(piece.strip()) for piece in line.split("...")))
                rest = [n for n, text in enumerate(said[place:], place) if pattern.fullmatch(text)]
                assert rest, f"{block}: $ {command}\nnot said (in this order): {line}\nsaid:\n" + "\n".join(said)
                place = rest[0] + 1

    def _yaml(self, block: Block) -> None:
        import yaml

        from rag_graph import load_config, load_graph
        from rag_graph.runs.sweep import Sweep

        content = yaml.safe_load(block.text)
        file = self.folder / (block.title or "block.yaml")
        file.write_text(block.text, encoding="utf-8")
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            if {"format", "tasks", "criteria", "edges"} & set(content):
                load_graph(file)
            elif "config" in content:
                assert Sweep(file).runs
            else:
                load_config(file)
        finally:
            os.chdir(before)

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a script in the sandbox.

        A line `make TARGET` becomes `make -n TARGET` in the project's folder: the target must exist, and nothing is made. The line
        `source .venv/bin/activate` does nothing, for the commands are there already. Of `pip install`, only the extras are checked.
        """
        text = "\n".join(map(self._harmless, text.splitlines()))
        if "pip install" in text:
            (found,) = re.findall(
                r"^(?:\.venv/bin/)?python -m pip install -e '\.\[([a-z,]+)\]' -c constraints\.txt$",
                text.strip(),
                flags=re.M,
            )
            assert all(f"\n{extra} =\n" in (self.root / "setup.cfg").read_text() for extra in found.split(",")), text
            return subprocess.CompletedProcess(text, 0, "", "")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)  # fmt: skip

    def _harmless(self, line: str) -> str:
        if line.startswith("make "):
            assert re.fullmatch(r"make [a-z-]+( THREADS=\d+)?\s*(#.*)?", line), line
            return f"make -C {self.root} -n {line.removeprefix('make ')}"
        return re.sub(r"^source \.venv/bin/activate\b", "true", line)
