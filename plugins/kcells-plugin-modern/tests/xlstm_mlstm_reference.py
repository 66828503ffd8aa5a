"""The mLSTM of xLSTM in plain NumPy, float64, head by head: Beck et al. 2024, section 2.3.

Three programs: the steps with a stabilizer, the steps without one, and all steps at once, where
an output is a weighted sum of all values so far.
"""

from __future__ import annotations

import numpy as np

__all__ = ["at_once", "run", "unstable_run"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def parts(w, x, heads):
    """What the inputs `(..., features)` say: the output gate, and q, k, v, i, f of each head."""
    width = w["kernel"].shape[1]
    units = (width - 2 * heads) // 4
    size = units // heads
    bias = w.get("bias", np.zeros(width))

    def affine(start, count, scale=1.0):
        columns = slice(start, start + count)
        return scale * (x @ w["kernel"][:, columns]) + bias[columns]

    of_heads = []
    for k in range(heads):
        first = k * size
        q = affine(first, size)
        key = affine(units + first, size, 1.0 / np.sqrt(size))
        v = affine(2 * units + first, size)
        gates = [affine(4 * units + block * heads + k, 1)[..., 0] for block in (0, 1)]
        of_heads.append((q, key, v, *gates))
    return sigmoid(affine(3 * units, units)), of_heads


def step(w, x, memory, n, m, heads, exponential):
    gate, of_heads = parts(w, x, heads)
    memory, n, m = memory.copy(), n.copy(), m.copy()
    outputs = np.zeros_like(gate)
    size = n.shape[-1]
    for k, (q, key, v, i, f) in enumerate(of_heads):
        for row in range(len(x)):
            log_f = f[row] if exponential else np.log(sigmoid(f[row]))
            new_m = max(log_f + m[row, k], i[row])
            stable_i, stable_f = np.exp(i[row] - new_m), np.exp(log_f + m[row, k] - new_m)
            memory[row, k] = stable_f * memory[row, k] + stable_i * np.outer(v[row], key[row])
            n[row, k] = stable_f * n[row, k] + stable_i * key[row]
            m[row, k] = new_m
            below = max(abs(n[row, k] @ q[row]), np.exp(-new_m))
            outputs[row, k * size : (k + 1) * size] = memory[row, k] @ q[row] / below
    return gate * outputs, [memory, n, m]


def run(w, sequences, *states, mask, heads=1, exponential=False):
    """All outputs and the last states."""
    states, output, outputs = list(states), 0.0, []
    for t in range(sequences.shape[1]):
        new_output, new_states = step(w, sequences[:, t], *states, heads, exponential)
        output = np.where(mask[:, t, None], new_output, output)
        states = [
            np.where(mask[:, t].reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(new_states, states, strict=True)
        ]
        outputs.append(output)
    return np.stack(outputs, axis=1), *states


def unstable_run(w, sequences, heads, exponential=False):
    """All outputs from a memory of zeros, with exponentials as they are; and that memory."""
    batch, time, _ = sequences.shape
    gate, of_heads = parts(w, sequences, heads)
    outputs, memories = [], []
    for q, key, v, i, f in of_heads:
        size = q.shape[-1]
        memory, n, found = np.zeros((batch, size, size)), np.zeros((batch, size)), []
        for t in range(time):
            kept = (np.exp if exponential else sigmoid)(f[:, t])[:, None]
            new = np.exp(i[:, t])[:, None]
            memory = kept[..., None] * memory + new[..., None] * (
                v[:, t, :, None] * key[:, t, None, :]
            )
            n = kept * n + new * key[:, t]
            above = np.einsum("bvk,bk->bv", memory, q[:, t])
            below = np.maximum(np.abs(np.einsum("bk,bk->b", n, q[:, t])), 1.0)
            found.append(above / below[:, None])
        outputs.append(np.stack(found, axis=1))
        memories.append(memory)
    return gate * np.concatenate(outputs, axis=-1), np.stack(memories, axis=1)


def at_once(w, sequences, heads, exponential=False):
    """The outputs from a memory of zeros, without a memory: as attention would have it."""
    time = sequences.shape[1]
    gate, of_heads = parts(w, sequences, heads)
    outputs = []
    for q, key, v, i, f in of_heads:
        log_f = np.cumsum(f if exponential else np.log(sigmoid(f)), axis=1)
        decay = log_f[:, :, None] - log_f[:, None, :] + i[:, None, :]
        seen = np.tril(np.ones((time, time), bool))
        scores = np.where(seen, np.exp(np.where(seen, decay, 0.0)), 0.0) * (
            q @ np.swapaxes(key, 1, 2)
        )
        below = np.maximum(np.abs(scores.sum(axis=2, keepdims=True)), 1.0)
        outputs.append(scores / below @ v)
    return gate * np.concatenate(outputs, axis=-1)
