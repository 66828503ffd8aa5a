"""The multiplicative LSTM in plain NumPy, float64, matrix by matrix as in the paper.

Krause, Lu, Murray and Renals 2016, arXiv:1609.07959. Weight normalization: Salimans and
Kingma 2016, arXiv:1602.07868.
"""

from __future__ import annotations

import numpy as np

__all__ = ["run", "step"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def named_matrices(weights, units):
    """The matrices and biases of the paper's equations from the weights of a cell."""

    def matrix(name):
        direction = weights[name]
        gain = weights.get(f"{name}_gain")
        if gain is None:
            return direction
        columns = [
            gain[k] * direction[:, k] / np.sqrt(np.dot(direction[:, k], direction[:, k]))
            for k in range(direction.shape[1])
        ]
        return np.stack(columns, axis=1)

    def blocks(array):
        return [array[..., k : k + units] for k in range(0, array.shape[-1], units)]

    named = dict(zip(["ix", "fx", "ux", "ox", "mx"], blocks(matrix("kernel")), strict=True))
    named |= dict(zip(["im", "fm", "um", "om"], blocks(matrix("recurrent_kernel")), strict=True))
    named["mh"] = matrix("multiplicative_kernel")
    biases = weights.get("bias", np.zeros(4 * units))
    return named | dict(zip(["i", "f", "u", "o"], blocks(biases), strict=True))


def step(w, x, h, c, output_gate):
    """One step; `w` is what `named_matrices` gives."""
    m = (x @ w["mx"]) * (h @ w["mh"])
    i = sigmoid(x @ w["ix"] + m @ w["im"] + w["i"])
    f = sigmoid(x @ w["fx"] + m @ w["fm"] + w["f"])
    o = sigmoid(x @ w["ox"] + m @ w["om"] + w["o"])
    candidate = x @ w["ux"] + m @ w["um"] + w["u"]
    if output_gate == "outside":
        c = f * c + i * np.tanh(candidate)
        return o * np.tanh(c), c
    c = f * c + i * candidate
    return np.tanh(o * c), c


def run(weights, sequences, h, c, mask=None, go_backwards=False, output_gate="outside"):
    """All outputs `(batch, time, units)` and the final `h` and `c`.

    At a masked step the states stay, and the output is the last valid one, zero before
    the first.
    """
    batch, time = sequences.shape[:2]
    w = named_matrices(weights, h.shape[-1])
    mask = np.ones((batch, time), bool) if mask is None else mask
    output, outputs = np.zeros_like(h), []
    for t in reversed(range(time)) if go_backwards else range(time):
        valid = mask[:, t, None]
        new_h, new_c = step(w, sequences[:, t], h, c, output_gate)
        output = np.where(valid, new_h, output)
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        outputs.append(output)
    return np.stack(outputs, axis=1), h, c
