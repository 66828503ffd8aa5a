"""The layer-normalized GRU in plain NumPy, float64, gate by gate.

Ba, Kiros and Hinton 2016, arXiv:1607.06450, supplementary material; with z and 1 - z in
the places that they have in Keras.
"""

from __future__ import annotations

import numpy as np

__all__ = ["run"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def layer_norm(a, gain, shift, epsilon):
    """Equation 4 of the paper, sample by sample; `gain=None` leaves `a` as it is."""
    if gain is None:
        return a + shift
    rows = []
    for row in a:
        mu = row.sum() / len(row)
        sigma = np.sqrt(((row - mu) ** 2).sum() / len(row) + epsilon)
        rows.append(gain * (row - mu) / sigma + shift)
    return np.stack(rows)


def parameters(weights, units):
    """Matrices, gains and shifts of the four norms, from the weights of a cell."""
    gates, candidate = slice(0, 2 * units), slice(2 * units, 3 * units)
    shifts = weights.get("bias", np.zeros(3 * units))
    if shifts.ndim == 1:
        shifts = np.stack([shifts, np.zeros(3 * units)])
    gains = weights.get("gamma", [None, None])
    named = {}
    for name, block in (("gates", gates), ("candidate", candidate)):
        named[f"W_{name}"] = weights["kernel"][:, block]
        named[f"U_{name}"] = weights["recurrent_kernel"][:, block]
        for side, letter in enumerate("WU"):
            gain = None if gains[side] is None else gains[side][block]
            named[f"norm_{letter}_{name}"] = (gain, shifts[side][block])
    return named


def step(p, x, h, reset_after, epsilon):
    units = h.shape[-1]
    both = layer_norm(x @ p["W_gates"], *p["norm_W_gates"], epsilon)
    both = both + layer_norm(h @ p["U_gates"], *p["norm_U_gates"], epsilon)
    z, r = sigmoid(both[:, :units]), sigmoid(both[:, units:])
    of_input = layer_norm(x @ p["W_candidate"], *p["norm_W_candidate"], epsilon)
    if reset_after:
        of_state = r * layer_norm(h @ p["U_candidate"], *p["norm_U_candidate"], epsilon)
    else:
        of_state = layer_norm((r * h) @ p["U_candidate"], *p["norm_U_candidate"], epsilon)
    return z * h + (1.0 - z) * np.tanh(of_input + of_state)


def run(weights, sequences, h, mask=None, go_backwards=False, reset_after=True, epsilon=1e-5):
    """All outputs `(batch, time, units)` and the final `h`.

    At a masked step the state stays, and the output is the last valid one, zero before
    the first.
    """
    batch, time = sequences.shape[:2]
    p = parameters(weights, h.shape[-1])
    mask = np.ones((batch, time), bool) if mask is None else mask
    output, outputs = np.zeros_like(h), []
    for t in reversed(range(time)) if go_backwards else range(time):
        valid = mask[:, t, None]
        new_h = step(p, sequences[:, t], h, reset_after, epsilon)
        output, h = np.where(valid, new_h, output), np.where(valid, new_h, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h
