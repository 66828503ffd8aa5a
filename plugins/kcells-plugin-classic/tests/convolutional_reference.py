"""The convolutional LSTM and GRU in plain NumPy, float64: Shi et al. 2015, Ballas et al. 2016.

Frames are `(batch, *space, channels)`. A kernel is laid over them entry by entry.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["run"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def convolve(frames, kernel, strides=1, padding="same", dilation=1):
    """What each position of the kernel adds to all positions of the result."""
    rank = frames.ndim - 2
    each = [np.broadcast_to(value, rank) for value in (strides, dilation)]
    sizes, borders = [], [(0, 0)]
    for size, width, stride, apart in zip(frames.shape[1:-1], kernel.shape, *each, strict=False):
        reach = apart * (width - 1) + 1
        count = (size - reach) // stride + 1 if padding == "valid" else -(-size // stride)
        missing = max((count - 1) * stride + reach - size, 0)
        borders.append((missing // 2, missing - missing // 2))
        sizes.append(count)
    padded = np.pad(frames, [*borders, (0, 0)])
    result = np.zeros((len(frames), *sizes, kernel.shape[-1]))
    for offset in itertools.product(*map(range, kernel.shape[:rank])):
        windows = tuple(
            slice(start * apart, start * apart + (count - 1) * stride + 1, stride)
            for start, count, stride, apart in zip(offset, sizes, *each, strict=True)
        )
        result += padded[:, *windows] @ kernel[offset]
    return result


def conv_lstm(w, x, h, c, activation=np.tanh, gate=sigmoid, **how):
    of_x = convolve(x, w["kernel"], **how) + w.get("bias", 0.0)
    sums = of_x + convolve(h, w["recurrent_kernel"])
    i, f, g, o = np.split(sums, 4, axis=-1)
    p_i, p_f, p_o = w.get("peephole_kernel", np.zeros((3, *c.shape[1:])))
    c = gate(f + p_f * c) * c + gate(i + p_i * c) * activation(g)
    return [gate(o + p_o * c) * activation(c), c]


def conv_gru(w, x, h, activation=np.tanh, gate=sigmoid, **how):
    x_z, x_r, x_g = np.split(convolve(x, w["kernel"], **how) + w.get("bias", 0.0), 3, axis=-1)
    u_z, u_r, u_g = np.split(w["recurrent_kernel"], 3, axis=-1)
    z, r = gate(x_z + convolve(h, u_z)), gate(x_r + convolve(h, u_r))
    return [(1.0 - z) * h + z * activation(x_g + convolve(r * h, u_g))]


def run(cell, how, mask, first, weights, sequences, *states):
    """All outputs and the last states; `first` says that the channels of frames come first."""
    step = {"conv_lstm": conv_lstm, "conv_gru": conv_gru}[cell]
    if first:
        sequences = np.moveaxis(sequences, 2, -1)
        states = [np.moveaxis(state, 1, -1) for state in states]
        if "peephole_kernel" in weights:
            moved = np.moveaxis(weights["peephole_kernel"], 1, -1)
            weights = {**weights, "peephole_kernel": moved}
    states, output, outputs = list(states), 0.0, []
    for t in range(sequences.shape[1]):
        valid = mask[:, t].reshape(-1, *[1] * (sequences.ndim - 2))
        new_states = step(weights, sequences[:, t], *states, **how)
        output = np.where(valid, new_states[0], output)
        states = [np.where(valid, *pair) for pair in zip(new_states, states, strict=True)]
        outputs.append(output)
    outputs = np.stack(outputs, axis=1)
    if first:
        return np.moveaxis(outputs, -1, 2), *(np.moveaxis(state, -1, 1) for state in states)
    return outputs, *states
