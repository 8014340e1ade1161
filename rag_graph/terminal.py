"""What goes to a terminal: texts of others stay texts. No markup in them is obeyed, and what would steer the terminal is escaped.

Every command and every progress bar prints through `Terminal` and `echo`. What is styled is said in Python (`styled`), never by markup in a text.
"""

from __future__ import annotations

from typing import IO, Any

from rich.console import Console
from rich.text import Text

from rag_graph.display import printable


class Terminal(Console):
    """A console of rich that takes every text as it is: `[red]`, `:smile:` and escape sequences are characters.

    Args:
        stderr: print to the standard error.
        options: of `rich.console.Console`.
    """

    def __init__(self, stderr: bool = False, file: IO[str] | None = None, **options: Any) -> None:
        super().__init__(stderr=stderr, file=file, **{**options, "markup": False, "emoji": False, "highlight": False})

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints; lines of text are not broken."""
        lines = all(isinstance(one, str | Text) for one in objects)
        super().print(*objects, **{"soft_wrap": lines, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Where rich makes a text of every string: of what is printed, of cells, titles and labels."""
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


def styled(*parts: str | tuple[str, str]) -> Text:
    """One text of parts; a part is a text, or a text and its style: `styled(("judge", "bold"), "  yes")`."""
    return Text.assemble(
        *(printable(part) if isinstance(part, str) else (printable(part[0]), part[1]) for part in parts)
    )


def echo(text: object = "", err: bool = False, nl: bool = True) -> None:
    """`typer.echo` of the text as `printable` shows it: bytes that a stream cannot encode become question marks there."""
    import typer

    typer.echo(printable(str(text)), err=err, nl=nl)
