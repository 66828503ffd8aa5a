"""HGRU and S5 in plain NumPy, float64, a step at a time, with their complex numbers.

Qin et al. 2023, arXiv:2311.04823, section 3; Smith et al. 2023, arXiv:2208.04933, section 3.
"""

from __future__ import annotations

import numpy as np

__all__ = ["normal_hippo", "run"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def silu(a):
    return a * sigmoid(a)


def layer_norm(w, a, epsilon):
    mean, variance = a.mean(axis=-1, keepdims=True), a.var(axis=-1, keepdims=True)
    return w["scale"] * (a - mean) / np.sqrt(variance + epsilon) + w["shift"]


def hgru(w, x, h, lower_bound=0.0, gate_first=True, epsilon=1e-5, activation=silu, gate=silu):
    n = h.shape[-1]
    sums = x @ w["kernel"] + w.get("bias", 0.0)
    c = activation(sums[:, :n]) + 1j * activation(sums[:, n : 2 * n])
    mu, g = sigmoid(sums[:, 2 * n : 3 * n]), gate(sums[:, 3 * n :])
    rate = lower_bound + (1.0 - lower_bound) * mu
    h = rate * np.exp(1j * w["theta"]) * h + (1.0 - rate) * c
    seen = np.hstack([h.real, h.imag])
    first, last = (g, 1.0) if gate_first else (1.0, g)
    seen = layer_norm(w, first * seen, epsilon) * last
    return seen @ w["kernel_output"] + w.get("bias_output", 0.0), h


def s5(w, u, x, conjugate=True, timed=False):
    n = x.shape[-1]
    step = np.exp(w["log_step"])
    if timed:
        u, step = u[:, :-1], u[:, -1:] * step
    rates = w["lambda_real"] + 1j * w["lambda_imaginary"]
    b = w["kernel"][:, :n] + 1j * w["kernel"][:, n:]
    c = w["kernel_output"][:n] + 1j * w["kernel_output"][n:]
    kept = np.exp(rates * step)
    x = kept * x + (kept - 1.0) / rates * (u @ b)
    d = w.get("kernel_feedthrough", np.zeros(()))
    past = u @ d if d.ndim == 2 else u * d if d.ndim == 1 else 0.0
    copies = 2.0 if conjugate else 1.0
    return copies * (x @ c).real + past + w.get("bias", 0.0), x


STEPS = {"hgru": hgru, "s5": s5}


def run(weights, sequences, state, mask=None, cell="", **options):
    """All outputs `(batch, time, units)` and the final state, which comes and goes as pairs.

    At a masked step the state stays, and the output is the last valid one, zero before the first.
    """
    x, output, outputs = state[..., 0] + 1j * state[..., 1], 0.0, []
    for t in range(sequences.shape[1]):
        valid = np.ones((len(sequences), 1), bool) if mask is None else mask[:, t, None]
        new_output, new_x = STEPS[cell](weights, sequences[:, t], x, **options)
        output, x = np.where(valid, new_output, output), np.where(valid, new_x, x)
        outputs.append(output)
    return np.stack(outputs, axis=1), np.stack([x.real, x.imag], axis=-1)


def normal_hippo(size):
    """The normal part of the HiPPO-LegS matrix, an entry at a time: appendix B of S5."""
    matrix = np.zeros((size, size))
    for n in range(size):
        for k in range(size):
            product = np.sqrt(n + 0.5) * np.sqrt(k + 0.5)
            matrix[n, k] = -0.5 if n == k else product if n < k else -product
    return matrix
