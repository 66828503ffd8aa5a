"""The layer-normalized GRU against its NumPy reference, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from ln_gru_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_layernorm import LayerNormGRUCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [
    {"reset_after": True},
    {"reset_after": False},
    {"reset_after": True, "normalize": False},
    {"reset_after": False, "normalize": False},
    {"reset_after": True, "use_bias": False, "epsilon": 0.3},
    {"reset_after": False, "use_bias": False, "epsilon": 0.3},
]
WEIGHTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel"},
    "bias": {"bias"},
    "gamma": {"gamma"},
}


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


def assert_close(actual, expected, tolerance):
    """Relative to the largest entry: the small ones are differences of large ones."""
    np.testing.assert_allclose(
        as_numpy(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def built(**arguments):
    cell = LayerNormGRUCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, "float64", **options)
    of_equations = {"reset_after": options["reset_after"], "epsilon": layer.cell.epsilon}
    reference = functools.partial(run, mask=MASK, **of_equations)
    compare(layer, make_inputs(rng)[0], reference, MASK)


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


def test_inputs_and_state_are_dropped_apart():
    cell = LayerNormGRUCell(8, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell.build((None, 8))
    ones = keras.ops.ones((6, 8))
    of_inputs = cell.input_dropout.drop(ones, training=True)
    of_state = cell.state_dropout.drop(ones, training=True)
    assert not np.array_equal(as_numpy(of_inputs), as_numpy(of_state))


# -- Arguments


@pytest.mark.parametrize("reset_after", [True, False])
def test_gains_start_at_one_and_shifts_at_zero(reset_after):
    cell = built(reset_after=reset_after)
    shifts = (2, 3 * UNITS) if reset_after else (3 * UNITS,)
    np.testing.assert_array_equal(as_numpy(cell.gamma), np.ones((2, 3 * UNITS)))
    np.testing.assert_array_equal(as_numpy(cell.bias), np.zeros(shifts))


def test_activations():
    x, states = keras.ops.ones((1, FEATURES)), [0.5 * keras.ops.ones((1, UNITS))]
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
        LayerNormGRUCell(units)


@pytest.mark.parametrize("epsilon", [0.0, -1e-3, float("nan"), "small", None])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="epsilon must be a positive float; received "):
        LayerNormGRUCell(UNITS, epsilon=epsilon)


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
def test_rates_must_be_in_range(argument):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        LayerNormGRUCell(UNITS, **{argument: 1.0})


@pytest.mark.parametrize("inputs", [{"a": np.ones((2, 4, 3))}, np.ones((2, 4, 3, 3))])
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("ln_gru", UNITS)(inputs)
