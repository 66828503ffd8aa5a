"""What a layer's configuration says of its cell, where it goes into a file."""

from __future__ import annotations

import inspect
import types
import warnings
from typing import Any

from kcells._keras_private import sublayers
from kcells.cells.sharing import marked, trip
from kcells.registry import provenance

__all__ = ["saved_cell"]


def saved_cell(cell: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a cell, marked if other layers have the cell too.

    Warns, once a class and file, of what no plugin provides: that somebody else can load the
    file is then up to whoever saves it.
    """
    going = trip()
    if going is not None and not going.is_back:
        # Cells inside of cells, too; other parts are a matter between the author and Keras.
        cells = {type(part) for part in sublayers(cell) if hasattr(part, "state_size")}
        for cls in sorted(cells - going.noted, key=lambda cls: cls.__qualname__):
            going.noted.add(cls)
            if not provenance.is_provided(cls):
                _warn(provenance.what_it_takes(cls))
    return marked(cell, config)


def _warn(text: str) -> None:
    """Warns at the line that called Keras; a copy, which Keras makes by way of a file, is none."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and _module(frame).partition(".")[0] in ("kcells", "keras"):
        level, frame = level + 1, frame.f_back
    if frame is None or _module(frame) != "copy":
        warnings.warn(text, stacklevel=level)


def _module(frame: types.FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
