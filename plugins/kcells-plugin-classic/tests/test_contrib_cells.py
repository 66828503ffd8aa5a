"""The block and Indy cells: a NumPy loop, limits, how weights start, what is refused."""

import functools

import contrib_reference as reference
import keras
import numpy as np
import pytest
from classic_cells import (
    BATCH,
    FEATURES,
    MASK,
    TIME,
    UNITS,
    as_numpy,
    assert_near,
    built,
    make_layer,
)

import kcells
from kcells.errors import ConfigurationError, StructureError

CELLS = list(reference.STEPS)

# The cell, its arguments, and what these change in the equations.
CASES = [
    ("lstm_block", {}, {}),
    ("lstm_block", {"peepholes": True, "forget_bias": -0.5}, {"forget_bias": -0.5}),
    ("lstm_block", {"cell_clip": 0.6}, {"cell_clip": 0.6}),
    ("lstm_block", {"peepholes": True, "cell_clip": 0.6}, {"cell_clip": 0.6}),
    ("gru_block", {}, {}),
    ("indy_lstm", {}, {}),
    ("indy_lstm", {"forget_bias": -0.5}, {"forget_bias": -0.5}),
    ("indy_lstm", {"activation": "sigmoid"}, {"activation": reference.sigmoid}),
    ("indy_gru", {}, {}),
    ("indy_gru", {"activation": "sigmoid"}, {"activation": reference.sigmoid}),
    *((cell, {"use_bias": False}, {}) for cell in CELLS),
]


def named(case):
    return " ".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


def inputs(rng, dtype="float32"):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype(dtype)


def weights_of(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


def assign(layer, values):
    for weight in layer.weights:
        weight.assign(values[weight.name])


def reordered(values, order):
    """Weights whose last axis has its blocks in another order."""

    def reorder(value):
        blocks = np.split(value, len(order), axis=-1)
        return np.concatenate([blocks[k] for k in order], axis=-1)

    return {k: v if k == "peephole_kernel" else reorder(v) for k, v in values.items()}


def diagonal(vector, count):
    return np.hstack([np.diag(u) for u in np.split(vector, count)])


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_states_and_gradients(case, rng, compare):
    cell, arguments, changed = case
    layer = make_layer(cell, rng, "float64", **arguments)
    step = functools.partial(reference.STEPS[cell], **changed)
    program = functools.partial(reference.run, step, MASK)
    compare(layer, inputs(rng, "float64"), program, MASK)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_inputs_and_state(cell, argument, rng):
    """Each changes a sequence, in training alone."""
    layer, sequences = kcells.RNN(kcells.cell(cell, 16, seed=3, **{argument: 0.5})), inputs(rng)
    quiet, noisy = (as_numpy(layer(sequences, training=flag)) for flag in (False, True))
    assert np.abs(quiet - noisy).max() > 1e-3


# -- Limits


@pytest.mark.parametrize("arguments", [{}, {"peepholes": True, "cell_clip": 0.7}])
def test_the_lstm_block_is_an_lstmp_with_other_blocks(arguments, rng):
    block = make_layer("lstm_block", rng, **arguments)
    options = {"peepholes": False, "forget_bias": 1.0, **arguments}
    lstmp, sequences = make_layer("lstmp", rng, **options), inputs(rng)
    assign(lstmp, reordered(weights_of(block), [0, 2, 1, 3]))
    assert_near(block(sequences), lstmp(sequences))


def test_the_bound_of_the_lstm_block_bounds_the_cell(rng):
    _, _, c = make_layer("lstm_block", rng, cell_clip=0.2)(inputs(rng))
    assert np.isclose(np.abs(as_numpy(c)).max(), 0.2)


def test_the_gru_block_is_a_gru_v3_with_other_blocks(rng):
    block, gru, sequences = make_layer("gru_block", rng), make_layer("gru_v3", rng), inputs(rng)
    assign(gru, reordered(weights_of(block), [1, 0, 2]))
    assert_near(block(sequences), gru(sequences))


@pytest.mark.parametrize(("cell", "builtin"), [("lstm_block", "LSTM"), ("gru_block", "GRU")])
@pytest.mark.parametrize("arguments", [{}, {"use_bias": False, "activation": "softsign"}])
def test_a_block_is_a_layer_of_keras(cell, builtin, arguments, rng):
    layer, sequences = make_layer(cell, rng, **arguments), inputs(rng)
    plain = kcells.to_builtin(layer)
    assert type(plain) is getattr(keras.layers, builtin)
    assert getattr(plain, "reset_after", False) is False
    count = 2 if builtin == "LSTM" else 1
    states = [rng.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(count)]
    assert_near(plain(sequences, initial_state=states), layer(sequences, initial_state=states))


def test_an_indy_lstm_is_an_lstm_with_diagonals(rng):
    indy, lstm, sequences = make_layer("indy_lstm", rng), make_layer("basic_lstm", rng), inputs(rng)
    values = weights_of(indy)
    values["recurrent_kernel"] = diagonal(values["recurrent_kernel"], 4)
    assign(lstm, values)
    assert_near(indy(sequences), lstm(sequences))


@pytest.mark.parametrize("gru", ["gru_v1", "gru_v3"])
def test_an_indy_gru_is_either_gru_with_diagonals(gru, rng):
    indy, gru, sequences = make_layer("indy_gru", rng), make_layer(gru, rng), inputs(rng)
    values = weights_of(indy)
    values["recurrent_kernel"] = diagonal(values["recurrent_kernel"], 3)
    if gru.cell.bias.shape[0] == 2:
        values["bias"] = np.stack([values["bias"], 0 * values["bias"]])
    assign(gru, values)
    assert_near(indy(sequences), gru(sequences))


# -- How weights start


@pytest.mark.parametrize("cell", ["gru_block", "indy_gru"])
def test_gates_of_these_grus_start_at_one(cell):
    bias = as_numpy(built(cell).bias)
    np.testing.assert_array_equal(bias, np.repeat([1.0, 1.0, 0.0], UNITS))
    assert not np.any(as_numpy(built(cell, bias_initializer="zeros").bias))


@pytest.mark.parametrize("cell", ["lstm_block", "indy_lstm"])
def test_biases_of_these_lstms_start_at_zero(cell):
    assert not np.any(as_numpy(built(cell).bias))


@pytest.mark.parametrize("cell", ["indy_lstm", "indy_gru"])
def test_vectors_start_between_minus_one_and_one(cell):
    made = kcells.cell(cell, 500)
    made.build((None, 2))
    u = as_numpy(made.recurrent_kernel)
    assert -1.0 <= u.min() < -0.95
    assert 0.95 < u.max() <= 1.0
    assert abs(u.mean()) < 0.08


# -- Arguments


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [0, 2.5, "8", True])
def test_units_must_be_a_positive_int(cell, units):
    with pytest.raises(ConfigurationError, match="Cell: units must be a positive int; received"):
        kcells.cell(cell, units)


@pytest.mark.parametrize("bound", [0.0, -1, "wide", True, float("nan")])
def test_a_bound_must_be_positive(bound):
    with pytest.raises(ConfigurationError, match="LSTMBlockCell: cell_clip must be a positive fl"):
        kcells.cell("lstm_block", UNITS, cell_clip=bound)


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_must_be_one_tensor(cell):
    with pytest.raises(StructureError, match=r"Cell: .* one tensor of \(batch, features\)"):
        kcells.RNN(kcells.cell(cell, UNITS))({"a": np.ones((2, 4, 3), "float32")})


# -- Which kernel runs


def test_an_lstm_block_has_a_kernel():
    reasons = kcells.explain(kcells.build("lstm_block", UNITS, dispatch="require")).reasons
    assert any("kernel" in reason.condition for reason in reasons)


@pytest.mark.parametrize(
    ("cell", "arguments", "condition"),
    [
        ("lstm_block", {"peepholes": True}, "there are no peepholes"),
        ("lstm_block", {"cell_clip": 1.0}, "the cell has no bound"),
        ("lstm_block", {"recurrent_dropout": 0.1}, "dropout leaves the state alone"),
        ("gru_block", {}, "the reset gate acts after the product"),
        ("gru_block", {"recurrent_dropout": 0.1}, "dropout leaves the state alone"),
    ],
)
def test_what_stands_in_the_way_of_a_kernel(cell, arguments, condition):
    reasons = kcells.explain(kcells.build(cell, UNITS, **arguments)).reasons
    failed = [reason.condition for reason in reasons if not reason.holds]
    assert any(text.startswith(condition) for text in failed), failed
