"""The console script `kcells`.

It stands outside of the package, since importing anything in `kcells` imports Keras, which
takes seconds. Here the package is made known to Python without running its `__init__`, so
that the modules that work on metadata can be imported alone. A command that needs the
whole library runs the `__init__` later, on the same module object: every module exists
once.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main", "prepare"]


def prepare() -> None:
    """Puts the package `kcells` into `sys.modules`, unless it is there."""
    if "kcells" in sys.modules:
        return
    spec = importlib.util.find_spec("kcells")
    if spec is None:
        raise ModuleNotFoundError(
            "the command kcells is installed, and the package kcells is not.\n"
            "  Install it again: pip install --force-reinstall kcells"
        )
    sys.modules["kcells"] = importlib.util.module_from_spec(spec)


def main() -> None:
    """Runs the command."""
    prepare()
    from kcells.commands.group import main as command

    command(prog_name="kcells")
