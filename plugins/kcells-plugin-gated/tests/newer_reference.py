"""The cells that came last, in plain NumPy; see `gated_reference.py`."""

from __future__ import annotations

import numpy as np
from numpy_parts import parts, relu, sigmoid


def mgu(x, h, f, w, u_h, b_h):
    """Heck and Salem 2017: what the three have in common."""
    h = (1.0 - f) * h + f * np.tanh(x @ w + (f * h) @ u_h + b_h)
    return h, [h]


def mgu1(w, x, h):
    (u_f, u_h), (b_f, b_h) = parts(w, "recurrent_kernel", 2), parts(w, "bias", 2)
    return mgu(x, h, sigmoid(h @ u_f + b_f), w["kernel"], u_h, b_h)


def mgu2(w, x, h):
    u_f, u_h = parts(w, "recurrent_kernel", 2)
    return mgu(x, h, sigmoid(h @ u_f), w["kernel"], u_h, w["bias"])


def mgu3(w, x, h):
    b_f, b_h = parts(w, "bias", 2)
    return mgu(x, h, sigmoid(b_f), w["kernel"], w["recurrent_kernel"], b_h)


def elstm(w, x, c):
    """Irie et al. 2023."""
    (w_f, w_z, w_o), (b_f, b_z, b_o) = parts(w, "kernel", 3), parts(w, "bias", 3)
    u_f, u_z = w["recurrent_vectors"]
    f, z = sigmoid(x @ w_f + u_f * c + b_f), np.tanh(x @ w_z + u_z * c + b_z)
    c = f * c + (1.0 - f) * z
    return sigmoid(x @ w_o + c @ w["recurrent_kernel"] + b_o) * c, [c]


def lipschitz_rnn(w, x, h, epsilon=0.01, beta=0.8, gamma=0.01):
    """Erichson et al. 2021, by Euler's method."""

    def matrix(m):
        return (1 - beta) * (m + m.T) + beta * (m - m.T) - gamma * np.eye(len(m))

    a, b = matrix(w["recurrent_kernel_linear"]), matrix(w["recurrent_kernel"])
    h = h + epsilon * (h @ a) + epsilon * np.tanh(h @ b + x @ w["kernel"] + w["bias"])
    return h, [h]


def plrnn(w, x, h):
    """Durstewitz 2017."""
    off = w["recurrent_kernel"] - np.diag(np.diag(w["recurrent_kernel"]))
    h = w["diagonal"] * h + relu(h) @ off + x @ w["kernel"] + w["bias"]
    return h, [h]


def shallow_plrnn(w, x, h, clipped=False):
    """Hess et al. 2023."""
    sums = h @ w["recurrent_kernel_hidden"]
    bent = relu(sums + w["bias_hidden"]) - (relu(sums) if clipped else 0.0)
    h = w["diagonal"] * h + bent @ w["recurrent_kernel"] + x @ w["kernel"] + w["bias"]
    return h, [h]


def srnn(w, x, h):
    """Rotman and Wolf 2021."""
    hidden, k = x, 1
    while f"kernel_{k}" in w:
        hidden = relu(hidden @ w[f"kernel_{k}"] + w.get(f"bias_{k}", 0.0))
        k += 1
    gate = sigmoid(x @ w["kernel_gate"] + w.get("bias_gate", 0.0))
    h = relu(h[:, np.arange(h.shape[1]) - 1] + (hidden @ w["kernel"] + w.get("bias", 0.0)) * gate)
    return h, [h]


def block_gru(w, x, h):
    """Hafner et al. 2023, their code: each block by itself."""

    def norm(a, scale):
        return silu(scale * a / np.sqrt((a**2).mean(axis=1, keepdims=True) + 1e-4))

    def silu(a):
        return a * sigmoid(a)

    def diagonal(pieces, kernel, bias):
        return np.hstack([p @ k for p, k in zip(pieces, kernel, strict=True)]) + w.get(bias, 0.0)

    blocks = len(w["recurrent_kernel_gates"])
    e = norm(x @ w["kernel"] + w.get("bias", 0.0), w["scale"])
    s = norm(h @ w["recurrent_kernel"] + w.get("bias_state", 0.0), w["scale_state"])
    pieces, k = [np.hstack([part, s, e]) for part in np.split(h, blocks, axis=1)], 1
    while f"recurrent_kernel_{k}" in w:
        a = norm(diagonal(pieces, w[f"recurrent_kernel_{k}"], f"bias_{k}"), w[f"scale_{k}"])
        pieces, k = np.split(a, blocks, axis=1), k + 1
    gates = diagonal(pieces, w["recurrent_kernel_gates"], "bias_gates")
    parts_of = [np.split(block, 3, axis=1) for block in np.split(gates, blocks, axis=1)]
    r, g, u = (np.hstack([block[k] for block in parts_of]) for k in range(3))
    u = sigmoid(u - 1.0)
    h = u * np.tanh(sigmoid(r) * g) + (1.0 - u) * h
    return h, [h]
