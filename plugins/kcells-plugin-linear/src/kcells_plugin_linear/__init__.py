"""Recurrent cells for kcells that are linear in their state."""

from kcells_plugin_linear.hgru import HGRUCell
from kcells_plugin_linear.lru import LRUCell
from kcells_plugin_linear.min_gru import MinGRUCell
from kcells_plugin_linear.min_lstm import MinLSTMCell
from kcells_plugin_linear.qrnn import QRNNCell
from kcells_plugin_linear.rg_lru import RGLRUCell
from kcells_plugin_linear.s5 import S5Cell
from kcells_plugin_linear.sru import SRUCell

__all__ = [
    "HGRUCell",
    "LRUCell",
    "MinGRUCell",
    "MinLSTMCell",
    "QRNNCell",
    "RGLRUCell",
    "S5Cell",
    "SRUCell",
]
