"""The minGRU against its NumPy reference, and each of its arguments."""

import doctest
import inspect
import json

import keras
import min_gru_reference
import numpy as np
import pytest
from comparison import (
    MASK,
    as_numpy,
    assert_close,
    check_layer,
    check_reference,
    weight_values,
)
from laws import check_documented, check_linear_law, check_loads_in_a_fresh_process
from min_gru_reference import forward

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import MinGRUCell, min_gru

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3
OPTIONS = [{}, {"activation": "positive"}, {"use_bias": False}]

EVERY_ARGUMENT = {
    "units": UNITS,
    "activation": "softsign",
    "use_bias": True,
    "kernel_initializer": keras.initializers.RandomUniform(-0.1, 0.1, seed=1),
    "bias_initializer": keras.initializers.Constant(0.5),
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "bias_regularizer": keras.regularizers.L2(0.3),
    "kernel_constraint": keras.constraints.MaxNorm(1.0),
    "bias_constraint": keras.constraints.NonNeg(),
    "dropout": 0.1,
    "seed": 7,
}


def make_layer(rng, dtype="float32", rnn=None, **options):
    """A layer with random weights."""
    rnn = {"return_sequences": True, "return_state": True} | (rnn or {})
    layer = kcells.RNN(MinGRUCell(UNITS, dtype=dtype, **options), dtype=dtype, **rnn)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def make_inputs(rng, dtype="float64"):
    shapes = [(BATCH, TIME, FEATURES), (BATCH, UNITS)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def built(**arguments):
    cell = MinGRUCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_outputs_states_and_gradients(options, mask, go_backwards, rng, gradients):
    layer = make_layer(rng, "float64", rnn={"go_backwards": go_backwards}, **options)
    positive = options.get("activation") == "positive"
    inputs = make_inputs(rng)
    check_layer(layer, min_gru_reference, inputs, mask, 1e-10, gradients, rng, positive=positive)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_in_single_precision(options, rng, gradients):
    layer = make_layer(rng, **options)
    positive = options.get("activation") == "positive"
    inputs = make_inputs(rng, "float32")
    check_layer(layer, min_gru_reference, inputs, MASK, 1e-5, gradients, rng, positive=positive)


@pytest.mark.parametrize("positive", [False, True])
def test_the_gradients_of_the_reference(positive, rng, finite_differences):
    weights = {"kernel": rng.normal(size=(FEATURES, 2 * UNITS)), "bias": rng.normal(size=6)}
    inputs = make_inputs(rng)
    check_reference(
        min_gru_reference, weights, inputs, MASK, finite_differences, rng, positive=positive
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_last_output_and_default_initial_state(mask, rng):
    layer = make_layer(rng, rnn={"return_sequences": False})
    sequences = make_inputs(rng, "float32")[0]
    zeros = np.zeros((BATCH, UNITS))
    outputs, h, _ = forward(weight_values(layer), sequences.astype("float64"), zeros, mask)
    for actual, wanted in zip(layer(sequences, mask=mask), [outputs[:, -1], h], strict=True):
        assert_close(actual, wanted, 1e-5)


@pytest.mark.parametrize("length", [1, 2, 37])
def test_other_lengths(length, rng):
    layer = make_layer(rng)
    sequences = rng.normal(size=(2, length, FEATURES))
    state = rng.normal(size=(2, UNITS))
    expected = forward(weight_values(layer), sequences, state)[:2]
    actual = layer(sequences.astype("float32"), initial_state=state.astype("float32"))
    for result, wanted in zip(actual, expected, strict=True):
        assert_close(result, wanted, 1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_linear_law(options, training, rng):
    cell = make_layer(rng, dropout=0.4, seed=3, **options).cell
    check_linear_law(cell, *make_inputs(rng, "float32"), training=training)


def test_the_candidate_of_the_log_space_variant():
    """Below the paper's g: 1/2 at zero from both sides, slope 1 above, sigmoid below."""
    cell = MinGRUCell(5, activation="positive", use_bias=False)
    cell.build((None, 5))
    # z is one to the last digit; the candidate is g of the inputs.
    cell.kernel.assign(np.hstack([np.zeros((5, 5)), np.eye(5)]))
    values = np.array([[-30.0, -1.0, 0.0, 1.0, 30.0]], "float32")
    (output, _) = cell(values, [np.zeros((1, 5), "float32")])
    expected = [[9.357623e-14, 0.26894142, 0.5, 1.5, 30.5]]
    np.testing.assert_allclose(2.0 * as_numpy(output), expected, rtol=1e-6)


def test_an_open_gate_forgets_to_the_last_digit(rng):
    """1 - z would be 0 in float32; sigmoid(-a) is what it should be."""
    layer = make_layer(rng, use_bias=False)
    layer.cell.kernel.assign(np.hstack([np.full((2, 3), 10.0), np.zeros((2, 3))]))
    ones = np.ones((BATCH, 1, FEATURES), "float32")
    _, state = layer(ones, initial_state=np.ones((BATCH, UNITS), "float32"))
    np.testing.assert_allclose(as_numpy(state), np.exp(-20.0), rtol=1e-5)


# -- Dropout. With z = 1/2 and an identity for the candidate, h_1 is half of what is left.


def run_transparent(size=24, batch=40, time=3, **options):
    layer = kcells.RNN(MinGRUCell(size, use_bias=False, **options), return_sequences=True)
    layer.build((None, None, size))
    layer.cell.kernel.assign(np.hstack([np.zeros((size, size)), np.eye(size)]))
    return as_numpy(layer(np.ones((batch, time, size), "float32"), training=True))


def test_dropout():
    outputs = run_transparent(dropout=0.25)
    kept = outputs != 0.0
    expected = np.broadcast_to((1 - 0.5 ** np.arange(1, 4))[:, None] / 0.75, outputs.shape)
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-6)
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    # 960 draws: the standard error of the mean is 0.014.
    assert abs(kept[:, 0].mean() - 0.75) < 0.07


def test_seed():
    first, same, other = (run_transparent(dropout=0.5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_dropout_is_off_at_inference(rng):
    layer, without = make_layer(rng, dropout=0.5), make_layer(rng)
    without.set_weights(layer.get_weights())
    sequences, state = make_inputs(rng, "float32")
    for actual, wanted in zip(
        layer(sequences, initial_state=state), without(sequences, initial_state=state), strict=True
    ):
        np.testing.assert_array_equal(as_numpy(actual), as_numpy(wanted))


# -- Arguments


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_initializers(part):
    cell = built(**{f"{part}_initializer": keras.initializers.Constant(0.25)})
    for name, value in weight_values(cell).items():
        assert (value == 0.25).all() == (name == part)


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_regularizers(part):
    cell = built(**{f"{part}_regularizer": keras.regularizers.L2(0.5)})
    for weight in cell.weights:
        weight.assign(keras.ops.ones(weight.shape))
    expected = 0.5 * weight_values(cell)[part].size
    np.testing.assert_allclose(as_numpy(sum(cell.losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_constraints(part):
    cell = built(**{f"{part}_constraint": keras.constraints.NonNeg()})
    for weight in cell.weights:
        weight.assign(-keras.ops.ones(weight.shape))
    zeros = [keras.ops.zeros(weight.shape) for weight in cell.weights]
    keras.optimizers.SGD(1.0).apply(zeros, cell.weights)
    for name, value in weight_values(cell).items():
        assert (value == 0.0).all() == (name == part)


def test_every_argument_is_in_the_configuration():
    parameters = set(inspect.signature(MinGRUCell.__init__).parameters)
    assert parameters - {"self", "kwargs"} == set(EVERY_ARGUMENT)
    config = MinGRUCell(name="cell", **EVERY_ARGUMENT).get_config()
    defaults = MinGRUCell(UNITS).get_config()
    same = {name for name in EVERY_ARGUMENT if config[name] == defaults[name]}
    assert same == {"units", "use_bias"}
    restored = MinGRUCell.from_config(json.loads(json.dumps(config)))
    assert restored.get_config() == config
    assert restored.name == "cell"
    assert MinGRUCell(UNITS, use_bias=False).get_config()["use_bias"] is False


@pytest.mark.parametrize("activation", ["linear", "positive", "tanh"])
def test_activations_survive(activation, rng):
    cell = built(activation=activation)
    assert cell.get_config()["activation"] == activation
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    restored.set_weights(cell.get_weights())
    sequences, state = make_inputs(rng, "float32")
    first, second = (one(sequences[:, 0], [state])[0] for one in (cell, restored))
    np.testing.assert_array_equal(as_numpy(first), as_numpy(second))


def test_restored_cells_start_alike():
    cell = MinGRUCell(**EVERY_ARGUMENT)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert type(restored) is MinGRUCell
    for one in (cell, restored):
        one.build((None, FEATURES))
    for first, second in zip(cell.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="MinGRUCell: units must be a positive int; rec"):
        MinGRUCell(units)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_the_rate_must_be_in_range(rate):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        MinGRUCell(UNITS, dropout=rate)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="negative"):
        MinGRUCell(UNITS, activation="negative")


@pytest.mark.parametrize(
    "inputs", [{"a": np.ones((2, 4, 3), "float32")}, np.ones((2, 4, 3, 3), "float32")]
)
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"MinGRUCell: .* one tensor of \(batch, features\)"):
        kcells.RNN(MinGRUCell(UNITS))(inputs)


# -- In layers, models and files


def test_by_name(rng):
    layer = kcells.build("min_gru", UNITS, return_sequences=True)
    assert type(layer.cell) is MinGRUCell
    assert layer.cell.is_linear
    assert kcells.describe("min_gru").qualified_id == "kcells-plugin-linear:min_gru"
    sequences = make_inputs(rng)[0]
    outputs = layer(sequences.astype("float32"))
    wanted = forward(weight_values(layer), sequences, np.zeros((BATCH, UNITS)))[0]
    assert_close(outputs, wanted, 1e-5)


def test_in_both_directions(rng):
    layer = kcells.Bidirectional(kcells.RNN(MinGRUCell(UNITS)))
    sequences, zeros = make_inputs(rng)[0], np.zeros((BATCH, UNITS))
    outputs = layer(sequences.astype("float32"), mask=MASK)
    both = [
        forward(weight_values(one), sequences, zeros, MASK, one.go_backwards)[0][:, -1]
        for one in (layer.forward_layer, layer.backward_layer)
    ]
    assert_close(outputs, np.concatenate(both, axis=-1), 1e-5)


@pytest.mark.parametrize("make", [kcells.RNN, keras.layers.RNN])
def test_in_a_stack(make, rng):
    cells = [MinGRUCell(UNITS), MinGRUCell(4, activation="positive")]
    sequences = make_inputs(rng)[0]
    outputs = make(cells, return_sequences=True)(sequences.astype("float32"))
    lower = forward(weight_values(cells[0]), sequences, np.zeros((BATCH, UNITS)))[0]
    wanted = forward(weight_values(cells[1]), lower, np.zeros((BATCH, 4)), positive=True)[0]
    assert_close(outputs, wanted, 1e-5)


def test_training_lowers_the_loss(rng):
    x = rng.normal(size=(64, TIME, FEATURES)).astype("float32")
    y = (x[..., :1].sum(axis=1) > 0).astype("float32")
    cell = MinGRUCell(8, dropout=0.05, seed=1)
    layers = [kcells.RNN(cell), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((None, FEATURES)), *layers])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    first = model.evaluate(x, y, batch_size=64, verbose=0)
    model.fit(x, y, batch_size=32, epochs=10, verbose=0)
    assert model.evaluate(x, y, batch_size=64, verbose=0) < 0.6 * first


def test_save_and_load(rng, tmp_path):
    cell = MinGRUCell(UNITS, activation="positive", dropout=0.2, kernel_regularizer="l2")
    layer = kcells.RNN(cell, return_sequences=True)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1].cell) is MinGRUCell
    sequences = make_inputs(rng, "float32")[0]
    np.testing.assert_array_equal(
        model.predict(sequences, verbose=0), loaded.predict(sequences, verbose=0)
    )


def test_a_fresh_process_loads_a_saved_model(rng, tmp_path):
    cells = [MinGRUCell(UNITS, activation="positive"), MinGRUCell(UNITS)]
    check_loads_in_a_fresh_process(cells, make_inputs(rng, "float32")[0], tmp_path)


@pytest.mark.parametrize(
    ("policy", "variables", "results"),
    [("float64", "float64", "float64"), ("mixed_bfloat16", "float32", "bfloat16")],
)
@pytest.mark.parametrize("activation", ["linear", "positive"])
def test_dtype_policies(policy, variables, results, activation, rng):
    layer = make_layer(rng, policy, activation=activation, dropout=0.1)
    sequences = make_inputs(rng, variables)[0]
    for training in (False, True):
        for result in layer(sequences, training=training):
            assert keras.backend.standardize_dtype(result.dtype) == results
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {variables}


def test_half_precision_is_near(rng):
    layer = make_layer(rng, "mixed_bfloat16")
    sequences, state = make_inputs(rng)
    outputs, _ = layer(sequences.astype("float32"), initial_state=state.astype("float32"))
    wanted = forward(weight_values(layer), sequences, state)[0]
    # bfloat16 has 8 bits: 2**-8 is 0.004, a few times in five steps.
    assert_close(keras.ops.cast(outputs, "float32"), wanted, 0.03)


def test_docstring():
    failures, examples = doctest.testmod(min_gru)
    assert examples > 0
    assert failures == 0


def test_readme():
    check_documented()
