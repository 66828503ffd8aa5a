"""The linear recurrent unit in plain NumPy, with its complex numbers, gradients by hand.

Orvieto et al. 2023, arXiv:2303.06349, section 3 and appendix. The gradient of a real
number with respect to a complex `c` is written as `d/d Re(c) + i d/d Im(c)`.
"""

from __future__ import annotations

import numpy as np

__all__ = ["backward", "forward", "parameters"]


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


def forward(weights, sequences, state, mask=None, go_backwards=False):
    """All outputs `(batch, time, units)`, the final state, and what `backward` needs.

    The state comes and goes as `(batch, size, 2)`. At a masked step it stays, and the
    output is the last valid one, zero before the first.
    """
    batch, time = sequences.shape[:2]
    p = parameters(weights)
    mask = np.ones((batch, time), bool) if mask is None else mask
    x = state[..., 0] + 1j * state[..., 1]
    output, outputs, tape = np.zeros((batch, len(p["C"]))), [], []
    for t in reversed(range(time)) if go_backwards else range(time):
        u, valid = sequences[:, t], mask[:, t, None]
        new_x = p["Lambda"] * x + p["gamma"] * (u @ p["B"].T)
        y = (new_x @ p["C"].T).real + u @ p["D"].T
        tape.append((t, valid, x, new_x))
        output, x = np.where(valid, y, output), np.where(valid, new_x, x)
        outputs.append(output)
    return np.stack(outputs, axis=1), np.stack([x.real, x.imag], axis=-1), tape


def backward(weights, sequences, tape, of_outputs, of_state):
    """The gradients of the weights, by name, of the sequences and of the initial state.

    They are those of `sum(outputs * of_outputs) + sum(final state * of_state)`.
    """
    p = parameters(weights)
    of = {name: np.zeros_like(value) for name, value in p.items()}
    of_sequences = np.zeros_like(sequences)
    of_x = of_state[..., 0] + 1j * of_state[..., 1]
    of_output = np.zeros_like(of_outputs[:, 0])  # of the output that masked steps repeat
    for position in reversed(range(len(tape))):
        t, valid, x, new_x = tape[position]
        u = sequences[:, t]
        of_output = of_output + of_outputs[:, position]
        of_y = np.where(valid, of_output, 0.0)
        of_output = np.where(valid, 0.0, of_output)
        of_new_x = np.where(valid, of_x + of_y @ p["C"].conj(), 0.0)
        of["C"] += of_y.T @ new_x.conj()
        of["D"] += of_y.T @ u
        of["Lambda"] += (of_new_x * x.conj()).sum(axis=0)
        of["gamma"] += (of_new_x.conj() * (u @ p["B"].T)).real.sum(axis=0)
        of_product = p["gamma"] * of_new_x
        of["B"] += of_product.T @ u
        of_sequences[:, t] = of_y @ p["D"] + (of_product @ p["B"].conj()).real
        of_x = np.where(valid, of_new_x * p["Lambda"].conj(), of_x)
    of_state = np.stack([of_x.real, of_x.imag], axis=-1)
    return _of_weights(weights, p, of), of_sequences, of_state


def _of_weights(weights, p, of):
    nu, theta = np.exp(weights["nu_log"]), np.exp(weights["theta_log"])
    of_logarithm = of["Lambda"].conj() * p["Lambda"]
    gradients = {
        "nu_log": (of_logarithm * -nu).real,
        "theta_log": (of_logarithm * 1j * theta).real,
        "gamma_log": of["gamma"] * p["gamma"],
        "kernel": np.concatenate([of["B"].real, of["B"].imag]).T,
        "output_kernel": np.concatenate([of["C"].real, of["C"].imag], axis=1).T,
    }
    if "feedthrough_kernel" in weights:
        is_diagonal = weights["feedthrough_kernel"].ndim == 1
        gradients["feedthrough_kernel"] = np.diag(of["D"]) if is_diagonal else of["D"].T
    return gradients
