"""The layer-normalized GRU against its NumPy reference: outputs, states and gradients."""

import itertools

import keras
import numpy as np
import pytest
from ln_gru_reference import run

import kcells
from kcells_plugin_layernorm import LayerNormGRUCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [
    {"reset_after": after, "normalize": normalize}
    for after, normalize in itertools.product([True, False], repeat=2)
]


def make_layer(rng, dtype="float32", rnn=None, **options):
    """A layer with random weights, gains and shifts too."""
    rnn = {"return_sequences": True, "return_state": True} | (rnn or {})
    cell = LayerNormGRUCell(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, **rnn)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def make_inputs(rng, dtype="float64"):
    shapes = [(BATCH, TIME, FEATURES), (BATCH, UNITS)]
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
        factors = [rng.normal(size=(BATCH, TIME, UNITS)), rng.normal(size=(BATCH, UNITS))]
        inputs = make_inputs(rng, dtype)
        given = [array.astype("float64") for array in inputs]
        weights = weight_values(layer)
        cell = layer.cell

        def reference():
            return run(weights, *given, mask, layer.go_backwards, cell.reset_after, cell.epsilon)

        def call(tensors):
            return layer(tensors[0], initial_state=tensors[1], mask=mask)

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
    assert ("gamma" in weight_values(layer)) == options["normalize"]
    check(layer, mask, "float64", 1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("reset_after", [True, False])
def test_without_shifts_and_with_another_epsilon(reset_after, rng, check):
    layer = make_layer(rng, "float64", use_bias=False, reset_after=reset_after, epsilon=0.3)
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
    outputs, h = run(weight_values(layer), sequences.astype("float64"), zeros, mask)
    for actual, wanted in zip(layer(sequences, mask=mask), [outputs[:, -1], h], strict=True):
        assert_close(actual, wanted, 1e-5)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_without_norms_it_is_the_gru_of_keras(reset_after, use_bias, rng):
    options = {"reset_after": reset_after, "use_bias": use_bias}
    layer = make_layer(rng, normalize=False, **options)
    theirs = kcells.RNN(
        keras.layers.GRUCell(UNITS, **options), return_sequences=True, return_state=True
    )
    theirs.build((BATCH, TIME, FEATURES))
    assert [w.name for w in layer.weights] == [w.name for w in theirs.weights]
    theirs.set_weights(layer.get_weights())
    sequences, state = make_inputs(rng, "float32")
    for mask in (None, MASK):
        expected = theirs(sequences, initial_state=state, mask=mask)
        for ours, wanted in zip(
            layer(sequences, initial_state=state, mask=mask), expected, strict=True
        ):
            assert_close(ours, as_numpy(wanted), 1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("reset_after", [True, False])
def test_scale_and_offset_of_the_matrices_do_not_count(reset_after, rng):
    """Section 5.1 of the paper: LN takes out both, for each block that it goes over."""
    layer = make_layer(rng, "float64", reset_after=reset_after, epsilon=1e-14)
    sequences, state = make_inputs(rng)
    before = as_numpy(layer(sequences, initial_state=state)[0])
    for name in ("kernel", "recurrent_kernel"):
        weight = getattr(layer.cell, name)
        offset = rng.normal(size=(weight.shape[0], 1))
        scale = np.repeat([5.0, 0.2], [2 * UNITS, UNITS])
        weight.assign(as_numpy(weight) * scale + offset)
    assert_close(layer(sequences, initial_state=state)[0], before, 1e-9)
    # Between z and r a scale does count: one norm goes over both.
    layer.cell.kernel.assign(as_numpy(layer.cell.kernel) * np.repeat([5.0, 1.0, 1.0], UNITS))
    assert np.abs(as_numpy(layer(sequences, initial_state=state)[0]) - before).max() > 1e-2


def test_float16_does_not_overflow(rng):
    """Products of some 400, whose squares float16 cannot hold."""
    layer = make_layer(rng, rnn={"return_state": False})
    half = make_layer(rng, "mixed_float16", rnn={"return_state": False})
    layer.cell.kernel.assign(300.0 * as_numpy(layer.cell.kernel))
    half.set_weights(layer.get_weights())
    sequences = make_inputs(rng, "float32")[0]
    expected = as_numpy(layer(sequences))
    # float16 has 11 bits; five steps through norms of three entries amplify its errors.
    assert_close(half(sequences), expected, 0.03)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_step_law(options, training, rng):
    """call(x, s) == step(project_inputs(x), s), for one step and for all at once."""
    layer = make_layer(rng, dropout=0.4, recurrent_dropout=0.4, seed=3, **options)
    cell = layer.cell
    sequences, state = map(keras.ops.convert_to_tensor, make_inputs(rng, "float32"))
    steps = keras.ops.swapaxes(sequences, 0, 1)
    cell.input_dropout.draw(BATCH)
    cell.state_dropout.draw(BATCH)
    at_once = cell.project_inputs(steps, training=training)
    assert at_once.shape[0] == TIME
    for t, x in enumerate(keras.ops.unstack(steps)):
        expected, (expected_state,) = cell(x, [state], training=training)
        for projected in (cell.project_inputs(x, training=training), at_once[t]):
            output, (new_state,) = cell.step(projected, [state], training=training)
            assert_close(output, as_numpy(expected), 1e-5)
            assert_close(new_state, as_numpy(expected_state), 1e-5)
        state = expected_state
    cell.input_dropout.forget()
    cell.state_dropout.forget()


# -- Dropout. With linear activations, z = 0 and r = 1, `h_t` is `x_t + h_{t-1}`, each
# -- term as dropout leaves it.


def run_transparent(
    size=24, batch=40, time=4, inputs=1.0, recurrent=0.0, start=0.0, reset_after=True, **options
):
    cell = LayerNormGRUCell(
        size,
        activation="linear",
        recurrent_activation="linear",
        normalize=False,
        reset_after=reset_after,
        **options,
    )
    layer = kcells.RNN(cell, return_sequences=True)
    layer.build((None, None, size))
    kernel = np.hstack([np.zeros((size, 2 * size)), np.eye(size)])
    bias = np.repeat([0.0, 1.0, 0.0], size)
    if reset_after:
        bias = np.stack([bias, np.zeros(3 * size)])
    layer.set_weights([kernel, recurrent * kernel, bias])
    sequences = np.full((batch, time, size), inputs, "float32")
    state = np.full((batch, size), start, "float32")
    return as_numpy(layer(sequences, initial_state=state, training=True))


def test_dropout_of_the_inputs():
    outputs = run_transparent(dropout=0.25)
    kept = outputs != 0.0
    np.testing.assert_allclose(outputs[kept], 1 / 0.75, rtol=1e-6)
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    # 960 draws: the standard error of the mean is 0.019.
    assert abs(outputs[:, 0].mean() - 1.0) < 0.09


@pytest.mark.parametrize("reset_after", [True, False])
def test_dropout_of_the_state(reset_after):
    outputs = run_transparent(
        inputs=0.0, recurrent=1.0, start=1.0, recurrent_dropout=0.25, reset_after=reset_after
    )
    kept = outputs != 0.0
    powers = np.broadcast_to((1 / 0.75) ** np.arange(1, 5)[:, None], outputs.shape)
    np.testing.assert_allclose(outputs[kept], powers[kept], rtol=1e-5)
    # Another mask at some step would leave fewer entries from then on.
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    assert abs(outputs[:, 0].mean() - 1.0) < 0.09


def test_dropout_leaves_the_carried_state_alone(rng):
    """With z = 1 the state stays what it is, however much the products see of it."""
    layer = make_layer(rng, recurrent_dropout=0.5, normalize=False)
    bias = np.zeros((2, 3 * UNITS))
    bias[0, :UNITS] = 100.0
    layer.cell.bias.assign(bias)
    sequences, state = make_inputs(rng, "float32")
    outputs, _ = layer(sequences, initial_state=state, training=True)
    assert_close(outputs, np.repeat(state[:, None].astype("float64"), TIME, axis=1), 1e-6)


def test_dropout_is_off_at_inference(rng):
    layer = make_layer(rng, dropout=0.5, recurrent_dropout=0.5)
    sequences, state = make_inputs(rng, "float32")
    without = make_layer(rng)
    without.set_weights(layer.get_weights())
    results = layer(sequences, initial_state=state)
    again = layer(sequences, initial_state=state, training=False)
    expected = without(sequences, initial_state=state)
    for first, second, wanted in zip(results, again, expected, strict=True):
        np.testing.assert_array_equal(as_numpy(first), as_numpy(second))
        np.testing.assert_array_equal(as_numpy(first), as_numpy(wanted))


def test_seed():
    first, same, other = (run_transparent(dropout=0.5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_inputs_and_state_are_dropped_apart():
    cell = LayerNormGRUCell(8, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell.build((None, 8))
    ones = keras.ops.ones((6, 8))
    of_inputs = cell.input_dropout.drop(ones, training=True)
    of_state = cell.state_dropout.drop(ones, training=True)
    assert not np.array_equal(as_numpy(of_inputs), as_numpy(of_state))
