"""Keras' own cells, under the ids by which kcells declares them."""

from kcells.stock import GRUCell, LSTMCell, SimpleRNNCell

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell"]
