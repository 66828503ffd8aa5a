"""The only place that imports a plugin's code.

A class is loaded when its cell is first used, and kept. A failure is kept too, with
its traceback, so that asking again gives the same answer without importing half a
module twice; `refresh` forgets failures.
"""

from __future__ import annotations

import importlib
import threading
import traceback
from typing import Any

from packaging.requirements import Requirement

from kcells._version import __version__
from kcells.errors import CellError, IncompatiblePluginError, KCellsError, PluginLoadError
from kcells.registry.info import CellInfo

__all__ = ["check_cell_class", "forget_failures", "load"]

_lock = threading.Lock()
_classes: dict[CellInfo, type[Any]] = {}
_failures: dict[CellInfo, tuple[KCellsError, BaseException | None]] = {}


def load(info: CellInfo) -> type[Any]:
    """Imports and returns the class that `info` declares.

    Raises:
        IncompatiblePluginError: if the distribution's metadata excludes this kcells.
        PluginLoadError: if the import fails, the attribute is missing, or it is no cell.
    """
    with _lock:
        # First: a thread may fail on a module that another one is still importing.
        if info in _classes:
            return _classes[info]
        if info in _failures:
            error, cause = _failures[info]
            raise type(error)(*error.args) from cause
    # Not under the lock: a module that another thread is importing may itself ask for
    # a cell. Python's own import locks see to it that each module runs once.
    try:
        cls = _import(info)
    except KCellsError as error:
        with _lock:
            _failures[info] = (error, error.__cause__)
        raise
    with _lock:
        return _classes.setdefault(info, cls)


def forget_failures() -> None:
    """Lets the next `load` try again what has failed before."""
    with _lock:
        _failures.clear()


def check_cell_class(candidate: object) -> str | None:
    """Why `candidate` cannot be a cell class, or None if it can."""
    if not isinstance(candidate, type):
        return f"it is {_article(type(candidate).__name__)}, not a class"
    if not callable(getattr(candidate, "call", None)) and not hasattr(candidate, "step"):
        return "it has no method call(inputs, states)"
    return None


def _import(info: CellInfo) -> type[Any]:
    _check_requirement(info)
    module_name, _, attribute = info.target.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        shown = "".join(traceback.format_exception(error)).rstrip()
        raise PluginLoadError(
            f'cell "{info.id}" of {info.source} cannot be loaded:'
            f" importing {module_name} raised {type(error).__name__}: {error}\n"
            f"{_indent(shown)}\n"
            f"  Mend or update the plugin (pip install -U {info.distribution}),"
            f" or remove it (pip uninstall {info.distribution})."
        ) from error
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except Exception as error:
            detail = "" if isinstance(error, AttributeError) else f": {error}"
            raise PluginLoadError(
                f'cell "{info.id}" of {info.source} cannot be loaded:'
                f' {module_name} has no attribute "{attribute}"{detail}.\n'
                f'  Its entry point says "{info.target}". Tell the authors of the plugin.'
            ) from error
    reason = check_cell_class(target)
    if reason is not None:
        raise PluginLoadError(
            f'cell "{info.id}" of {info.source} cannot be loaded:'
            f" {info.target} is no cell: {reason}.\n"
            "  A cell is a class with call(inputs, states) and state_size."
        ) from CellError(reason)
    return target  # type: ignore[no-any-return]


def _check_requirement(info: CellInfo) -> None:
    for line in info.requires:
        requirement = Requirement(line)
        if not requirement.specifier.contains(__version__, prereleases=True):
            raise IncompatiblePluginError(
                f'cell "{info.id}" of {info.source} cannot be loaded:'
                f" it requires {requirement}, and this is kcells {__version__}.\n"
                f"  Update it (pip install -U {info.distribution}),"
                f' or install a kcells that it accepts (pip install "{requirement}").'
            )


def _indent(text: str) -> str:
    return "\n".join("  | " + line for line in text.splitlines())


def _article(noun: str) -> str:
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun
