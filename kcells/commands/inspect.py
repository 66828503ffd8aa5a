"""`kcells inspect`: which plugins a model file needs, from the file alone.

The file may come from anybody. It is read as a zip with JSON in it; no class that it
names is imported, and none of its texts reaches the terminal with control characters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from pathlib import Path
from typing import Any

import click
from packaging.utils import canonicalize_name, is_normalized_name
from rich.console import Console
from rich.text import Text

from kcells import registry
from kcells.commands.output import UserError, answer, columns, json_option
from kcells.errors import ModelFileError
from kcells.registry import archive
from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo
from kcells.registry.records import (
    PREFIX,
    cells_in,
    declared_classes,
    recorded_sources,
    registered_names,
)
from kcells.registry.trust import VARIABLE
from kcells.text import one_line, shortened

__all__ = ["command"]

FATAL = ("hidden", "missing", "no plugin")
"""What keeps a model from being loaded."""

STYLES = {"installed": "green", **dict.fromkeys(FATAL, "red")}

OF_KERAS = ("keras", "keras_cv", "keras_hub", "keras_nlp")
"""Packages whose classes Keras finds itself."""


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(context: click.Context, model: Path, as_json: bool) -> None:
    """Says which cells a .keras file holds, from which distributions and versions.

    Nothing of the file is imported or built. Exit code 1: a plugin is missing here, or there
    is a cell that no plugin provides.
    """
    found = read(model)
    data = report(model, found["config.json"], found.get("metadata.json"))
    answer(as_json, data, show)
    context.exit(1 if any(row["status"] in FATAL for row in data["cells"]) else 0)


def report(path: Path, config: Any, metadata: Any) -> dict[str, Any]:
    """What the file says, as plain data."""
    try:
        cells = [dataclasses.asdict(need) for need in (*needs(config), *unprovided(config))]
        needs_kcells = any(n.startswith("kcells>") for n in registered_names(config))
    except RecursionError as error:
        raise UserError(f"{path} is nested deeper than any model.") from error
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return {
        "file": str(path),
        "keras_version": version,
        "needs_kcells": needs_kcells or any(cell["distribution"] for cell in cells),
        "cells": cells,
    }


def read(path: Path) -> dict[str, Any]:
    """The JSON files in a model file.

    Raises:
        UserError: if it is no model file.
    """
    if not path.exists():
        raise UserError(f"there is no file {path}.")
    remedy = "Give a file that model.save(...) wrote under a name that ends in .keras."
    if not path.is_file():
        raise UserError(f"{path} is no .keras file.\n  {remedy}")
    try:
        return archive.read(path)
    except ModelFileError as error:
        raise UserError(f"{error}\n  {remedy}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error}") from error


@dataclasses.dataclass(frozen=True)
class Need:
    """A cell that a file holds, and what there is of it here.

    Attributes:
        class_name: the class; empty if the file has a record of it alone.
        id: its id; empty where nobody here declares it and the file does not say.
        distribution: where it comes from; empty for a class that no plugin provides.
        saved: the version in the file; empty if it does not say.
        installed: the version here; empty if it is not installed.
        status: `"installed"`, `"another version"`, `"no entry point"` (a helper of a plugin
            that is installed, or a class that it has no more), `"hidden"`, `"missing"`, or
            `"no plugin"`.
        remedy: what to do about it.
        module: where a class that no plugin provides was, as the file says; empty if it was in a
            notebook or a program.
    """

    class_name: str
    id: str
    distribution: str
    saved: str
    installed: str
    status: str
    remedy: str = ""
    module: str = ""


def needs(config: Any) -> list[Need]:
    """The cells in a configuration, in its order."""
    records = {(r["distribution"], str(r.get("id", ""))): r for r in recorded_sources(config)}
    versions = {record["distribution"]: record["version"] for record in records.values()}
    declared = {(info.distribution, info.class_name): info for info in _all_cells()}
    found = []
    for key in dict.fromkeys(declared_classes(config)):
        if key in declared or _is_plugin(key[0], versions):
            info = declared.get(key)
            found.append(_need(key[1], info.id if info else "", key[0], versions.get(key[0], "")))
    # A class that nobody here declares has no id here, and its record would stand for it again.
    known = {(need.distribution, need.id) for need in found}
    nameless = {need.distribution for need in found if not need.id}
    rest = [key for key in records if key not in known and key[0] not in nameless]
    return found + [_need("", key[1], key[0], records[key]["version"]) for key in rest]


def unprovided(config: Any) -> list[Need]:
    """The cells of no plugin, of kcells or of Keras, in the order of a configuration."""
    versions = {record["distribution"] for record in recorded_sources(config)}
    declared = {info.distribution for info in _all_cells()} | {BUILTIN_DISTRIBUTION}
    found: dict[Need, None] = {}
    for cell in cells_in(config):
        name, module = (_text(cell.get(key)) for key in ("registered_name", "module"))
        package, separator, _ = name.rpartition(">")
        distribution = canonicalize_name(package)
        if distribution in declared or _is_plugin(distribution, versions):
            continue
        if separator or module.partition(".")[0] not in OF_KERAS:
            class_name = cell["class_name"]
            remedy = _remedy(class_name, name, module)
            found[Need(class_name, "", "", "", "", "no plugin", remedy, module)] = None
    return list(found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _remedy(class_name: str, name: str, module: str) -> str:
    """What to do; nothing in it is a line to paste, since all of it comes from the file."""
    name, class_name = shortened(name or class_name, 60), shortened(class_name, 60)
    where = f"the module {shortened(module, 60)}" if module else "a notebook or a program"
    given = f'give it to kcells.load_model as custom_objects={{"{name}": ...}}'
    if ">" in name:
        given = f'run what registers "{name}" before, or {given}'
    return f"the class {class_name}, which was in {where}: {given}"


def _is_plugin(distribution: str, versions: Container[str]) -> bool:
    # The layers of kcells are registered under its name too, and are no cells.
    if distribution == BUILTIN_DISTRIBUTION or not is_normalized_name(distribution):
        return False
    return distribution in versions or distribution.startswith(PREFIX)


def _need(class_name: str, cell_id: str, distribution: str, saved: str) -> Need:
    of_it = [info for info in _all_cells() if info.distribution == distribution]
    installed = of_it[0].version if of_it else ""
    status, remedy = "installed", ""
    if not of_it:
        status = "missing"
        remedy = f"pip install {distribution}" + (f"=={saved}" if saved else "")
    elif of_it[0] in registry.hidden_cells():
        status, remedy = "hidden", f"add {distribution} to {VARIABLE}"
    elif not any(cell_id == info.id for info in of_it):
        status = "no entry point"
    elif saved and saved != installed:
        status = "another version"
    return Need(class_name, cell_id, distribution, saved, installed, status, remedy)


def _all_cells() -> list[CellInfo]:
    return [*registry.list_cells(), *registry.hidden_cells()]


def show(console: Console, data: dict[str, Any]) -> None:
    """A table of the cells."""
    console.print(
        f"{one_line(data['file'])}, saved with Keras {one_line(data['keras_version'])}",
        soft_wrap=True,
    )
    if not data["cells"]:
        console.print(
            "It holds no cell, and layers of kcells: it loads after `import kcells`."
            if data["needs_kcells"]
            else "It holds nothing of kcells: plain Keras loads it."
        )
        return
    console.print()
    table = columns("cell", "distribution", "saved", "here", "status")
    for row in data["cells"]:
        texts = [row["id"] or row["class_name"], row["distribution"] or "-", row["saved"] or "?"]
        status = Text(row["status"], STYLES.get(row["status"], "yellow"))
        table.add_row(*map(one_line, texts), one_line(row["installed"] or "-"), status)
    console.print(table)
    remedies = dict.fromkeys(row["remedy"] for row in data["cells"] if row["remedy"])
    if remedies:
        console.print("\nTo load it here:")
    for remedy in remedies:
        console.print(f"  {one_line(remedy)}", soft_wrap=True)
