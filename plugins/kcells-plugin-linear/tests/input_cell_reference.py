"""minLSTM, QRNN, SRU and RG-LRU in plain NumPy, float64, a step at a time.

Feng et al. 2024, arXiv:2410.01201, section 3.2; Bradbury et al. 2016, arXiv:1611.01576,
section 2; Lei et al. 2017, arXiv:1709.02755, version 1; De et al. 2024, arXiv:2402.19427,
section 2.4.
"""

from __future__ import annotations

import numpy as np
from min_gru_reference import g as positive
from min_gru_reference import sigmoid

__all__ = ["run"]


def linear(w, x, k, units, biased=True):
    """The k-th block of `W x + b`."""
    block = slice(k * units, (k + 1) * units)
    product = x @ w["kernel"][:, block]
    return product + w["bias"][block] if biased and "bias" in w else product


def min_lstm(w, x, h, normalize_gates=True, activation="linear"):
    f, i = sigmoid(linear(w, x, 0, h.shape[-1])), sigmoid(linear(w, x, 1, h.shape[-1]))
    candidate = linear(w, x, 2, h.shape[-1])
    if activation == "positive":
        candidate = positive(candidate)
    if normalize_gates:
        f, i = f / (f + i), i / (f + i)
    h = f * h + i * candidate
    return h, h


def qrnn(w, x, c, pooling="fo"):
    units = c.shape[-1]
    z, f = np.tanh(linear(w, x, 0, units)), sigmoid(linear(w, x, 1, units))
    i = sigmoid(linear(w, x, 3, units)) if pooling == "ifo" else 1.0 - f
    c = f * c + i * z
    return (c if pooling == "f" else sigmoid(linear(w, x, 2, units)) * c), c


def sru(w, x, c, highway_scale=1.0, activation="tanh"):
    units = c.shape[-1]
    f, r = sigmoid(linear(w, x, 0, units)), sigmoid(linear(w, x, 1, units))
    c = f * c + (1.0 - f) * linear(w, x, 2, units, biased=False)
    passing = x if x.shape[-1] == units else linear(w, x, 3, units, biased=False)
    seen = np.tanh(c) if activation == "tanh" else c
    return r * seen + (1.0 - r) * highway_scale * passing, c


def rg_lru(w, x, h, power=8.0):
    units = h.shape[-1]
    r, i = sigmoid(linear(w, x, 0, units)), sigmoid(linear(w, x, 1, units))
    a = sigmoid(w["decay"]) ** (power * r)
    h = a * h + np.sqrt(1.0 - a**2) * (i * x)
    return h, h


STEPS = {"min_lstm": min_lstm, "qrnn": qrnn, "sru": sru, "rg_lru": rg_lru}


def run(weights, sequences, state, mask, cell, **options):
    """All outputs `(batch, time, units)` and the final state; a masked step changes nothing."""
    output, outputs = np.zeros_like(state), []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        new_output, new_state = STEPS[cell](weights, sequences[:, t], state, **options)
        output, state = np.where(valid, new_output, output), np.where(valid, new_state, state)
        outputs.append(output)
    return np.stack(outputs, axis=1), state
