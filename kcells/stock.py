"""Keras' own recurrent classes, as they were when kcells was imported.

People try a drop-in by `keras.layers.RNN = kcells.RNN`. Where kcells means the class of Keras it
must not find itself, or anything else that was put there since: it takes these.
"""

from __future__ import annotations

from keras.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "GRUCell",
    "LSTMCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
]
