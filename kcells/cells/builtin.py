"""Keras' own cells, under the ids by which kcells declares them."""

from keras.layers import GRUCell, LSTMCell, SimpleRNNCell

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell"]
