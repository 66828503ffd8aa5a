"""`kcells doctor`: what is installed, and what of it is broken.

This process imports neither Keras nor a plugin: all of that happens in a child for each
backend, at the same time, and a child that dies is a finding. Another one then looks at the
plugins that are left.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import platform
import sys
from collections import Counter
from typing import Any, NamedTuple

import click
import importlib_metadata
from rich.console import Console
from rich.text import Text

from kcells import registry
from kcells._version import __version__
from kcells.commands.children import BACKENDS, ChildError, default_backend, reports
from kcells.commands.names import is_ambiguous
from kcells.commands.output import answer, columns, console, heading, json_option
from kcells.registry.trust import VARIABLE
from kcells.text import one_line

__all__ = ["command"]

CHILD = "kcells.commands.doctor_child"


@click.command("doctor")
@click.option("--backend", "backends", type=click.Choice(BACKENDS), multiple=True)
@click.option("--timeout", type=float, default=120, show_default=True, help="Seconds a process.")
@json_option
@click.pass_context
def command(
    context: click.Context, backends: tuple[str, ...], timeout: float, as_json: bool
) -> None:
    """Looks at Python, Keras, every backend with its devices and kernels, and every plugin.

    Each backend is tried in a process of its own, where each plugin is loaded. If a plugin
    ends it, another one tries the rest. Exit code 1: a backend or a plugin is broken, or
    there is no backend.
    """
    data = examined(backends or BACKENDS, timeout)
    answer(as_json, data, show)
    context.exit(1 if data["problems"] else 0)


def examined(backends: tuple[str, ...], timeout: float) -> dict[str, Any]:
    """Everything that is found out, as plain data."""
    visible = registry.list_cells()
    with (
        console(sys.stderr).status(f"looking at {', '.join(backends)}"),
        concurrent.futures.ThreadPoolExecutor(len(BACKENDS)) as pool,
    ):
        found = list(pool.map(lambda name: examine(name, timeout), backends))
    data: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "kcells": __version__,
        "keras": version_of("keras"),
        "default_backend": default_backend(),
        "backends": found,
        "plugins": [_plugin(info, found) for info in visible],
        "ambiguous": sorted({i.qualified_id for i in visible if is_ambiguous(i.id, visible)}),
        VARIABLE: os.environ.get(VARIABLE),
        "hidden": [info.qualified_id for info in registry.hidden_cells()],
    }
    return {**data, "problems": problems(data)}


def version_of(distribution: str) -> str:
    """An installed version; empty if there is none."""
    try:
        return str(importlib_metadata.version(distribution))
    except importlib_metadata.PackageNotFoundError:
        return ""


def examine(backend: str, timeout: float) -> dict[str, Any]:
    """What children find out about a backend, and in it about the plugins."""
    found: dict[str, Any] = {"name": backend, "installed": False, "works": False, "error": ""}
    found["plugins"] = {}
    if importlib.util.find_spec(backend) is None:
        return found
    found["installed"] = True
    while killer := _examined_once(found, timeout):
        found["plugins"][killer.cell] = f"the process {killer.error}"
    return found


class Killer(NamedTuple):
    """A plugin that a child died of, and how."""

    cell: str
    error: ChildError


def _examined_once(found: dict[str, Any], timeout: float) -> Killer | None:
    """Adds to `found` what one child says, which leaves out the plugins that are in it."""
    loading = ""
    try:
        for fact in reports(CHILD, list(found["plugins"]), found["name"], timeout):
            kind = fact.pop("kind")
            if kind == "plugin":
                found["plugins"][fact["cell"]] = fact["error"]
                loading = ""
            elif kind == "loading":
                loading = fact["cell"]
            elif kind == "runs":
                found["works"] = True
            else:
                found |= fact
    except ChildError as error:
        if loading:
            return Killer(loading, error)
        found |= {"error": f"the process {error}", "works": False}
    return None


def _plugin(info: Any, backends: list[dict[str, Any]]) -> dict[str, Any]:
    errors = {b["name"]: b["plugins"].get(info.qualified_id) for b in backends if b["works"]}
    return {
        "cell": info.id,
        "distribution": info.distribution,
        "version": info.version,
        "errors": {name: error for name, error in errors.items() if error},
        "loads_on": [name for name, error in errors.items() if error == ""],
    }


def problems(data: dict[str, Any]) -> list[str]:
    """What is broken, a line each."""
    backends = data["backends"]
    lines = [f"backend {b['name']} is broken" for b in backends if b["installed"] != b["works"]]
    if not any(backend["installed"] for backend in backends):
        lines.append('no backend is installed: pip install "kcells[tensorflow]", [jax] or [torch]')
    missing = [b["name"] for b in backends if not b["installed"]]
    if data["default_backend"] in missing:
        lines.append(f"Keras is set to {data['default_backend']}, which is not installed")
    for plugin in data["plugins"]:
        for backend in plugin["errors"]:
            name = f"{plugin['distribution']}:{plugin['cell']}"
            lines.append(f"cell {name} does not load on {backend}")
    return lines


# -- As text


def show(console: Console, data: dict[str, Any]) -> None:
    """All that was found, and what is broken at the end."""
    console.print(
        f"kcells {data['kcells']}, Keras {data['keras'] or 'not installed'}, Python"
        f" {data['python']}\n{data['platform']}",
        soft_wrap=True,
    )
    console.print()
    console.print(_backends(data))
    console.print()
    console.print(_plugins(data))
    _notes(console, data)
    _errors(console, data)
    console.print()
    for line in data["problems"]:
        console.print(Text(one_line(line), "red"), soft_wrap=True)
    if not data["problems"]:
        console.print(Text("Nothing is broken.", "green"))


def _backends(data: dict[str, Any]) -> Any:
    table = columns("backend", "version", "devices", "kernels", "works")
    for backend in data["backends"]:
        is_default = backend["name"] == data["default_backend"]
        name = backend["name"] + (" *" if is_default else "")
        if not backend["installed"]:
            table.add_row(name, "", "", "", Text("not installed", "dim"))
            continue
        works = Text("yes", "green") if backend["works"] else Text("no", "red")
        devices = one_line(", ".join(backend.get("devices", [])))
        kernels = ", ".join(f"{k['name']} {'+'.join(k['builtins'])}" for k in _kernels(backend))
        table.add_row(name, backend.get("version", ""), devices, kernels or "none", works)
    return table


def _kernels(backend: dict[str, Any]) -> list[dict[str, Any]]:
    return list(backend.get("kernels", []))


def _plugins(data: dict[str, Any]) -> Any:
    table = columns("cell", "distribution", "version", "loads on")
    for plugin in data["plugins"]:
        loads = Text(", ".join(plugin["loads_on"]))
        if plugin["errors"]:
            loads.append(f" not on {', '.join(plugin['errors'])}", "red")
        texts = [plugin["cell"], plugin["distribution"], plugin["version"]]
        table.add_row(*map(one_line, texts), loads)
    return table


def _notes(console: Console, data: dict[str, Any]) -> None:
    lines = [f"* is Keras' own setting: {data['default_backend']}."]
    if data["ambiguous"]:
        lines.append(
            f"Ambiguous ids, to be used with their distribution: {_list(data, 'ambiguous')}."
        )
    if data[VARIABLE] is not None:
        hidden = _by_distribution(data["hidden"]) or "nothing that is installed"
        lines.append(f"{VARIABLE}={data[VARIABLE]} hides {hidden}.")
    console.print()
    for line in lines:
        console.print(Text(one_line(line)))


def _by_distribution(names: list[str]) -> str:
    """How many cells of each distribution there are; their names would fill a screen."""
    counts = Counter(name.partition(":")[0] for name in names)
    return ", ".join(
        f"{distribution} ({count} cell{'s' * (count > 1)})"
        for distribution, count in sorted(counts.items())
    )


def _list(data: dict[str, Any], key: str) -> str:
    return ", ".join(data[key])


def _errors(console: Console, data: dict[str, Any]) -> None:
    found = {f"backend {b['name']}": b["error"] for b in data["backends"] if b["error"]}
    for plugin in data["plugins"]:
        # The same on every backend, as a rule: once is enough.
        for error, backend in {error: name for name, error in plugin["errors"].items()}.items():
            found[f"{plugin['distribution']}:{plugin['cell']}, {backend}"] = error
    for title, error in found.items():
        console.print()
        console.print(heading(one_line(title)))
        console.print(Text(error), soft_wrap=True)
