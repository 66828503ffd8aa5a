"""The minGRU in plain NumPy, float64.

Feng et al. 2024, arXiv:2410.01201, section 3.1; `g` from the appendix on log-space.
"""

from __future__ import annotations

import numpy as np

__all__ = ["run"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def g(x):
    return np.where(x < 0.0, sigmoid(x), x + 0.5)


def run(weights, sequences, h, mask=None, go_backwards=False, positive=False):
    """All outputs `(batch, time, units)` and the final `h`.

    At a masked step the state stays, and the output is the last valid one, zero before
    the first.
    """
    batch, time = sequences.shape[:2]
    units = h.shape[-1]
    w_z, w_h = weights["kernel"][:, :units], weights["kernel"][:, units:]
    b_z, b_h = np.split(weights.get("bias", np.zeros(2 * units)), 2)
    mask = np.ones((batch, time), bool) if mask is None else mask
    output, outputs = np.zeros_like(h), []
    for t in reversed(range(time)) if go_backwards else range(time):
        x, valid = sequences[:, t], mask[:, t, None]
        z, raw = sigmoid(x @ w_z + b_z), x @ w_h + b_h
        candidate = g(raw) if positive else raw
        new_h = (1.0 - z) * h + z * candidate
        output, h = np.where(valid, new_h, output), np.where(valid, new_h, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h
