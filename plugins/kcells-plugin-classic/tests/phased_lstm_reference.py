"""The phased LSTM in plain NumPy, float64, unit by unit where the time gate is concerned.

Neil, Pfeiffer and Liu 2016, arXiv:1610.09513, section 2; the output gate as in their code.
"""

from __future__ import annotations

import numpy as np

__all__ = ["openness", "run"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def openness(time, period, shift, open_ratio, leak):
    """`k` of one unit at one time."""
    phase = np.mod(time - shift, period) / period
    if phase < open_ratio / 2:
        return 2 * phase / open_ratio
    if phase < open_ratio:
        return 2 - 2 * phase / open_ratio
    return leak * phase


def step(weights, x, time, h, c, leak):
    units = c.shape[1]
    w, u = weights["kernel"], weights["recurrent_kernel"]
    i, f, g, o = np.split(x @ w + h @ u + weights.get("bias", 0.0), 4, axis=1)
    p_i, p_f, p_o = weights.get("peephole_kernel", np.zeros((3, units)))
    new_c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    new_h = sigmoid(o + p_o * new_c) * np.tanh(new_c)
    rhythm = list(zip(weights["period"], weights["shift"], weights["open_ratio"], strict=True))
    k = np.array([[openness(t, *one, leak) for one in rhythm] for t in time[:, 0]])
    return k * new_h + (1 - k) * h, k * new_c + (1 - k) * c


def run(leak, mask, weights, features, times, h, c):
    """All outputs `(batch, time, units)` and the final `h` and `c`."""
    output, outputs = np.zeros_like(h), []
    for t in range(features.shape[1]):
        valid = mask[:, t, None]
        new_h, new_c = step(weights, features[:, t], times[:, t], h, c, leak)
        output = np.where(valid, new_h, output)
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        outputs.append(output)
    return np.stack(outputs, axis=1), h, c
