"""The command and the table of its subcommands.

A subcommand's module is imported when it is asked for. The table has the one-line helps,
so that `kcells --help` imports none.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Any, NamedTuple

import click

from kcells._version import __version__
from kcells.commands.output import Problem, UserError, allow_any_text
from kcells.errors import AmbiguousCellError, KCellsError, UnknownCellError
from kcells.text import printable

__all__ = ["SUBCOMMANDS", "Subcommand", "main"]


class Subcommand(NamedTuple):
    """Where a subcommand is, and what `kcells --help` says of it."""

    module: str
    help: str


SUBCOMMANDS = {
    "list": Subcommand("list", "Lists the installed cells, without importing them."),
    "info": Subcommand("info", "Shows what a cell computes, takes and weighs."),
    "new": Subcommand("new", "Makes a folder with a plugin to fill in and publish."),
    "check": Subcommand("check", "Holds a cell against the laws that every cell keeps."),
    "explain": Subcommand("explain", "Says how each recurrent layer of a model runs, and why."),
    "inspect": Subcommand("inspect", "Says which plugins a model file needs, from the file alone."),
    "export": Subcommand("export", "Writes a model for another runtime, and runs the file."),
    "bench": Subcommand("bench", "Times cells against stock Keras."),
    "doctor": Subcommand("doctor", "Looks for what is broken in this installation."),
}


class Group(click.Group):
    """Subcommands by the table, and kcells' errors as messages with an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module = importlib.import_module(f"kcells.commands.{SUBCOMMANDS[cmd_name].module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in SUBCOMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.help)
            for name, entry in SUBCOMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        allow_any_text()
        try:
            return super().invoke(ctx)
        except (UnknownCellError, AmbiguousCellError) as error:
            raise UserError(str(error)) from error
        except KCellsError as error:
            raise Problem(str(error)) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise  # What click itself ends with.
        except Exception:  # Of a plugin: its text goes the way of all others.
            click.echo(printable(traceback.format_exc()), err=True, nl=False)
            ctx.exit(1)


@click.group(
    cls=Group,
    epilog="Exit codes: 0 all is well; 1 what was asked about has a problem;"
    " 2 the question itself had one.",
)
@click.version_option(__version__, prog_name="kcells")
def main() -> None:
    """Recurrent cells for Keras 3."""
