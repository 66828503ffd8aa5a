"""The multiplicative LSTM against its NumPy reference: outputs, states and gradients."""

import itertools

import keras
import numpy as np
import pytest
from mlstm_reference import run

import kcells
from kcells_plugin_mlstm import MultiplicativeLSTMCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [
    {"output_gate": gate, "weight_normalization": normalized}
    for gate, normalized in itertools.product(["outside", "inside"], [False, True])
]


def make_layer(rng, dtype="float32", features=FEATURES, units=UNITS, rnn=None, **options):
    """A layer with random weights, the gains and the bias too."""
    rnn = {"return_sequences": True, "return_state": True} | (rnn or {})
    cell = MultiplicativeLSTMCell(units, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, **rnn)
    layer.build((BATCH, TIME, features))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def make_inputs(rng, dtype="float64"):
    shapes = [(BATCH, TIME, FEATURES), (BATCH, UNITS), (BATCH, UNITS)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


# What a central difference over 2e-6 of a loss near 10 is off by.
ERROR_OF_DIFFERENCES = 4e-9


def assert_close(actual, expected, tolerance, absolute=0.0):
    """Relative to the largest entry: the small ones are differences of large ones."""
    actual = as_numpy(actual)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max()
    assert error <= tolerance * np.abs(expected).max() + absolute


def weight_values(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


@pytest.fixture
def check(rng, gradients, finite_differences):
    """A function that compares a layer with the reference: results and all gradients."""

    def check(layer, mask, dtype, tolerance):
        factors = [rng.normal(size=(BATCH, TIME, UNITS)), *rng.normal(size=(2, BATCH, UNITS))]
        inputs = make_inputs(rng, dtype)
        given = [array.astype("float64") for array in inputs]
        weights = weight_values(layer)

        def reference():
            return run(weights, *given, mask, layer.go_backwards, layer.cell.output_gate)

        def call(tensors):
            return layer(tensors[0], initial_state=tensors[1:], mask=mask)

        results = compiled(call)([keras.ops.convert_to_tensor(array) for array in inputs])
        for result, expected in zip(results, reference(), strict=True):
            assert_close(result, expected, tolerance)

        def reference_loss():
            return sum(np.sum(r * f) for r, f in zip(reference(), factors, strict=True))

        def loss(tensors):
            tensor_factors = [keras.ops.convert_to_tensor(f.astype(dtype)) for f in factors]
            pairs = zip(call(tensors), tensor_factors, strict=True)
            return sum(keras.ops.sum(result * factor) for result, factor in pairs)

        of_weights, of_inputs = gradients(compiled(loss), layer.trainable_weights, inputs)
        arrays = [*weights.values(), *given]
        for gradient, array in zip([*of_weights, *of_inputs], arrays, strict=True):
            expected = finite_differences(reference_loss, array)
            assert_close(gradient, expected, tolerance, ERROR_OF_DIFFERENCES)

    return check


def compiled(function):
    """On JAX, `function` compiled as a whole: op by op takes several times as long."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_outputs_states_and_gradients(options, mask, go_backwards, rng, check):
    layer = make_layer(rng, "float64", rnn={"go_backwards": go_backwards}, **options)
    check(layer, mask, "float64", 1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_without_a_bias(options, rng, check):
    layer = make_layer(rng, "float64", use_bias=False, **options)
    assert "bias" not in weight_values(layer)
    check(layer, MASK, "float64", 1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_in_single_precision(options, rng, check):
    check(make_layer(rng, **options), MASK, "float32", 1e-5)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_last_output_and_default_initial_state(mask, rng):
    layer = make_layer(rng, rnn={"return_sequences": False})
    sequences = make_inputs(rng, "float32")[0]
    zeros = np.zeros((BATCH, UNITS))
    outputs, h, c = run(weight_values(layer), sequences.astype("float64"), zeros, zeros, mask)
    expected = [outputs[:, -1], h, c]
    for actual, wanted in zip(layer(sequences, mask=mask), expected, strict=True):
        assert_close(actual, wanted, 1e-5)


def test_is_an_lstm_where_m_is_h(rng):
    """With W_mx x = 1 and W_mh = 1, `m` is `h`: Keras' LSTM, and its order of the blocks."""
    sequences = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    sequences[..., -1] = 1.0
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    lstm.build(sequences.shape)
    kernel, recurrent_kernel, bias = (rng.normal(size=w.shape) for w in lstm.weights)
    lstm.set_weights([kernel, recurrent_kernel, bias])
    layer = make_layer(rng, rnn={"return_state": False})
    ones_of_last_feature = np.zeros((FEATURES, UNITS))
    ones_of_last_feature[-1] = 1.0
    layer.set_weights(
        [np.hstack([kernel, ones_of_last_feature]), recurrent_kernel, np.eye(UNITS), bias]
    )
    assert_close(layer(sequences), as_numpy(lstm(sequences)), 1e-5)


def test_weight_normalization_starts_as_the_same_function(rng):
    sequences = make_inputs(rng, "float32")[0]
    plain = kcells.RNN(MultiplicativeLSTMCell(UNITS))
    expected = as_numpy(plain(sequences))
    normalized = kcells.RNN(MultiplicativeLSTMCell(UNITS, weight_normalization=True))
    normalized.build(sequences.shape)
    for name in ("kernel", "recurrent_kernel", "multiplicative_kernel"):
        kernel, gain = (getattr(normalized.cell, n) for n in (name, f"{name}_gain"))
        np.testing.assert_allclose(
            as_numpy(gain), np.linalg.norm(as_numpy(kernel), axis=0), rtol=1e-5
        )
        # The two cells drew different numbers.
        kernel.assign(getattr(plain.cell, name))
        gain.assign(np.linalg.norm(as_numpy(kernel), axis=0))
    assert_close(normalized(sequences), expected, 1e-5)


def test_weight_normalization_ignores_the_length_of_v(rng):
    layer = make_layer(rng, rnn={"return_state": False}, weight_normalization=True)
    sequences = make_inputs(rng, "float32")[0]
    before = as_numpy(layer(sequences))
    for name in ("kernel", "recurrent_kernel", "multiplicative_kernel"):
        weight = getattr(layer.cell, name)
        weight.assign(as_numpy(weight) * rng.uniform(0.5, 3.0, size=weight.shape[-1:]))
    assert_close(layer(sequences), before, 1e-5)
    layer.cell.kernel_gain.assign(2 * layer.cell.kernel_gain)
    assert np.abs(as_numpy(layer(sequences)) - before).max() > 1e-2


def test_a_zero_column_stays_finite(rng):
    cell = MultiplicativeLSTMCell(UNITS, kernel_initializer="zeros", weight_normalization=True)
    outputs = kcells.RNN(cell)(make_inputs(rng, "float32")[0])
    assert np.isfinite(as_numpy(outputs)).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_step_law(options, training, rng):
    """call(x, s) == step(project_inputs(x), s), for one step and for all at once."""
    layer = make_layer(rng, dropout=0.4, recurrent_dropout=0.4, seed=3, **options)
    cell = layer.cell
    sequences, *states = map(keras.ops.convert_to_tensor, make_inputs(rng, "float32"))
    steps = keras.ops.swapaxes(sequences, 0, 1)
    cell.input_dropout.draw(BATCH)
    cell.state_dropout.draw(BATCH)
    at_once = cell.project_inputs(steps, training=training)
    for t, x in enumerate(keras.ops.unstack(steps)):
        expected_output, expected_states = cell(x, states, training=training)
        alone = cell.project_inputs(x, training=training)
        for projected in (alone, keras.tree.map_structure(lambda leaf, t=t: leaf[t], at_once)):
            output, new_states = cell.step(projected, states, training=training)
            pairs = zip([output, *new_states], [expected_output, *expected_states], strict=True)
            for actual, expected in pairs:
                assert_close(actual, as_numpy(expected), 1e-5)
        states = expected_states
    cell.input_dropout.forget()
    cell.state_dropout.forget()


# -- Dropout. With linear activations, open gates and an empty memory, `h` is `u`.


def transparent_cell(size, **options):
    """A cell with `h_t = x_t + h_{t-1}`, each term as dropout leaves it."""
    cell = MultiplicativeLSTMCell(
        size, activation="linear", recurrent_activation="linear", output_gate="inside", **options
    )
    layer = kcells.RNN(cell, return_sequences=True)
    layer.build((None, None, 2 * size))
    kernel, nothing, identity = np.zeros((2 * size, 5 * size)), np.zeros((size, size)), np.eye(size)
    kernel[:size, 2 * size : 3 * size] = identity
    # The other half of the inputs is all one number, one entry for each factor of m.
    kernel[size:, 4 * size :] = identity
    recurrent_kernel = np.hstack([nothing, nothing, identity, nothing])
    bias = np.repeat([1.0, 0.0, 0.0, 1.0], size)
    layer.set_weights([kernel, recurrent_kernel, identity, bias])
    return layer


def run_transparent(size=24, batch=40, time=4, inputs=1.0, factor=0.0, start=0.0, **options):
    layer = transparent_cell(size, **options)
    sequences = np.full((batch, time, 2 * size), inputs, "float32")
    sequences[..., size:] = factor
    states = [np.full((batch, size), start, "float32"), np.zeros((batch, size), "float32")]
    return as_numpy(layer(sequences, initial_state=states, training=True))


def test_dropout_of_the_inputs():
    outputs = run_transparent(dropout=0.25)
    kept = outputs != 0.0
    np.testing.assert_allclose(outputs[kept], 1 / 0.75, rtol=1e-6)
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    # 960 draws: the standard error of the mean is 0.019.
    assert abs(outputs[:, 0].mean() - 1.0) < 0.09


def test_dropout_of_the_state():
    outputs = run_transparent(inputs=0.0, factor=1.0, start=1.0, recurrent_dropout=0.25)
    kept = outputs != 0.0
    powers = np.broadcast_to((1 / 0.75) ** np.arange(1, 5)[:, None], outputs.shape)
    np.testing.assert_allclose(outputs[kept], powers[kept], rtol=1e-5)
    # Another mask at some step would leave fewer entries from then on.
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    assert abs(outputs[:, 0].mean() - 1.0) < 0.09


def test_dropout_is_off_at_inference(rng):
    layer = make_layer(rng, dropout=0.5, recurrent_dropout=0.5)
    inputs = make_inputs(rng, "float32")
    without = make_layer(rng)
    without.set_weights(layer.get_weights())
    results = layer(inputs[0], initial_state=inputs[1:])
    again = layer(inputs[0], initial_state=inputs[1:], training=False)
    expected = without(inputs[0], initial_state=inputs[1:])
    for first, second, wanted in zip(results, again, expected, strict=True):
        np.testing.assert_array_equal(as_numpy(first), as_numpy(second))
        np.testing.assert_array_equal(as_numpy(first), as_numpy(wanted))


def test_seed():
    first, same, other = (run_transparent(dropout=0.5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_inputs_and_state_are_dropped_apart():
    layer = transparent_cell(8, dropout=0.5, recurrent_dropout=0.5, seed=1)
    ones = keras.ops.ones((6, 8))
    of_inputs = layer.cell.input_dropout.drop(ones, training=True)
    of_state = layer.cell.state_dropout.drop(ones, training=True)
    assert not np.array_equal(as_numpy(of_inputs), as_numpy(of_state))
