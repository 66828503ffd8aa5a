"""Multiplicative recurrent cells for kcells."""

from kcells_plugin_mlstm.multiplicative_lstm import MultiplicativeLSTMCell

__all__ = ["MultiplicativeLSTMCell"]
