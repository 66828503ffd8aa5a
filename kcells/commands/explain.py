"""`kcells explain`: how a saved model runs on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from kcells.commands import library
from kcells.commands.inspect import read
from kcells.commands.output import (
    Problem,
    answer,
    json_option,
    own_stdout,
    reasons_table,
)
from kcells.errors import KCellsError
from kcells.text import one_line

__all__ = ["command"]


@click.command("explain")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--all", "all_conditions", is_flag=True, help="Conditions that hold, too.")
@json_option
def command(model: Path, all_conditions: bool, as_json: bool) -> None:
    """Says which path each recurrent layer of a .keras file takes, and why no faster one.

    The model is loaded, and its plugins are imported. The answer is for this machine and
    Keras' backend; KERAS_BACKEND before the command chooses another.
    """
    read(model)
    with own_stdout(as_json):
        rows = explained(model)
    answer(as_json, rows, lambda console, data: show(console, data, all_conditions))


def explained(model: Path) -> list[dict[str, Any]]:
    """The explanations of a model's layers as plain data."""
    kcells = library.load()
    return [dataclasses.asdict(explanation) for explanation in kcells.explain(loaded(model))]


def loaded(model: Path) -> Any:
    """The model of a file.

    Raises:
        KCellsError: if kcells knows what is wrong with it.
        Problem: if it does not load for another reason.
    """
    try:
        return library.load().load_model(model)
    except KCellsError:
        raise
    except Exception as error:
        raise Problem(
            f"{model} does not load: {type(error).__name__}: {error}\n"
            f"  `kcells inspect {model}` says what it needs."
        ) from error


def show(console: Console, rows: list[dict[str, Any]], all_conditions: bool) -> None:
    """A table for each layer."""
    if not rows:
        console.print("No recurrent layer of kcells is in this model.")
    for number, row in enumerate(rows):
        title = Text(one_line(row["layer"]), style="bold green")
        title.append(f" ({one_line(row['cell'])}): ", "default").append(row["path"], "bold")
        title.append(f", kernel {row['kernel']}, {row['backend']} on {row['device']}")
        if number:
            console.print()
        console.print(title)
        reasons = [r for r in row["reasons"] if all_conditions or not r["holds"]]
        if reasons:
            console.print(reasons_table(reasons))
