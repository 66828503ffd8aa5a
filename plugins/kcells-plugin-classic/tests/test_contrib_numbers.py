"""Numbers that the classes of `tf.contrib.rnn` in TensorFlow 1.15.5 gave for random weights.

They are in `contrib_numbers.npz`, under the names of the variables there. How these become
weights here is below; it is what somebody needs who has a model of that time.
"""

from pathlib import Path

import numpy as np
import pytest
from classic_cells import assert_near

import kcells

UNITS, SIZE = 2, 3
BLOCKS = {"feature_size": SIZE, "frequency_skip": 2}
BANDS = {**BLOCKS, "bands": [(0, 5), (2, 7)], "peepholes": True}
LESS = {"share_time_frequency_weights": True, "couple_input_forget_gates": True}


def reordered(matrix, order):
    blocks = np.split(matrix, len(order), axis=-1)
    return np.concatenate([blocks[k] for k in order], axis=-1)


def of_lstm(matrix):
    """Their blocks are i, g, f, o; with coupled gates, i, g, o."""
    return reordered(matrix, [0, 2, 1, 3]) if matrix.shape[-1] % (4 * UNITS) == 0 else matrix


def three_kernels(matrix):
    """Features above the state of the block, above the output of the block before it."""
    return np.split(of_lstm(matrix), [SIZE, SIZE + UNITS])


def indy_lstm(w):
    return [of_lstm(w["kernel_w"]), of_lstm(w["kernel_u"])[0], of_lstm(w["bias"])]


def indy_gru(w):
    """The gates, r and z, are apart from the candidate."""
    gates = [reordered(w[f"gates/{name}"], [1, 0]) for name in ("kernel_w", "kernel_u", "bias")]
    candidate = [w[f"candidate/{name}"] for name in ("kernel", "kernel_u", "bias")]
    kernel, u, bias = map(np.hstack, zip(gates, candidate, strict=True))
    return [kernel, u[0], bias]


def time_freq_lstm(w):
    peepholes = np.stack([w[f"W_{gate}_diag"] for gate in "IFO"])
    return [*three_kernels(w["W_0"]), of_lstm(w["B"]), peepholes]


def grid_lstm(w, prefix=""):
    """Their `t` is time, their `f` frequency; the second such letter is the cell that is seen."""
    weights, band = [], 0
    while f"{prefix}B_f_{band}" in w:
        sides = [side for side in ("t", "f") if f"{prefix}B_{side}_{band}" in w]
        kernels = [three_kernels(w[f"{prefix}W_{side}_{band}_0"]) for side in sides]
        weights += map(np.hstack, zip(*kernels, strict=True))
        weights.append(np.hstack([of_lstm(w[f"{prefix}B_{side}_{band}"]) for side in sides]))
        if f"{prefix}W_I_diag_freqf_{band}" in w:
            weights.append(peepholes_of_grid(w, sides, prefix, band))
        band += 1
    return weights


def peepholes_of_grid(w, sides, prefix, band):
    def vectors(side, cell):
        names = [f"{prefix}W_{gate}_diag_{side}{cell}_{band}" for gate in "IFO"]
        return [w[name] for name in names if name in w]

    words = {"t": "time", "f": "freq"}
    return np.array([[vectors(words[side], cell) for cell in "tf"] for side in sides])


def bidirectional_grid_lstm(w):
    return grid_lstm(w, "fwd/") + grid_lstm(w, "bwd/")


CASES = {
    "indy_lstm": (indy_lstm, {}),
    "indy_gru": (indy_gru, {}),
    "time_freq_lstm": (time_freq_lstm, {**BLOCKS, "cell_clip": 0.8}),
    "grid_lstm": (grid_lstm, {**BLOCKS, "cell_clip": 0.8}),
    "grid_lstm with peepholes": (grid_lstm, BANDS),
    "grid_lstm with less weights": (grid_lstm, {**BLOCKS, **LESS, "peepholes": True}),
    "bidirectional_grid_lstm": (bidirectional_grid_lstm, {**BANDS, "backward_slice_offset": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_of_contrib(case):
    recorded = np.load(Path(__file__).parent / "contrib_numbers.npz")
    start = f"{case}/"
    known = {name[len(start) :]: recorded[name] for name in recorded if name.startswith(start)}
    weights = {k.removeprefix("weights/"): v for k, v in known.items() if k.startswith("weights/")}
    convert, arguments = CASES[case]
    cell = kcells.cell(case.partition(" ")[0], UNITS, **arguments)
    layer = kcells.RNN(cell, return_sequences=True, return_state=True)
    layer.build(recorded["inputs"].shape)
    layer.set_weights(convert(weights))
    states = [known[name] for name in "hc" if name in known]
    expected = [known[name] for name in ("outputs", "new_h", "new_c") if name in known]
    assert_near(layer(recorded["inputs"], initial_state=states), expected)
