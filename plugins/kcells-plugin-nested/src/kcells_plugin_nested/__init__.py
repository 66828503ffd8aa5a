"""Recurrent cells for nested inputs, for kcells."""

from kcells_plugin_nested.nested import NestedCell
from kcells_plugin_nested.parallel import ParallelCells

__all__ = ["NestedCell", "ParallelCells"]
