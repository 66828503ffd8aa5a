"""The block and Indy cells in plain NumPy, float64, unit by unit or product by product.

A step takes the weights of a cell by name, the inputs, the states, and what an option
changes; it returns the output and the new states. Blocks of a matrix are columns.
"""

from __future__ import annotations

import numpy as np

__all__ = ["STEPS", "run"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def blocks(matrix, count):
    return np.split(matrix, count, axis=-1)


def biases(weights, count):
    return blocks(weights.get("bias", np.zeros(weights["kernel"].shape[1])), count)


def lstm_block(weights, x, h, c, forget_bias=1.0, cell_clip=np.inf):
    """One product of inputs and state with one matrix, in the order i, g, f, o."""
    matrix = np.vstack([weights["kernel"], weights["recurrent_kernel"]])
    both = np.hstack([x, h])
    i, g, f, o = (both @ w + b for w, b in zip(blocks(matrix, 4), biases(weights, 4), strict=True))
    p_i, p_f, p_o = weights.get("peephole_kernel", np.zeros((3, c.shape[1])))
    i, f = sigmoid(i + c * p_i), sigmoid(f + forget_bias + c * p_f)
    c = np.tanh(g) * i + c * f
    c = np.where(c > cell_clip, cell_clip, np.where(c < -cell_clip, -cell_clip, c))
    h = np.tanh(c) * sigmoid(o + c * p_o)
    return h, [h, c]


def gru_block(weights, x, h):
    """One matrix for both gates and one for the candidate, in the order r, z, g."""
    w, u = blocks(weights["kernel"], 3), blocks(weights["recurrent_kernel"], 3)
    b = biases(weights, 3)
    gates = np.hstack([x, h]) @ np.block([[w[0], w[1]], [u[0], u[1]]]) + np.hstack(b[:2])
    r, z = blocks(sigmoid(gates), 2)
    g = np.tanh(np.hstack([x, h * r]) @ np.vstack([w[2], u[2]]) + b[2])
    h = (1.0 - z) * g + z * h
    return h, [h]


def indy_lstm(weights, x, h, c, forget_bias=1.0, activation=np.tanh):
    parts = zip(blocks(weights["kernel"], 4), blocks(weights["recurrent_kernel"], 4), strict=True)
    sums = [x @ w + u[None] * h for w, u in parts]
    i, f, g, o = (a + b for a, b in zip(sums, biases(weights, 4), strict=True))
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * activation(g)
    h = sigmoid(o) * activation(c)
    return h, [h, c]


def indy_gru(weights, x, h, activation=np.tanh):
    w_z, w_r, w_g = blocks(weights["kernel"], 3)
    u_z, u_r, u_g = blocks(weights["recurrent_kernel"], 3)
    b_z, b_r, b_g = biases(weights, 3)
    z, r = sigmoid(x @ w_z + u_z * h + b_z), sigmoid(x @ w_r + u_r * h + b_r)
    h = z * h + (1.0 - z) * activation(x @ w_g + u_g * (r * h) + b_g)
    return h, [h]


STEPS = {
    "lstm_block": lstm_block,
    "gru_block": gru_block,
    "indy_lstm": indy_lstm,
    "indy_gru": indy_gru,
}


def run(step, mask, weights, sequences, *states):
    """All outputs `(batch, time, size)` and the final states, of vectors or matrices.

    At a masked step the states stay, and the output is the last valid one, zero before
    the first.
    """
    states, output, outputs = list(states), 0.0, []
    for t in range(sequences.shape[1]):
        new_output, new_states = step(weights, sequences[:, t], *states)
        output = _where(mask[:, t], new_output, output)
        states = [_where(mask[:, t], *pair) for pair in zip(new_states, states, strict=True)]
        outputs.append(output)
    return np.stack(outputs, axis=1), *states


def _where(valid, new, old):
    return np.where(valid.reshape(-1, *[1] * (new.ndim - 1)), new, old)
