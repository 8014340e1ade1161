"""`rag-graph`: its commands. Only the commands that train or answer load torch."""

from __future__ import annotations

import io
import os
import sys
import warnings

import typer

from rag_graph.cli import graph
from rag_graph.cli.ask import ask
from rag_graph.cli.evaluate import evaluate
from rag_graph.cli.fit import fit
from rag_graph.cli.init import init
from rag_graph.cli.report import compare, report
from rag_graph.cli.retrieve import index, retrieve
from rag_graph.cli.sweep import sweep
from rag_graph.cli.train import train
from rag_graph.errors import RagGraphError
from rag_graph.terminal import echo
from rag_graph.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Write down how your goals depend on each other, and fine-tune a language model with the resulting reward.\n\n"
    "Start: `rag-graph init my_goals` writes a graph, a config and data; then, in that folder, `rag-graph train config.yaml`.",
)
app.add_typer(graph.app, name="graph")
app.command()(fit)
app.command()(init)
app.command()(train)
app.command()(evaluate)
app.command()(ask)
app.command()(report)
app.command()(compare)
app.command()(sweep)
app.command()(index)
app.command()(retrieve)


def _version(shown: bool) -> None:
    if shown:
        echo(f"rag-graph {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one text: its place in the source says nothing to who types commands, and it may quote a file of somebody else."""
    echo(f"warning: {message}", err=True)


def main() -> None:
    """Entry point: errors of this package become one message and an exit code (1 run, 2 input), never a traceback.

    Threads of OpenMP wait passively unless OMP_WAIT_POLICY says otherwise: a thread that spins while it waits slows a run several times
    as soon as another process needs the processor. OpenMP reads the variable when torch is loaded, so this comes before any command.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no Unicode shows ? instead of failing
    try:
        app(prog_name="rag-graph")  # the name that completion and usage show, however it was started
    except RagGraphError as error:
        echo("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), err=True)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        echo(
            f"error: {error.filename or 'a file or the output'}: {error.strerror or error}. Check the path, the permissions and the space on the disk.",
            err=True,
        )
        raise SystemExit(1) from None
