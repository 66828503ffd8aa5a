"""Every error that kcells raises on purpose.

    KCellsError
    |-- StructureError (ValueError)          inputs, states, masks that do not fit together
    |-- CellError (ValueError)               an object that cannot serve as a cell
    |-- ConfigurationError (ValueError)      layer options that contradict each other
    |-- ArgumentError (TypeError)            an argument nobody takes
    |-- RegistrationError (ValueError)       a name or class that cannot be registered
    |-- UnknownCellError (LookupError)       no such cell
    |-- AmbiguousCellError (LookupError)     several distributions declare the name
    |-- PluginLoadError (ImportError)        a plugin that is installed but does not load
    |   `-- IncompatiblePluginError          ... because it asks for another kcells
    |-- MissingPluginError (ImportError)     a saved model needs a plugin that is not there
    |-- ModelFileError (ValueError)          a model file that is damaged, or makes no model
    `-- DispatchError (ValueError)           no built-in layer computes the same

Each class takes one message, so that code which re-wraps an exception keeps its
type. What a program may want to look at is set as attributes by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kcells.text import message

__all__ = [
    "AmbiguousCellError",
    "ArgumentError",
    "CellError",
    "ConfigurationError",
    "DispatchError",
    "IncompatiblePluginError",
    "KCellsError",
    "MissingPluginError",
    "ModelFileError",
    "PluginLoadError",
    "RegistrationError",
    "StructureError",
    "UnknownCellError",
]


class KCellsError(Exception):
    """Base of all errors of kcells.

    Messages quote plugins and files, and end up in a terminal: no control character of theirs
    gets there.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(message(arg) if isinstance(arg, str) else arg for arg in args))


class StructureError(KCellsError, ValueError):
    """A structure of tensors has another shape than the one that is needed."""


class CellError(KCellsError, ValueError):
    """An object does not follow the protocol of a recurrent cell."""


class ConfigurationError(KCellsError, ValueError):
    """Options of a layer that cannot be honoured together."""


class ArgumentError(KCellsError, TypeError):
    """An argument that neither the layer nor the cell takes."""


class RegistrationError(KCellsError, ValueError):
    """A cell cannot be registered under this name."""


class UnknownCellError(KCellsError, LookupError):
    """No cell of this name is declared, registered or visible."""


class AmbiguousCellError(KCellsError, LookupError):
    """More than one distribution declares a cell of this name."""


class PluginLoadError(KCellsError, ImportError):
    """A plugin is installed, but its cell cannot be loaded."""


class IncompatiblePluginError(PluginLoadError):
    """A plugin is installed, but its metadata excludes this version of kcells."""


class MissingPluginError(KCellsError, ImportError):
    """A saved model needs a cell of a distribution that is not available."""


class ModelFileError(KCellsError, ValueError):
    """A model file cannot be loaded.

    Attributes:
        part: what of it is to blame: `"archive"`, `"configuration"` or `"weights"`; empty if
            that is not known.
    """

    part: str = ""


class DispatchError(KCellsError, ValueError):
    """A built-in layer was required, and none computes the same.

    Attributes:
        reasons: every condition that was looked at, if the caller knows them.
    """

    reasons: Sequence[Any] = ()


def table(rows: Iterable[Sequence[object]], indent: str = "  ") -> str:
    """Lines up `rows` in columns, for the body of a message."""
    texts = [[str(entry) for entry in row] for row in rows]
    if not texts:
        return ""
    widths = [max(len(row[k]) for row in texts) for k in range(len(texts[0]))]
    lines = (
        "   ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )
    return "\n".join(indent + line for line in lines)
