"""`kcells new`: a plugin to fill in and publish.

The templates are files of the package, with names that no tool takes for code. Their
placeholders start with %%, since $ and @ and braces mean something in what they hold.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.resources
import keyword
import os
import re
import string
import tempfile
from pathlib import Path

import click
from rich.console import Console

from kcells import registry
from kcells._version import __version__
from kcells.commands.output import UserError, answer, json_option
from kcells.registry.info import BUILTIN_DISTRIBUTION
from kcells.text import one_line

__all__ = ["command"]

FILES: dict[str, str | None] = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "LICENSE": "LICENSE.template",
    ".gitignore": "gitignore.template",
    ".github/workflows/tests.yml": "tests.yml.template",
    "src/%%package/__init__.py": "init.py.template",
    "src/%%package/%%{module}.py": "cell.py.template",
    "src/%%package/py.typed": None,
    "tests/test_%%{module}.py": "test_cell.py.template",
    "tests/test_laws.py": "test_laws.py.template",
}
"""Every file of a plugin, and the template that it comes from."""

NESTED: dict[str, str | None] = {
    "src/%%package/%%{module}.py": "nested_cell.py.template",
    "tests/test_%%{module}.py": "nested_test_cell.py.template",
}
"""What is another file for a cell with several inputs."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")


class Template(string.Template):
    """A text with placeholders such as `%%id` and `%%{id}`."""

    delimiter = "%%"


@dataclasses.dataclass(frozen=True)
class Plugin:
    """The names in a plugin, all from one.

    Examples:

    >>> plugin = Plugin("slow_gru")
    >>> plugin.distribution, plugin.class_name
    ('kcells-plugin-slow-gru', 'SlowGruCell')
    """

    id: str
    inputs: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, str | None]:
        """Every file, and the template that it comes from."""
        return FILES | NESTED if self.inputs else FILES

    @property
    def distribution(self) -> str:
        """The name for PyPI, and of the folder."""
        return "kcells-plugin-" + self.id.replace("_", "-")

    @property
    def package(self) -> str:
        """The name for `import`."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """The name of the cell's class."""
        return "".join(part.capitalize() for part in self.id.split("_")) + "Cell"

    @property
    def names(self) -> dict[str, str]:
        """What the placeholders stand for."""
        return {
            "id": self.id,
            "distribution": self.distribution,
            "package": self.package,
            "module": f"{self.id}_cell",
            "class_name": self.class_name,
            "kcells": ".".join(__version__.split(".")[:2]),
            "year": str(datetime.datetime.now(datetime.UTC).year),
            "inputs_quoted": ", ".join(f'"{name}"' for name in self.inputs)
            + ("," if len(self.inputs) == 1 else ""),
        }


@click.command("new")
@click.argument("name")
@click.option(
    "--inputs",
    metavar="NAMES",
    default="",
    help="For a cell with several inputs: their names, with commas between them.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where the folder of the plugin is made.  [default: here]",
)
@json_option
def command(name: str, inputs: str, folder: Path, as_json: bool) -> None:
    """Makes a folder with a plugin that works, to fill in and publish.

    NAME is the id of the cell: `kcells new foo` makes kcells-plugin-foo with a FooCell,
    its tests, and a CI file for the three backends. With --inputs location,pressure the
    cell takes a dict of these.
    """
    plugin = checked(name, inputs)
    target = folder / plugin.distribution
    if os.path.lexists(target):
        raise UserError(f"{target} is there already, and is left as it is: choose another folder.")
    files = make(plugin, target)
    data = {
        "id": plugin.id,
        "distribution": plugin.distribution,
        "package": plugin.package,
        "class": plugin.class_name,
        "folder": str(target),
        "files": files,
    }
    answer(as_json, data, lambda console, _: show(console, plugin, target, files))


def checked(name: str, inputs: str = "") -> Plugin:
    """The names of the plugin, and those of the inputs, as they were typed.

    Raises:
        UserError: if it cannot be called so.
    """
    names = tuple(part.strip() for part in inputs.split(",")) if inputs.strip() else ()
    for part in names:
        if not _NAME.match(part) or names.count(part) > 1:
            raise UserError(
                f"{part!r} cannot be the name of an input: take small letters a to z, digits, and"
                ' single "_" between them, each name once, such as "location,pressure".'
            )
    if not _NAME.match(name) or keyword.iskeyword(name):
        raise UserError(
            f"{name!r} cannot be the id of a new cell: take small letters a to z, digits, and"
            ' single "_" between them, such as "slow_gru".'
        )
    if any(i.id == name and i.distribution == BUILTIN_DISTRIBUTION for i in registry.list_cells()):
        raise UserError(f'kcells itself has a cell "{name}", which no plugin takes over.')
    return Plugin(name, names)


def make(plugin: Plugin, target: Path) -> list[str]:
    """Makes the folder of a plugin, whole or not at all, and returns the paths in it.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Half of a plugin would stand in the way of the next try.
        with tempfile.TemporaryDirectory(prefix=".kcells-new-", dir=target.parent) as beside:
            unfinished = Path(beside, target.name)
            files = write(plugin, unfinished)
            unfinished.rename(target)
    except OSError as error:
        raise UserError(
            f"{target} cannot be made: {error.strerror or error}.\n"
            "  Choose a folder that you may write to, by --folder, or a shorter name."
        ) from error
    return files


def write(plugin: Plugin, target: Path) -> list[str]:
    """Writes all files of a plugin, and returns their paths in its folder."""
    templates = importlib.resources.files("kcells.commands") / "templates"
    written = []
    for path, template in plugin.files.items():
        name = Template(path).substitute(plugin.names)
        text = "" if template is None else (templates / template).read_text(encoding="utf-8")
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(plugin.names), encoding="utf-8")
        written.append(name)
    return written


def show(console: Console, plugin: Plugin, target: Path, files: list[str]) -> None:
    """The files, and what to do next."""
    console.print(f"{target}", style="bold green", soft_wrap=True)
    for file in files:
        console.print(f"  {file}", soft_wrap=True)
    others = [info for info in registry.list_cells() if info.id == plugin.id]
    for info in others:
        console.print(
            f"\n{one_line(info.source)} declares a cell {plugin.id} too. With both installed the"
            " bare id is ambiguous.",
            style="yellow",
        )
    console.print("\nNext:")
    lines = (f"cd {target}", 'pip install -e ".[test]"', "pytest", f"kcells list {plugin.id}")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
