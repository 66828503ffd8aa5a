"""Every cell against a NumPy loop: outputs, states and all gradients, under a mask."""

import functools

import classic_reference as reference
import numpy as np
import pytest
from classic_cells import BATCH, MASK, TIME, as_numpy, features_of, make_layer

import kcells

# The cell, its arguments, and what these change in the equations.
CASES = [
    ("basic_rnn", {}, {}),
    ("basic_rnn", {"activation": "sigmoid"}, {"activation": reference.sigmoid}),
    ("basic_lstm", {}, {}),
    ("basic_lstm", {"forget_bias": -0.5}, {"forget_bias": -0.5}),
    ("basic_lstm", {"activation": "relu"}, {"activation": reference.relu}),
    ("lstmp", {}, {}),
    ("lstmp", {"peepholes": False, "forget_bias": 0.0}, {"forget_bias": 0.0}),
    ("lstmp", {"projection": 2}, {}),
    ("lstmp", {"cell_clip": 0.6}, {"cell_clip": 0.6}),
    (
        "lstmp",
        {"projection": 2, "projection_clip": 0.3, "cell_clip": 0.9},
        {"projection_clip": 0.3, "cell_clip": 0.9},
    ),
    ("cifg_lstm", {}, {}),
    ("cifg_lstm", {"peepholes": False}, {}),
    ("glstm", {}, {}),
    ("glstm", {"groups": 1, "forget_bias": 0.0}, {"groups": 1, "forget_bias": 0.0}),
    ("glstm", {"projection": 2}, {}),
    ("gru_v1", {}, {}),
    ("gru_v3", {}, {}),
    ("ugrnn", {}, {}),
    ("ugrnn", {"forget_bias": 0.0}, {"forget_bias": 0.0}),
    ("intersection_rnn", {}, {}),
    ("intersection_rnn", {"forget_bias": 0.0}, {"forget_bias": 0.0}),
    ("indrnn", {}, {}),
    ("indrnn", {"activation": "tanh"}, {"activation": np.tanh}),
    ("nas", {}, {}),
    ("nas", {"projection": 2, "use_bias": True}, {}),
]


def named(case):
    return " ".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_states_and_gradients(case, rng, compare):
    cell, arguments, changed = case
    layer = make_layer(cell, rng, "float64", **arguments)
    sequences = rng.normal(size=(BATCH, TIME, features_of(cell)))
    compare(layer, sequences, functools.partial(reference.run, cell, changed, MASK), MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("cell", [cell for cell in reference.STEPS if cell != "nas"])
def test_without_biases(cell, rng, compare):
    layer = make_layer(cell, rng, "float64", use_bias=False)
    assert "bias" not in [weight.name for weight in layer.weights]
    sequences = rng.normal(size=(BATCH, TIME, features_of(cell)))
    compare(layer, sequences, functools.partial(reference.run, cell, {}, MASK), MASK)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cell", reference.STEPS)
def test_dropout_of_inputs_and_state(cell, rng):
    """Both change a sequence in training alone, and each does so by itself."""
    sequences = rng.normal(size=(BATCH, TIME, features_of(cell))).astype("float32")
    for argument in ("dropout", "recurrent_dropout"):
        layer = kcells.RNN(
            kcells.cell(
                cell,
                16 if cell != "intersection_rnn" else 3,
                seed=3,
                bias_initializer="ones",
                **{argument: 0.5},
            )
        )
        quiet, noisy = (as_numpy(layer(sequences, training=flag)) for flag in (False, True))
        assert np.abs(quiet - noisy).max() > 1e-3, argument
