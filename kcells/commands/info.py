"""`kcells info`: a cell from its docstring, its signature and an instance."""

from __future__ import annotations

import re
from typing import Any

import click
from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from kcells import registry
from kcells.commands import library
from kcells.commands.arguments import arguments_option
from kcells.commands.docstring import documentation_of
from kcells.commands.names import id_argument
from kcells.commands.output import (
    UserError,
    answer,
    columns,
    heading,
    json_option,
    own_stdout,
    reasons_table,
)
from kcells.text import one_line

__all__ = ["command"]

_DEFAULT = re.compile(r"\s*Default: (`[^`]*`|True|False|None|-?\d+(\.\d+)?)\.$")
"""A sentence that the column beside it says too."""


@click.command("info")
@id_argument()
@click.option("--units", type=click.IntRange(1), default=64, show_default=True)
@click.option("--features", type=click.IntRange(1), default=32, show_default=True)
@arguments_option
@json_option
def command(cell: str, units: int, features: int, arguments: dict[str, Any], as_json: bool) -> None:
    """Shows equations, paper, arguments, weights, equivalence and paths of a cell.

    The plugin is imported. The path is that of this machine and of Keras' backend;
    KERAS_BACKEND before the command chooses another.
    """
    registry.describe(cell)
    with own_stdout(as_json):
        library.load()
        data = facts(cell, units, features, arguments)
    answer(as_json, data, show)


def facts(name: str, units: int, features: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """Everything about a cell as plain data."""
    from kcells.commands import anatomy

    info, cls = registry.describe(name), registry.load(name)
    documentation = documentation_of(cls)
    try:
        made = anatomy.make(cls, arguments, units, features)
    except (TypeError, ValueError) as error:
        raise UserError(f"{cls.__name__} cannot be made so: {error}") from error
    layer = made.layer
    rows = anatomy.argument_rows(cls)
    return {
        "id": info.id,
        "distribution": info.distribution,
        "version": info.version,
        "class": info.target,
        "summary": documentation.summary,
        "equations": documentation.equations,
        "paper": documentation.paper,
        "arguments": [{**r, "about": documentation.arguments.get(r["name"], "")} for r in rows],
        "made_with": {key: _plain(value) for key, value in made.arguments.items()},
        "inputs": _plain(made.inputs),
        "obstacle": made.obstacle,
        "weights": anatomy.weight_rows(layer) if layer and layer.built else [],
        "equivalence": anatomy.equivalence_row(layer.cell) if layer else None,
        "paths": list(info.paths),
        "here": anatomy.path_row(layer) if layer else None,
    }


def _plain(value: Any) -> Any:
    """A value for JSON; what has no such form is described."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    simple = value is None or isinstance(value, (bool, int, float, str))
    return value if simple else f"{type(value).__name__}(...)"


def show(console: Console, data: dict[str, Any]) -> None:
    """All parts, each under its title."""
    title = Text(one_line(data["id"]), style="bold green")
    title.append(f"  {one_line(data['distribution'])} {one_line(data['version'])}", "default")
    console.print(title)
    console.print(Text(data["summary"] or "The class has no docstring."))
    for part, missing in (("equations", "none in the docstring"), ("paper", "none is named")):
        _part(console, part.capitalize(), Text(data[part] or missing))
    _part(console, "Arguments", _arguments(data))
    _part(console, "Weights", _weights(data))
    if data["here"]:
        _part(console, "Equivalent built-in", _equivalence(data["equivalence"]))
    _part(console, "Paths", _paths(data))


def _part(console: Console, title: str, body: Any) -> None:
    console.print()
    console.print(heading(title))
    console.print(Padding(body, (0, 0, 0, 2), expand=False))


def _arguments(data: dict[str, Any]) -> Any:
    table = columns("name", "default", "meaning")
    before = ""
    for row in data["arguments"]:
        default = Text("required", "yellow") if row["required"] else one_line(row["default"])
        about = _DEFAULT.sub("", row["about"])
        shown = Text("as above", "dim") if about and about == before else about
        table.add_row(row["name"], default, shown)
        before = about
    return table if data["arguments"] else Text("none")


def _weights(data: dict[str, Any]) -> Any:
    obstacle = [Text(data["obstacle"], "yellow")] if data["obstacle"] else []
    if not data["weights"]:
        return Group(*obstacle)
    made = ", ".join(f"{key}={value}" for key, value in data["made_with"].items())
    table = columns("name", "shape", "parameters")
    table.columns[2].justify = "right"
    for row in data["weights"]:
        table.add_row(one_line(row["name"]), str(tuple(row["shape"])), f"{row['parameters']:,}")
    table.add_section()
    table.add_row("total", "", f"{sum(row['parameters'] for row in data['weights']):,}")
    return Group(*obstacle, f"with {made}, for a step of {_shape(data['inputs'])}", table)


def _shape(inputs: Any) -> str:
    is_shape = isinstance(inputs, list) and all(isinstance(entry, int) for entry in inputs)
    if is_shape:
        return str(tuple(inputs))
    if isinstance(inputs, dict):
        return "{" + ", ".join(f"{key}: {_shape(value)}" for key, value in inputs.items()) + "}"
    return "[" + ", ".join(map(_shape, inputs)) + "]"


def _equivalence(row: dict[str, Any]) -> Any:
    if row["builtin"] is None:
        return Text("none is declared")
    answer = "as it is made here" if row["holds"] else "not as it is made here"
    if not row["conditions"]:
        return Text(f"{row['builtin']}, {answer}")
    return Group(f"{row['builtin']}, {answer}", reasons_table(row["conditions"]))


def _paths(data: dict[str, Any]) -> Any:
    declared = f"declared: {', '.join(data['paths'])}"
    here = data["here"]
    if here is None:
        return Text(declared)
    taken = f"here, {here['backend']} on {here['device']}: {here['path']}, kernel {here['kernel']}"
    missed = [reason for reason in here["reasons"] if not reason["holds"]]
    return Group(declared, taken, *([reasons_table(missed)] if missed else []))
