"""The multiplicative RNN and GRU in plain NumPy, float64, matrix by matrix.

Sutskever, Martens and Hinton 2011 and Cho et al. 2014, in the letters of Krause et al. 2016.
"""

from __future__ import annotations

import numpy as np
from mlstm_reference import sigmoid

__all__ = ["run_gru", "run_rnn"]


def rnn_step(w, x, h):
    units = h.shape[-1]
    m = (x @ w["kernel"][:, units:]) * (h @ w["multiplicative_kernel"])
    bias = w.get("bias", np.zeros(units))
    return np.tanh(m @ w["recurrent_kernel"] + x @ w["kernel"][:, :units] + bias)


def gru_step(w, x, h):
    zx, rx, gx, mx = np.split(w["kernel"], 4, axis=1)
    zm, rm, gm = np.split(w["recurrent_kernel"], 3, axis=1)
    b_z, b_r, b_g = np.split(w.get("bias", np.zeros(3 * h.shape[-1])), 3)
    m = (x @ mx) * (h @ w["multiplicative_kernel"])
    z = sigmoid(x @ zx + m @ zm + b_z)
    r = sigmoid(x @ rx + m @ rm + b_r)
    g = np.tanh(x @ gx + (r * m) @ gm + b_g)
    return z * h + (1.0 - z) * g


def run(step, weights, sequences, h, mask):
    """All outputs `(batch, time, units)` and the final `h`; a masked step changes nothing."""
    output, outputs = np.zeros_like(h), []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        new_h = step(weights, sequences[:, t], h)
        output, h = np.where(valid, new_h, output), np.where(valid, new_h, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h


def run_rnn(weights, sequences, h, mask):
    return run(rnn_step, weights, sequences, h, mask)


def run_gru(weights, sequences, h, mask):
    return run(gru_step, weights, sequences, h, mask)
