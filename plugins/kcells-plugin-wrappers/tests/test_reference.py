"""Every wrapper against NumPy: outputs, states and all gradients, under a mask."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from leaky import LeakyCell, SpreadCell
from wrappers_reference import WRAPPERS, gru, leaky, lstm, run, simple_rnn, spread

import kcells

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 4

SIZES = {"pen": [3, 2], "force": 4}  # in order: force, then pen
SHAPES = {"pen": [(3,), (2,)], "force": (4,)}

LSTM = (lambda **o: keras.layers.LSTMCell(UNITS, **o), lstm, (FEATURES,))
GRU = (lambda **o: keras.layers.GRUCell(UNITS, **o), gru, (FEATURES,))
RNN = (lambda **o: keras.layers.SimpleRNNCell(UNITS, **o), simple_rnn, (FEATURES,))
SAME = (lambda **o: keras.layers.LSTMCell(FEATURES, **o), lstm, (FEATURES,))
NEST = (lambda **o: LeakyCell(SIZES, **o), leaky, SHAPES)
FLAT = (lambda **o: SpreadCell(FEATURES, **o), spread, (FEATURES,))

tanh, sizes = np.tanh, {"pen": [5, 1], "force": 2}
CASES = {
    "residual, projected": ("residual", LSTM, {}, {}),
    "residual, same size": ("residual", SAME, {}, {}),
    "residual, structure": ("residual", NEST, {}, {}),
    "highway": ("highway", LSTM, {}, {}),
    "highway, same size": ("highway", SAME, {"coupled": False}, {"coupled": False}),
    "highway, structure": ("highway", NEST, {"coupled": False}, {"coupled": False}),
    "input_projection": ("input_projection", GRU, {"size": 6}, {}),
    "input_projection, tanh": (
        "input_projection",
        LSTM,
        {"size": 6, "activation": "tanh"},
        {"activation": tanh},
    ),
    "input_projection, structure": (
        "input_projection",
        NEST,
        {"size": {"pen": [3, 2], "force": 4}},
        {},
    ),
    "output_projection": (
        "output_projection",
        LSTM,
        {"size": 2, "activation": "tanh"},
        {"activation": tanh},
    ),
    "output_projection, structure": ("output_projection", NEST, {"size": sizes}, {}),
    "layer_norm": ("layer_norm", LSTM, {}, {}),
    "layer_norm of inputs": (
        "layer_norm",
        GRU,
        {"normalize_inputs": True, "normalize_outputs": False, "epsilon": 1e-3},
        {"inputs": True, "outputs": False, "epsilon": 1e-3},
    ),
    "layer_norm, structure": (
        "layer_norm",
        NEST,
        {"normalize_inputs": True, "epsilon": 0.1},
        {"inputs": True, "epsilon": 0.1},
    ),
    "zoneout": ("zoneout", LSTM, {"rates": [0.1, 0.6]}, {"rates": [0.1, 0.6]}),
    "zoneout, gru": ("zoneout", GRU, {"rates": 0.3}, {"rates": [0.3]}),
    "multiplicative": ("multiplicative", LSTM, {}, {}),
    "multiplicative, simple_rnn": ("multiplicative", RNN, {}, {}),
    "attention_window": ("attention_window", LSTM, {"length": 3}, {}),
    "attention_window, sizes": (
        "attention_window",
        GRU,
        {"length": 7, "attention_size": 5, "score_size": 2, "input_size": 6},
        {},
    ),
    "attention_window, any states": ("attention_window", FLAT, {"length": 2}, {}),
}


def drawn(rng, shapes, *lead):
    return (
        {k: drawn(rng, v, *lead) for k, v in shapes.items()}
        if isinstance(shapes, dict)
        else [drawn(rng, v, *lead) for v in shapes]
        if isinstance(shapes, list)
        else rng.normal(size=(*lead, *shapes))
    )


def made(rng, wrapper, cell, shapes, **options):
    """A layer with random weights, those that start at zero too."""
    layer = kcells.build(
        kcells.cell(wrapper, cell, **options),
        dtype="float64",
        return_sequences=True,
        return_state=True,
    )
    layer(drawn(rng, shapes, BATCH, TIME))
    for weight in layer.weights:
        if "seed" not in weight.name:
            weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def trained(layer):
    """The weights without the seeds of what is random."""
    return [weight for weight in layer.weights if "seed" not in weight.name]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_outputs_states_and_gradients(case, rng, compare):
    wrapper, (cell, step, shapes), options, of_reference = CASES[case]
    layer = made(rng, wrapper, cell(dtype="float64"), shapes, dtype="float64", **options)
    inputs = drawn(rng, shapes, BATCH, TIME)
    count = len(keras.tree.flatten(inputs))
    wrapped = WRAPPERS[wrapper](step, **of_reference)

    def reference(weights, *leaves):
        return run(wrapped, weights, leaves[:count], leaves[count:], MASK)

    compare(layer, inputs, reference, mask=MASK)
