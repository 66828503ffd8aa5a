"""The cells that scan frequencies in plain NumPy, float64: block after block, gate after gate.

A step takes the weights of a cell by name, the inputs, the states, and the arguments of the
cell; it returns the output and the new states.
"""

from __future__ import annotations

import numpy as np

__all__ = ["bidirectional_grid_lstm", "grid_lstm", "time_freq_lstm"]


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def clip(a, bound):
    return a if bound is None else np.minimum(np.maximum(a, -bound), bound)


def blocks_of(x, bands, size, skip, offset=0):
    """For each band the features of its blocks; zeros where there are none."""
    width = x.shape[1]
    wide = np.hstack([np.zeros_like(x), x, np.zeros_like(x)])
    for start, end in bands or [(0, width)]:
        length = size or end - start
        found, low = [], start
        while low + length <= end:
            found.append(wide[:, width + low + offset : width + low + offset + length])
            low += skip
        yield found


def of_band(weights, bands, number, prefix=""):
    """The weights of one band, by their names without its number."""
    ending = f"_{number}" if bands else ""
    names = ("kernel", "recurrent_kernel", "frequency_kernel", "bias", "peephole_kernel")
    found = {name: weights.get(f"{prefix}{name}{ending}") for name in names}
    if found["bias"] is None:
        found["bias"] = np.zeros(found["kernel"].shape[1])
    if found["frequency_kernel"] is None:
        found["frequency_kernel"] = np.zeros_like(found["recurrent_kernel"])
    return found


def sums(w, x, h, below):
    """`W x + U h + V below + b` for all gates."""
    matrix = np.vstack([w["kernel"], w["recurrent_kernel"], w["frequency_kernel"]])
    return np.hstack([x, h, below]) @ matrix + w["bias"]


def time_freq_lstm(
    weights, x, h, c, feature_size=None, frequency_skip=1, bands=None, cell_clip=None, forget_bias=1
):
    new_h, new_c, k = np.zeros_like(h), np.zeros_like(c), 0
    for number, blocks in enumerate(blocks_of(x, bands, feature_size, frequency_skip)):
        w, below = of_band(weights, bands, number), np.zeros_like(h[:, 0])
        peepholes = w["peephole_kernel"]
        p_i, p_f, p_o = np.zeros((3, 1)) if peepholes is None else peepholes
        for block in blocks:
            i, f, g, o = np.split(sums(w, block, h[:, k], below), 4, axis=1)
            i, f = sigmoid(i + p_i * c[:, k]), sigmoid(f + p_f * c[:, k] + forget_bias)
            new_c[:, k] = clip(f * c[:, k] + i * np.tanh(g), cell_clip)
            below = new_h[:, k] = sigmoid(o + p_o * new_c[:, k]) * np.tanh(new_c[:, k])
            k += 1
    return new_h.reshape(len(x), -1), [new_h, new_c]


class _Side:
    """One of the two LSTMs of a block, for time or for frequency."""

    def __init__(self, w, side, shared, coupled):
        self.coupled, position = coupled, 0 if shared else side
        width = w["kernel"].shape[1] // (1 if shared else 2)
        columns = slice(position * width, (position + 1) * width)
        self.w = {name: w[name][..., columns] for name in w if name != "peephole_kernel"}
        peepholes = w["peephole_kernel"]
        self.p, self.q = np.zeros((2, 3, 1)) if peepholes is None else peepholes[position]

    def open(self, x, h, e, c, d, forget_bias):
        """The gates i and f, the candidate, and what is known of o."""
        parts = np.split(sums(self.w, x, h, e), 3 if self.coupled else 4, axis=1)
        i = sigmoid(parts[0] + self.p[0] * c + self.q[0] * d)
        f = 1.0 - i
        if not self.coupled:
            f = sigmoid(parts[1] + self.p[1] * c + self.q[1] * d + forget_bias)
        return i, f, np.tanh(parts[-2]), parts[-1]

    def output(self, o, c, d):
        return sigmoid(o + self.p[-1] * c + self.q[-1] * d)


def grid_lstm(
    weights,
    x,
    h,
    c,
    feature_size=None,
    frequency_skip=1,
    bands=None,
    cell_clip=None,
    forget_bias=1,
    share_time_frequency_weights=False,
    couple_input_forget_gates=False,
    prefix="",
    offset=0,
    turn=1,
):
    new_h, new_c, outputs, k = np.zeros_like(h), np.zeros_like(c), [], 0
    options = share_time_frequency_weights, couple_input_forget_gates
    for number, blocks in enumerate(blocks_of(x, bands, feature_size, frequency_skip, offset)):
        w = of_band(weights, bands, number, prefix)
        time, frequency = _Side(w, 0, *options), _Side(w, 1, *options)
        e = d = np.zeros_like(h[:, 0])
        for block in blocks[::turn]:
            seen = block, h[:, k], e, c[:, k], d, forget_bias
            i, f, g, o = time.open(*seen)
            j, r, m, y = frequency.open(*seen)
            new_c[:, k] = clip(f * c[:, k] + i * g, cell_clip)
            d = clip(r * d + j * m, cell_clip)
            new_h[:, k] = time.output(o, new_c[:, k], d) * np.tanh(new_c[:, k])
            e = frequency.output(y, new_c[:, k], d) * np.tanh(d)
            outputs += [new_h[:, k], e]
            k += 1
    return np.hstack(outputs), [new_h, new_c]


def bidirectional_grid_lstm(weights, x, h, c, backward_slice_offset=0, **options):
    half = h.shape[1] // 2
    up, (h_up, c_up) = grid_lstm(weights, x, h[:, :half], c[:, :half], **options)
    back = {"prefix": "backward_", "offset": backward_slice_offset, "turn": -1}
    down, (h_down, c_down) = grid_lstm(weights, x, h[:, half:], c[:, half:], **options, **back)
    return np.hstack([up, down]), [np.hstack([h_up, h_down]), np.hstack([c_up, c_down])]
