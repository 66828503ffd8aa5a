"""RNN, GRU and LSTM with multiplicative integration in plain NumPy, float64, sum by sum.

Wu, Zhang, Zhang, Bengio and Salakhutdinov 2016, arXiv:1606.06630, section 2; z and 1 - z in
the places that they have in Keras.
"""

from __future__ import annotations

import numpy as np
from mlstm_reference import sigmoid

__all__ = ["run"]


def integrated(w, k, x, h):
    """The k-th sum: `alpha * Wx * Uh + beta_1 * Uh + beta_2 * Wx + b`."""
    units = h.shape[-1]
    block = slice(k * units, (k + 1) * units)
    wx, uh = x @ w["kernel"][:, block], h @ w["recurrent_kernel"][:, block]
    total = w["alpha"][block] * wx * uh + w["beta_1"][block] * uh + w["beta_2"][block] * wx
    return total + w["bias"][block] if "bias" in w else total


def rnn_step(w, x, h):
    return (np.tanh(integrated(w, 0, x, h)),)


def gru_step(w, x, h):
    z, r = sigmoid(integrated(w, 0, x, h)), sigmoid(integrated(w, 1, x, h))
    g = np.tanh(integrated(w, 2, x, r * h))
    return (z * h + (1.0 - z) * g,)


def lstm_step(w, x, h, c):
    i, f, g, o = (integrated(w, k, x, h) for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


STEPS = {"mi_rnn": rnn_step, "mi_gru": gru_step, "mi_lstm": lstm_step}


def run(weights, sequences, *states, mask, cell):
    """All outputs `(batch, time, units)` and the final states; a masked step changes nothing."""
    output, outputs = np.zeros_like(states[0]), []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        new = STEPS[cell](weights, sequences[:, t], *states)
        output = np.where(valid, new[0], output)
        states = [np.where(valid, a, b) for a, b in zip(new, states, strict=True)]
        outputs.append(output)
    return np.stack(outputs, axis=1), *states
