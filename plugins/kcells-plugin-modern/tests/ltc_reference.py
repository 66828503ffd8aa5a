"""The liquid time-constant network in plain NumPy, float64, a neuron at a time.

Hasani et al. 2021, arXiv:2006.04439: the fused solver, for the synapses of the authors' code.
"""

from __future__ import annotations

import numpy as np

__all__ = ["derivative", "run"]


def conductances(p, w, mu, sigma):
    """Of each synapse, `(batch, senders, receivers)`."""
    return w / (1.0 + np.exp(-sigma * (p[:, :, np.newaxis] - mu)))


def synapses(w, x, v):
    """Conductances of all synapses, and the potentials that they pull to."""
    ends = [(x, w["kernel"], "_inputs"), (v, w["recurrent_kernel"], "")]
    opened = [conductances(p, c, w[f"mu{end}"], w[f"sigma{end}"]) for p, c, end in ends]
    return np.concatenate(opened, axis=1), np.vstack([w["reversal_inputs"], w["reversal"]])


def derivative(w, x, v):
    """What the equation says of v' for mapped inputs: currents over the capacitance."""
    opened, reversal = synapses(w, x, v)
    current = w["leak"] * (w["rest"] - v)
    for sender in range(len(reversal)):
        current = current + opened[:, sender] * (reversal[sender] - v)
    return current / w["capacitance"]


def step(w, x, v, unfolds=6, epsilon=1e-8, timed=False):
    """The output and the new state."""
    x, time = (x[:, :-1], x[:, -1:]) if timed else (x, 1.0)
    x = x * w.get("input_scale", 1.0) + w.get("bias", 0.0)
    delta = time / unfolds
    for _ in range(unfolds):
        opened, reversal = synapses(w, x, v)
        # x(t + dt) = (x + dt f A) / (1 + dt (1 / tau + f)), with the capacitance on both sides.
        total = w["leak"] + opened.sum(axis=1) + epsilon
        pulled = w["leak"] * w["rest"] + (opened * reversal).sum(axis=1)
        rate = w["capacitance"]
        v = (v + delta * pulled / rate) / (1.0 + delta * total / rate)
    return v * w.get("output_scale", 1.0) + w.get("bias_output", 0.0), v


def run(weights, sequences, state, mask=None, **options):
    """All outputs `(batch, time, units)` and the final state.

    At a masked step the state stays, and the output is the last valid one, zero before the first.
    """
    output, outputs = np.zeros_like(state), []
    for t in range(sequences.shape[1]):
        valid = np.ones((len(sequences), 1), bool) if mask is None else mask[:, t, None]
        new_output, new_state = step(weights, sequences[:, t], state, **options)
        output, state = np.where(valid, new_output, output), np.where(valid, new_state, state)
        outputs.append(output)
    return np.stack(outputs, axis=1), state
