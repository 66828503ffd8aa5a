"""Recurrent cells for kcells that are linear in their state."""

from kcells_plugin_linear.lru import LRUCell
from kcells_plugin_linear.min_gru import MinGRUCell

__all__ = ["LRUCell", "MinGRUCell"]
