"""The classic cells in plain NumPy, float64, each as the equations of its paper.

A step takes the weights of a cell by name, the inputs, the states, and what an option
changes; it returns the output and the new states. Blocks of a matrix are columns.
"""

from __future__ import annotations

import numpy as np

__all__ = ["STEPS", "run"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def relu(a):
    return np.where(a > 0.0, a, 0.0)


def clip(a, bound):
    return a if bound is None else np.minimum(np.maximum(a, -bound), bound)


def gates(weights, count, x, h):
    """`W x + U h + b`, as `count` blocks."""
    kernel = np.split(weights["kernel"], count, axis=1)
    recurrent = np.split(weights["recurrent_kernel"], count, axis=1)
    width = weights["kernel"].shape[1]
    biases = np.split(weights.get("bias", np.zeros(width)), count)
    return [x @ w + h @ u + b for w, u, b in zip(kernel, recurrent, biases, strict=True)]


def basic_rnn(weights, x, h, activation=np.tanh):
    (a,) = gates(weights, 1, x, h)
    return activation(a), [activation(a)]


def basic_lstm(weights, x, h, c, forget_bias=1.0, activation=np.tanh):
    i, f, g, o = gates(weights, 4, x, h)
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * activation(g)
    h = sigmoid(o) * activation(c)
    return h, [h, c]


def lstmp(weights, x, r, c, cell_clip=None, projection_clip=None, forget_bias=1.0):
    i, f, g, o = gates(weights, 4, x, r)
    p_i, p_f, p_o = weights.get("peephole_kernel", np.zeros((3, c.shape[1])))
    i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c + forget_bias)
    c = clip(f * c + i * np.tanh(g), cell_clip)
    m = sigmoid(o + p_o * c) * np.tanh(c)
    r = clip(m @ weights.get("projection_kernel", np.eye(c.shape[1])), projection_clip)
    return r, [r, c]


def cifg_lstm(weights, x, h, c):
    i, g, o = gates(weights, 3, x, h)
    p_i, p_o = weights.get("peephole_kernel", np.zeros((2, c.shape[1])))
    i = sigmoid(i + p_i * c)
    f = 1.0 - i
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    return h, [h, c]


def glstm(weights, x, h, c, groups=2, forget_bias=1.0):
    """Group by group; then the groups' i one after the other, and so on."""
    blocks = []
    for k in range(groups):
        part = [np.split(a, groups, axis=1)[k] for a in (x, h)]
        w, u = (np.split(weights[m], groups, axis=0)[k] for m in ("kernel", "recurrent_kernel"))
        blocks.append(np.split(part[0] @ w + part[1] @ u, 4, axis=1))
    biases = np.split(weights.get("bias", np.zeros(4 * c.shape[1])), 4)
    i, f, g, o = (
        np.concatenate([block[gate] for block in blocks], axis=1) + biases[gate]
        for gate in range(4)
    )
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
    h = (sigmoid(o) * np.tanh(c)) @ weights.get("projection_kernel", np.eye(c.shape[1]))
    return h, [h, c]


def gru(weights, x, h, reset_after):
    w_z, w_r, w_g = np.split(weights["kernel"], 3, axis=1)
    u_z, u_r, u_g = np.split(weights["recurrent_kernel"], 3, axis=1)
    width = weights["kernel"].shape[1]
    biases = weights.get("bias", np.zeros((2, width)))
    biases = biases if biases.ndim == 2 else np.stack([biases, np.zeros(width)])
    (b_z, b_r, b_g), (d_z, d_r, d_g) = (np.split(row, 3) for row in biases)
    z, r = sigmoid(x @ w_z + h @ u_z + b_z + d_z), sigmoid(x @ w_r + h @ u_r + b_r + d_r)
    seen = r * (h @ u_g + d_g) if reset_after else (r * h) @ u_g
    h = z * h + (1.0 - z) * np.tanh(x @ w_g + b_g + seen)
    return h, [h]


def gru_v1(weights, x, h):
    return gru(weights, x, h, reset_after=True)


def gru_v3(weights, x, h):
    return gru(weights, x, h, reset_after=False)


def ugrnn(weights, x, h, forget_bias=1.0):
    c, g = gates(weights, 2, x, h)
    g = sigmoid(g + forget_bias)
    h = g * h + (1.0 - g) * np.tanh(c)
    return h, [h]


def intersection_rnn(weights, x, h, forget_bias=1.0):
    u, c, p, g = gates(weights, 4, x, h)
    p, g = sigmoid(p + forget_bias), sigmoid(g + forget_bias)
    y = p * x + (1.0 - p) * relu(u)
    return y, [g * h + (1.0 - g) * np.tanh(c)]


def indrnn(weights, x, h, activation=relu):
    bias = weights.get("bias", 0.0)
    h = activation(x @ weights["kernel"] + weights["recurrent_kernel"] * h + bias)
    return h, [h]


def nas(weights, x, h, c):
    of_x = np.split(x @ weights["kernel"], 8, axis=1)
    of_h = np.split(h @ weights["recurrent_kernel"] + weights.get("bias", 0.0), 8, axis=1)
    functions = [sigmoid, relu, sigmoid, relu, np.tanh, sigmoid, np.tanh, sigmoid]
    a = [
        function(left * right if k == 3 else left + right)
        for k, (function, left, right) in enumerate(zip(functions, of_x, of_h, strict=True))
    ]
    first = np.tanh(np.tanh(a[0] * a[1]) + c)
    c = first * np.tanh(a[2] + a[3])
    last = np.tanh(np.tanh(a[4] * a[5]) + sigmoid(a[6] + a[7]))
    h = np.tanh(c * last)
    h = h @ weights.get("projection_kernel", np.eye(h.shape[1]))
    return h, [h, c]


STEPS = {
    "basic_rnn": basic_rnn,
    "basic_lstm": basic_lstm,
    "lstmp": lstmp,
    "cifg_lstm": cifg_lstm,
    "glstm": glstm,
    "gru_v1": gru_v1,
    "gru_v3": gru_v3,
    "ugrnn": ugrnn,
    "intersection_rnn": intersection_rnn,
    "indrnn": indrnn,
    "nas": nas,
}


def run(cell, options, mask, weights, sequences, *states):
    """All outputs `(batch, time, size)` and the final states.

    At a masked step the states stay, and the output is the last valid one, zero before
    the first.
    """
    states, output, outputs = list(states), 0.0, []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        new_output, new_states = STEPS[cell](weights, sequences[:, t], *states, **options)
        output = np.where(valid, new_output, output)
        states = [np.where(valid, *pair) for pair in zip(new_states, states, strict=True)]
        outputs.append(output)
    return np.stack(outputs, axis=1), *states
