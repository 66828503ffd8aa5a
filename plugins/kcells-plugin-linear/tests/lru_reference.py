"""The linear recurrent unit in plain NumPy, with its complex numbers.

Orvieto et al. 2023, arXiv:2303.06349, section 3 and appendix.
"""

from __future__ import annotations

import numpy as np

__all__ = ["run"]


def parameters(weights):
    """`Lambda`, `gamma`, `B` (state, features), `C` (units, state) and `D`, a matrix."""
    nu, theta = np.exp(weights["nu_log"]), np.exp(weights["theta_log"])
    size = len(nu)
    kernel, output = weights["kernel"].T, weights["output_kernel"].T
    d = weights.get("feedthrough_kernel", np.zeros((kernel.shape[1], output.shape[0])))
    return {
        "Lambda": np.exp(-nu + 1j * theta),
        "gamma": np.exp(weights["gamma_log"]),
        "B": kernel[:size] + 1j * kernel[size:],
        "C": output[:, :size] + 1j * output[:, size:],
        "D": np.diag(d) if d.ndim == 1 else d.T,
    }


def run(weights, sequences, state, mask=None, go_backwards=False):
    """All outputs `(batch, time, units)` and the final state.

    The state comes and goes as `(batch, size, 2)`. At a masked step it stays, and the
    output is the last valid one, zero before the first.
    """
    batch, time = sequences.shape[:2]
    p = parameters(weights)
    mask = np.ones((batch, time), bool) if mask is None else mask
    x = state[..., 0] + 1j * state[..., 1]
    output, outputs = np.zeros((batch, len(p["C"]))), []
    for t in reversed(range(time)) if go_backwards else range(time):
        u, valid = sequences[:, t], mask[:, t, None]
        new_x = p["Lambda"] * x + p["gamma"] * (u @ p["B"].T)
        y = (new_x @ p["C"].T).real + u @ p["D"].T
        output, x = np.where(valid, y, output), np.where(valid, new_x, x)
        outputs.append(output)
    return np.stack(outputs, axis=1), np.stack([x.real, x.imag], axis=-1)
