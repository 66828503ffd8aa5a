"""What `kcells doctor` finds out in a process of each backend. This module imports Keras."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Collection

import keras
import numpy as np

from kcells import registry
from kcells.build import build
from kcells.commands.children import reporting
from kcells.engine.backends import current
from kcells.engine.kernels import KERNELS
from kcells.errors import KCellsError

__all__ = ["examine"]


def examine(left_out: Collection[str], report: Callable[..., None]) -> None:
    """Reports about the backend, and about every plugin that may be loaded.

    Args:
        left_out: the qualified ids of cells that are known already.
        report: is told facts of the kinds `backend`, `runs`, `loading` and `plugin`.
    """
    backend, device = keras.backend.backend(), current().device()
    report(
        kind="backend",
        version=getattr(sys.modules.get(backend), "__version__", ""),
        device=device,
        devices=_devices() or [device],
        kernels=[
            {"name": kernel.name, "builtins": list(kernel.builtins), "dtypes": list(kernel.dtypes)}
            for kernel in KERNELS
            if (kernel.backend, kernel.device) == (backend, device)
        ],
    )
    build("lstm", 4)(np.zeros((1, 2, 3), "float32"))
    report(kind="runs")
    for name in (info.qualified_id for info in registry.list_cells()):
        if name not in left_out:
            # Said before: a plugin may take the process with it.
            report(kind="loading", cell=name)
            report(kind="plugin", cell=name, error=_error_of(name))


def _devices() -> list[str]:
    try:
        return [str(name) for name in keras.distribution.list_devices()]
    except Exception:  # Keras has no such function for every backend, and says so in its ways.
        return []


def _error_of(name: str) -> str:
    """Why a cell does not load; empty if it does."""
    try:
        registry.load(name)
    except Exception as error:
        known = isinstance(error, KCellsError)
        return str(error) if known else "".join(traceback.format_exception(error))
    return ""


if __name__ == "__main__":
    reporting(examine)
