"""The layer-normalized RNN in plain NumPy, float64.

Ba, Kiros and Hinton 2016, arXiv:1607.06450, equation 4.
"""

from __future__ import annotations

import numpy as np
from ln_gru_reference import layer_norm

__all__ = ["run"]


def run(weights, sequences, h, mask, epsilon=1e-5):
    """All outputs `(batch, time, units)` and the final `h`; a masked step changes nothing."""
    shift = weights.get("bias", np.zeros(h.shape[-1]))
    output, outputs = np.zeros_like(h), []
    for t in range(sequences.shape[1]):
        valid = mask[:, t, None]
        a = h @ weights["recurrent_kernel"] + sequences[:, t] @ weights["kernel"]
        new_h = np.tanh(layer_norm(a, weights["gamma"], shift, epsilon))
        output, h = np.where(valid, new_h, output), np.where(valid, new_h, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h
