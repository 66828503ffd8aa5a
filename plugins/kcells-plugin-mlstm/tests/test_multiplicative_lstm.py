"""The multiplicative LSTM against its NumPy reference, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from mlstm_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_mlstm import MultiplicativeLSTMCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [
    {"output_gate": "outside", "weight_normalization": False},
    {"output_gate": "outside", "weight_normalization": True},
    {"output_gate": "inside", "weight_normalization": False},
    {"output_gate": "inside", "weight_normalization": True, "use_bias": False},
]
WEIGHTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel", "multiplicative_kernel"},
    "bias": {"bias"},
}


def make_layer(rng, dtype="float32", rnn=None, **options):
    """A layer with random weights, the gains and the bias too."""
    rnn = {"return_sequences": True, "return_state": True} | (rnn or {})
    cell = MultiplicativeLSTMCell(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, **rnn)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def make_sequences(rng, dtype="float32"):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype(dtype)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def assert_close(actual, expected, tolerance=1e-5):
    """Relative to the largest entry: the small ones are differences of large ones."""
    np.testing.assert_allclose(
        as_numpy(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def built(**arguments):
    cell = MultiplicativeLSTMCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, "float64", **options)
    reference = functools.partial(run, mask=MASK, output_gate=options["output_gate"])
    compare(layer, make_sequences(rng, "float64"), reference, MASK)


def test_half_precision_is_near(rng):
    layer = make_layer(rng, weight_normalization=True)
    half = make_layer(rng, "mixed_bfloat16", weight_normalization=True)
    half.set_weights(layer.get_weights())
    sequences = make_sequences(rng)
    expected = as_numpy(layer(sequences)[0])
    # bfloat16 has 8 bits: 2**-8 is 0.004, and the errors of five steps add up.
    assert_close(keras.ops.cast(half(sequences)[0], "float32"), expected, 0.03)


def test_is_an_lstm_where_m_is_h(rng):
    """With W_mx x = 1 and W_mh = 1, `m` is `h`: Keras' LSTM, and its order of the blocks."""
    sequences = make_sequences(rng)
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
    assert_close(layer(sequences), as_numpy(lstm(sequences)))


def test_weight_normalization_starts_as_the_same_function(rng):
    sequences = make_sequences(rng)
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
    assert_close(normalized(sequences), expected)


def test_weight_normalization_ignores_the_length_of_v(rng):
    layer = make_layer(rng, rnn={"return_state": False}, weight_normalization=True)
    sequences = make_sequences(rng)
    before = as_numpy(layer(sequences))
    for name in ("kernel", "recurrent_kernel", "multiplicative_kernel"):
        weight = getattr(layer.cell, name)
        weight.assign(as_numpy(weight) * rng.uniform(0.5, 3.0, size=weight.shape[-1:]))
    assert_close(layer(sequences), before)
    layer.cell.kernel_gain.assign(2 * layer.cell.kernel_gain)
    assert np.abs(as_numpy(layer(sequences)) - before).max() > 1e-2


def test_a_zero_column_stays_finite(rng):
    cell = MultiplicativeLSTMCell(UNITS, kernel_initializer="zeros", weight_normalization=True)
    outputs = kcells.RNN(cell)(make_sequences(rng))
    assert np.isfinite(as_numpy(outputs)).all()


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


def test_inputs_and_state_are_dropped_apart():
    layer = transparent_cell(8, dropout=0.5, recurrent_dropout=0.5, seed=1)
    ones = keras.ops.ones((6, 8))
    of_inputs = layer.cell.input_dropout.drop(ones, training=True)
    of_state = layer.cell.state_dropout.drop(ones, training=True)
    assert not np.array_equal(as_numpy(of_inputs), as_numpy(of_state))


# -- Arguments


def test_the_bias_of_the_forget_gate():
    plain = built(unit_forget_bias=False).bias
    np.testing.assert_array_equal(as_numpy(plain), np.zeros(4 * UNITS))
    bias = built(bias_initializer=keras.initializers.Constant(0.5)).bias
    np.testing.assert_array_equal(as_numpy(bias), np.repeat([0.5, 1.0, 0.5, 0.5], UNITS))


def test_one_initializer_draws_unrelated_matrices():
    # From one seed, the smaller matrix is the beginning of the larger one.
    cell = built(recurrent_initializer="random_normal")
    smaller, larger = as_numpy(cell.multiplicative_kernel), as_numpy(cell.recurrent_kernel)
    assert not np.isin(smaller, larger).any()


def test_activations():
    x, states = keras.ops.ones((1, FEATURES)), [keras.ops.ones((1, UNITS))] * 2
    cell = built()
    outputs = [as_numpy(cell(x, states)[0])]
    for name in ("activation", "recurrent_activation"):
        other = built(**{name: "softsign"})
        other.set_weights(cell.get_weights())
        outputs.append(as_numpy(other(x, states)[0]))
    assert len({output.tobytes() for output in outputs}) == 3


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="units must be a positive int; received "):
        MultiplicativeLSTMCell(units)


def test_output_gate_must_be_known():
    with pytest.raises(ConfigurationError, match='"outside" or "inside"; received \'between\''):
        MultiplicativeLSTMCell(UNITS, output_gate="between")


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
def test_rates_must_be_in_range(argument):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        MultiplicativeLSTMCell(UNITS, **{argument: 1.0})


@pytest.mark.parametrize("inputs", [{"a": np.ones((2, 4, 3))}, np.ones((2, 4, 3, 3))])
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("mlstm", UNITS)(inputs)
