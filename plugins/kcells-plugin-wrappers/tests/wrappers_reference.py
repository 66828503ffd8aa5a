"""Wrappers in plain NumPy, float64, one sample and one step at a time.

Written from the papers and from TensorFlow's documentation; nothing here is shared with the
wrappers. A step maps weights (by name), a list of inputs and a list of states to a list of
outputs and a list of states.
"""

from __future__ import annotations

import numpy as np

__all__ = ["WRAPPERS", "gru", "leaky", "lstm", "run", "simple_rnn", "spread"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


# -- Cells


def lstm(w, xs, states, names=("kernel", "recurrent_kernel", "bias")):
    """Hochreiter and Schmidhuber 1997, with a forget gate; blocks as in Keras: i, f, g, o."""
    (x,), (h, c) = xs, states
    kernel, recurrent, bias = (w[name] for name in names)
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return [h], [h, c]


def gru(w, xs, states):
    """Cho et al. 2014, as cuDNN has it: the reset gate acts after the product."""
    (x,), (h,) = xs, states
    xz, xr, xg = np.split(x @ w["kernel"] + w["bias"][0], 3)
    hz, hr, hg = np.split(h @ w["recurrent_kernel"] + w["bias"][1], 3)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    h = z * h + (1.0 - z) * np.tanh(xg + r * hg)
    return [h], [h]


def simple_rnn(w, xs, states):
    (x,), (h,) = xs, states
    h = np.tanh(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"])
    return [h], [h]


def leaky(w, xs, states):
    """A cell without weights for any number of leaves; its output is none of its states."""
    new = [s / 2 + np.sin(x) for x, s in zip(xs, states, strict=True)]
    return [3 * s - x for x, s in zip(xs, new, strict=True)], new


def spread(w, xs, states):
    """A cell without weights that keeps a number and a matrix, in this order."""
    (x,), (mean, outer) = xs, states
    mean, outer = mean / 2 + np.tanh(x).mean(), outer / 2 + np.outer(np.tanh(x), [1.0, 2.0])
    return [outer[:, 0] - mean], [mean, outer]


# -- Wrappers: each makes another step of one


def numbered(w, name, k, count):
    return w[name if count == 1 else f"{name}_{k}"]


def residual(step):
    def wrapped(w, xs, states):
        ys, states = step(w, xs, states)
        out = []
        for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if x.shape != y.shape:
                x = x @ numbered(w, "projection_kernel", k, len(xs))
            out.append(x + y)
        return out, states

    return wrapped


def highway(step, coupled=True):
    def wrapped(w, xs, states):
        ys, states = step(w, xs, states)
        out = []
        for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
            n = len(xs)

            def gate(name, x=x, k=k, n=n):
                kernel, bias = (numbered(w, f"{name}_{part}", k, n) for part in ("kernel", "bias"))
                return sigmoid(x @ kernel + bias)

            carry = gate("carry")
            transform = 1.0 - carry if coupled else gate("transform")
            past = x if x.shape == y.shape else x @ numbered(w, "projection_kernel", k, n)
            out.append(carry * past + transform * y)
        return out, states

    return wrapped


def projected(w, values, activation):
    n = len(values)
    return [
        activation(
            v @ numbered(w, "projection_kernel", k, n) + numbered(w, "projection_bias", k, n)
        )
        for k, v in enumerate(values)
    ]


def input_projection(step, activation=lambda v: v):
    return lambda w, xs, states: step(w, projected(w, xs, activation), states)


def output_projection(step, activation=lambda v: v):
    def wrapped(w, xs, states):
        ys, states = step(w, xs, states)
        return projected(w, ys, activation), states

    return wrapped


def standardized(v, epsilon):
    return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + epsilon)


def layer_norm(step, inputs=False, outputs=True, epsilon=1e-5):
    def normalized(w, values, root):
        n = len(values)
        return [
            numbered(w, f"{root}_gain", k, n) * standardized(v, epsilon)
            + numbered(w, f"{root}_bias", k, n)
            for k, v in enumerate(values)
        ]

    def wrapped(w, xs, states):
        ys, states = step(w, normalized(w, xs, "inputs") if inputs else xs, states)
        return (normalized(w, ys, "outputs") if outputs else ys), states

    return wrapped


def embedding(step):
    def wrapped(w, xs, states):
        n = len(xs)
        found = [numbered(w, "embeddings", k, n)[int(x)] for k, x in enumerate(xs)]
        return step(w, found, states)

    return wrapped


def zoneout(step, rates):
    """The expectation, as at inference; the outputs of the cell are its first states."""

    def wrapped(w, xs, states):
        ys, new = step(w, xs, states)
        kept = [z * s + (1 - z) * n for z, s, n in zip(rates, states, new, strict=True)]
        return kept[: len(ys)], kept

    return wrapped


def multiplicative(step):
    def wrapped(w, xs, states):
        (x,) = xs
        h, *others = states
        m = (x @ w["multiplicative_input_kernel"]) * (h @ w["multiplicative_recurrent_kernel"])
        return step(w, xs, [m, *others])

    return wrapped


def attention_window(step):
    """Of the states the attention comes first, then those of the cell, then the window."""

    def wrapped(w, xs, states):
        (x,), (attention, *cell, window) = xs, states
        seen = np.concatenate([x, attention]) @ w["input_kernel"] + w["input_bias"]
        (y,), cell = step(w, [seen], cell)
        query = np.concatenate([np.ravel(s) for s in cell]) @ w["query_kernel"] + w["query_bias"]
        energies = [w["score_kernel"] @ np.tanh(o @ w["window_kernel"] + query) for o in window]
        parts = np.exp(energies)
        attention = sum(share * o for share, o in zip(parts / parts.sum(), window, strict=True))
        out = np.concatenate([y, attention]) @ w["output_kernel"] + w["output_bias"]
        return [out], [attention, *cell, np.stack([*window[1:], out])]

    return wrapped


WRAPPERS = {
    "attention_window": attention_window,
    "residual": residual,
    "highway": highway,
    "input_projection": input_projection,
    "output_projection": output_projection,
    "layer_norm": layer_norm,
    "embedding": embedding,
    "zoneout": zoneout,
    "multiplicative": multiplicative,
}


# -- A layer


def run(step, weights, inputs, states, mask):
    """All outputs `(batch, time, ...)` and the final states, sample by sample.

    At a masked step the states stay, and the output is the last one that counted, or zero.
    """
    batch, time = mask.shape
    outputs, finals = [], []
    for b in range(batch):
        own, rows, last = [s[b] for s in states], [], None
        for t in range(time):
            if mask[b, t]:
                last, own = step(weights, [x[b, t] for x in inputs], own)
            rows.append(last)
        outputs.append(rows)
        finals.append(own)
    shapes = next(row for rows in outputs for row in rows if row is not None)
    filled = [
        [[np.zeros_like(y) for y in shapes] if row is None else row for row in rows]
        for rows in outputs
    ]
    outs = [np.array([[row[k] for row in rows] for rows in filled]) for k in range(len(shapes))]
    return [*outs, *(np.array([own[k] for own in finals]) for k in range(len(states)))]
