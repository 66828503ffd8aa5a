"""The minGRU in plain NumPy, float64, with its gradients by hand.

Feng et al. 2024, arXiv:2410.01201, section 3.1; `g` from the appendix on log-space.
"""

from __future__ import annotations

import numpy as np

__all__ = ["backward", "forward"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def g(x):
    return np.where(x < 0.0, sigmoid(x), x + 0.5)


def slope_of_g(x):
    return np.where(x < 0.0, sigmoid(x) * (1.0 - sigmoid(x)), 1.0)


def forward(weights, sequences, h, mask=None, go_backwards=False, positive=False):
    """All outputs `(batch, time, units)`, the final `h`, and what `backward` needs.

    At a masked step the state stays, and the output is the last valid one, zero before
    the first.
    """
    batch, time = sequences.shape[:2]
    units = h.shape[-1]
    w_z, w_h = weights["kernel"][:, :units], weights["kernel"][:, units:]
    b_z, b_h = np.split(weights.get("bias", np.zeros(2 * units)), 2)
    mask = np.ones((batch, time), bool) if mask is None else mask
    output, outputs, tape = np.zeros_like(h), [], []
    for t in reversed(range(time)) if go_backwards else range(time):
        x, valid = sequences[:, t], mask[:, t, None]
        z, raw = sigmoid(x @ w_z + b_z), x @ w_h + b_h
        candidate = g(raw) if positive else raw
        tape.append((t, valid, h, z, raw, candidate))
        new_h = (1.0 - z) * h + z * candidate
        output, h = np.where(valid, new_h, output), np.where(valid, new_h, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h, tape


def backward(weights, sequences, tape, of_outputs, of_h, positive=False):
    """The gradients of the weights, by name, of the sequences and of the initial state.

    They are those of `sum(outputs * of_outputs) + sum(final h * of_h)`.
    """
    units = of_h.shape[-1]
    kernel = weights["kernel"]
    of_weights = {name: np.zeros_like(value) for name, value in weights.items()}
    of_sequences = np.zeros_like(sequences)
    of_output = np.zeros_like(of_h)  # of the output that masked steps repeat
    for position in reversed(range(len(tape))):
        t, valid, h, z, raw, candidate = tape[position]
        of_output = of_output + of_outputs[:, position]
        of_new_h = np.where(valid, of_output + of_h, 0.0)
        of_output = np.where(valid, 0.0, of_output)
        of_h = np.where(valid, of_new_h * (1.0 - z), of_h)
        of_z = of_new_h * (candidate - h) * z * (1.0 - z)
        of_raw = of_new_h * z * (slope_of_g(raw) if positive else 1.0)
        of_products = np.concatenate([of_z, of_raw], axis=-1)
        assert of_products.shape[-1] == 2 * units
        of_weights["kernel"] += sequences[:, t].T @ of_products
        if "bias" in weights:
            of_weights["bias"] += of_products.sum(axis=0)
        of_sequences[:, t] = of_products @ kernel.T
    return of_weights, of_sequences, of_h
