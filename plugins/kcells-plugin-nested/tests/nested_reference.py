"""`NestedCell` in plain NumPy, float64, from the equations; no code shared with the cell."""

from __future__ import annotations

import numpy as np


def run(
    vectors: np.ndarray,
    matrices: np.ndarray,
    state_1: np.ndarray,
    state_2_3: np.ndarray,
    kernel_1: np.ndarray,
    kernel_2_3: np.ndarray,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The outputs of all steps, and the final states; written with explicit sums."""
    batch, time, _ = vectors.shape
    rows, columns, unit_2, unit_3 = kernel_2_3.shape
    out_1 = np.zeros((batch, time, kernel_1.shape[1]))
    out_2 = np.zeros((batch, time, unit_2, unit_3))
    final_1, final_2 = state_1.astype("float64").copy(), state_2_3.astype("float64").copy()
    for b in range(batch):
        for t in range(time):
            if mask is not None and not mask[b, t]:
                if t:
                    out_1[b, t], out_2[b, t] = out_1[b, t - 1], out_2[b, t - 1]
                continue
            out_1[b, t] = vectors[b, t] @ kernel_1
            for i in range(rows):
                for j in range(columns):
                    out_2[b, t] += matrices[b, t, i, j] * kernel_2_3[i, j]
            final_1[b] += out_1[b, t]
            final_2[b] += out_2[b, t]
    return out_1, out_2, final_1, final_2
