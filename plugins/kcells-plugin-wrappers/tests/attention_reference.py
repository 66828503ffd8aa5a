"""Attention in plain NumPy, float64, one sample, one step and one position at a time.

Written from the papers; nothing here is shared with the cell. Positions that are masked are left
out of the memory altogether. A score maps weights, a query, the positions that count and the
shares of the step before to the shares of these positions.
"""

from __future__ import annotations

import numpy as np

__all__ = ["attention", "bahdanau", "location", "luong", "monotonic", "run"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(energies):
    parts = np.exp(np.array(energies) - max(energies))
    return parts / parts.sum()


def additive(w, q, m, extra=0.0):
    """e_j of Bahdanau et al., normalized where there is a gain."""
    v = w["score_kernel"][:, 0]
    if "score_gain" in w:
        v = w["score_gain"] * v / np.sqrt((v**2).sum())
        extra = extra + w["score_bias"]
    return v @ np.tanh(q @ w["query_kernel"] + m @ w["memory_kernel"] + extra)


def bahdanau(w, q, memory, counts, last):
    return softmax([additive(w, q, memory[j]) for j in counts])


def luong(w, q, memory, counts, last):
    def energy(m):
        if "memory_kernel" not in w:
            return q @ m
        return w.get("score_gain", 1.0) * (q @ (m @ w["memory_kernel"]))

    return softmax([energy(memory[j]) for j in counts])


def location(w, q, memory, counts, last):
    filters = w["location_filters"]
    width, before = len(filters), (len(filters) - 1) // 2
    energies = []
    for j in counts:
        f = np.zeros(filters.shape[-1])
        for k in range(width):
            if 0 <= j + k - before < len(last):
                f = f + last[j + k - before] * filters[k, 0]
        extra = f @ w["location_kernel"] + w["score_bias"]
        energies.append(additive(w, q, memory[j], extra))
    return softmax(energies)


def monotonic(w, q, memory, counts, last, hard=False, energy=additive):
    """Raffel et al.: the recursion of equation 9; or the process itself."""
    shares, reached = np.zeros(len(memory)), 0.0
    for j in range(len(memory)):
        p = sigmoid(energy(w, q, memory[j]) + w["score_offset"]) if j in counts else 0.0
        p = float(p > 0.5) if hard else p
        reached = reached + last[j]
        shares[j] = p * reached
        reached = (1 - p) * reached
    return shares[counts]


def attention(step, scores, outputs="attention", activation=lambda v: v, alignment=False):
    """A step of a cell that attends to several memories; `scores` are pairs: which, recalls."""

    def of(w, name, k):
        end = "" if len(scores) == 1 else f"_{k}"
        return {
            key.removesuffix(end): value
            for key, value in w.items()
            if key.endswith(end) and key != name
        }

    def wrapped(w, x, memories, masks, states):
        recalled = sum(recalls for _, recalls in scores)
        lasts, attended, cell = iter(states[:recalled]), states[recalled], states[recalled + 1 :]
        (query,), cell = step(w, [np.concatenate([x, attended])], cell)
        contexts, alignments, kept = [], [], []
        for k, (score, recalls) in enumerate(scores):
            memory, counts = memories[k], np.flatnonzero(masks[k])
            own, shares = of(w, "", k), np.zeros(len(memories[k]))
            last = next(lasts) if recalls else None
            if len(counts):
                shares[counts] = score(own, query, memory, counts, last)
            context = sum((shares[j] * memory[j] for j in counts), np.zeros(memory.shape[-1]))
            if "attention_kernel" in own:
                context = activation(np.concatenate([query, context]) @ own["attention_kernel"])
            contexts.append(context)
            alignments.append(shares)
            kept += [shares] if recalls else []
        attended = np.concatenate(contexts)
        y = [attended if outputs == "attention" else query]
        return y + (alignments if alignment else []), [*kept, attended, *cell]

    return wrapped


def run(step, weights, x, memories, masks, states, time_mask):
    """All outputs `(batch, time, ...)` and the final states, sample by sample."""
    outputs, finals = [], []
    for b in range(len(x)):
        own, rows, last = [s[b] for s in states], [], None
        for t in range(x.shape[1]):
            if time_mask[b, t]:
                of_sample = [m[b] for m in memories], [m[b] for m in masks]
                last, own = step(weights, x[b, t], *of_sample, own)
            rows.append(last)
        outputs.append(rows)
        finals.append(own)
    shapes = next(row for rows in outputs for row in rows if row is not None)
    zeros = [np.zeros_like(y) for y in shapes]
    filled = [[zeros if row is None else row for row in rows] for rows in outputs]
    outs = [np.array([[row[k] for row in rows] for rows in filled]) for k in range(len(shapes))]
    return [*outs, *(np.array([own[k] for own in finals]) for k in range(len(states)))]
