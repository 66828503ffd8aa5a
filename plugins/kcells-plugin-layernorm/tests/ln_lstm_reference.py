"""The layer-normalized LSTM in plain NumPy, float64, gate by gate.

`paper_step` is Ba, Kiros and Hinton 2016, arXiv:1607.06450, supplementary material.
`gates_step` is what TensorFlow 1 had as `LayerNormBasicLSTMCell`.
"""

from __future__ import annotations

import numpy as np
from ln_gru_reference import layer_norm, sigmoid

__all__ = ["run"]


def paper_step(w, x, h, c, epsilon):
    units = h.shape[-1]
    zero = np.zeros(4 * units)
    both = layer_norm(h @ w["recurrent_kernel"], w["gamma"][1], zero, epsilon)
    both = both + layer_norm(x @ w["kernel"], w["gamma"][0], zero, epsilon)
    both = both + w.get("bias", zero)
    i, f, g, o = (both[:, k * units : (k + 1) * units] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    shift = w.get("state_bias", np.zeros(units))
    return sigmoid(o) * np.tanh(layer_norm(c, w["state_gamma"], shift, epsilon)), c


def gates_step(w, x, h, c, epsilon):
    units = h.shape[-1]
    gates = []
    for k in range(4):
        block = slice(k * units, (k + 1) * units)
        a = x @ w["kernel"][:, block] + h @ w["recurrent_kernel"][:, block]
        shift = w.get("bias", np.zeros(4 * units))[block]
        gates.append(layer_norm(a, w["gamma"][block], shift, epsilon))
    i, f, g, o = gates
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    c = layer_norm(c, w["state_gamma"], w.get("state_bias", np.zeros(units)), epsilon)
    return sigmoid(o) * np.tanh(c), c


def run(weights, sequences, h, c, mask, normalize="paper", epsilon=1e-5):
    """All outputs `(batch, time, units)` and the final `h`, `c`; a masked step changes nothing."""
    step = {"paper": paper_step, "gates": gates_step}[normalize]
    output, outputs = np.zeros_like(h), []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        new_h, new_c = step(weights, sequences[:, t], h, c, epsilon)
        output = np.where(valid, new_h, output)
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        outputs.append(output)
    return np.stack(outputs, axis=1), h, c
