"""The mLSTM of xLSTM: against NumPy in three forms, in limits, and where exponentials are large."""

import functools

import keras
import numpy as np
import pytest
import xlstm_mlstm_reference as reference
from modern_checks import (
    BATCH,
    FEATURES,
    MASK,
    TIME,
    as_numpy,
    assert_close,
    built,
    make_inputs,
    make_layer,
    weights_of,
)

import kcells
from kcells.errors import ConfigurationError, StructureError

UNITS = 4
FORMS = [(1, "sigmoid"), (2, "sigmoid"), (2, "exponential")]

make = functools.partial(make_layer, name="xlstm_mlstm", units=UNITS)


def blocks(heads):
    """Where each block of columns is, by its name."""
    starts = dict(zip("qkvo", range(0, 4 * UNITS, UNITS), strict=True))
    ends = {name: slice(start, start + UNITS) for name, start in starts.items()}
    gates = slice(4 * UNITS, 4 * UNITS + heads), slice(4 * UNITS + heads, None)
    return {**ends, "i": gates[0], "f": gates[1]}


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("heads", "forget_gate"), FORMS)
def test_outputs_states_and_gradients(heads, forget_gate, use_bias, rng, compare):
    options = {"heads": heads, "forget_gate": forget_gate, "use_bias": use_bias}
    layer = make(rng, dtype="float64", **options)
    assert len(layer.weights) == 1 + use_bias
    exponential = forget_gate == "exponential"
    program = functools.partial(reference.run, mask=MASK, heads=heads, exponential=exponential)
    compare(layer, make_inputs(rng, "float64"), program, MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("program", [reference.unstable_run, reference.at_once])
@pytest.mark.parametrize(("heads", "forget_gate"), FORMS)
def test_the_stabilizer_changes_no_output(heads, forget_gate, program, rng):
    """From a memory of zeros: as the paper has it first, and all steps at once."""
    layer = make(rng, dtype="float64", heads=heads, forget_gate=forget_gate)
    sequences = 3.0 * make_inputs(rng, "float64")
    outputs, memory, _, m = map(as_numpy, layer(sequences))
    found = program(weights_of(layer), sequences, heads, forget_gate == "exponential")
    if program is reference.unstable_run:
        found, unstable = found
        assert_close(memory * np.exp(m)[..., None, None], unstable, 1e-10)
    assert_close(outputs, found, 1e-10)


# -- Limits


def test_gates_of_one_make_linear_attention(rng):
    """Nothing is forgotten and all is taken in: a sum over all values so far."""
    layer = make(rng)
    where = blocks(1)
    kernel, bias = (as_numpy(weight) for weight in layer.weights)
    kernel[:, 4 * UNITS :] = 0.0
    bias[4 * UNITS :] = [0.0, 80.0]
    kernel[:, where["o"]], bias[where["o"]] = 0.0, 80.0
    layer.set_weights([kernel, bias])
    x = make_inputs(rng)
    q, k, v = (x @ kernel[:, where[name]] + bias[where[name]] for name in "qkv")
    k = x @ kernel[:, where["k"]] / 2.0 + bias[where["k"]]
    scores = np.tril(np.einsum("btd,bsd->bts", q, k))
    expected = scores @ v / np.maximum(np.abs(scores.sum(-1, keepdims=True)), 1.0)
    assert_close(layer(x)[0], expected)


def test_what_was_stored_under_a_key_is_found_under_it():
    """Two values under keys at right angles; the last step stores nothing and asks."""
    cell = built("xlstm_mlstm", UNITS, features=13, use_bias=False)
    # The inputs are q, k, v, and what the gate of the inputs is told. The others stay open.
    kernel = np.zeros((13, 4 * UNITS + 2))
    kernel[:12, :12] = np.eye(12)
    kernel[12, 4 * UNITS] = 1.0
    cell.kernel.assign(kernel)
    key, value = 10.0 * np.eye(UNITS), np.arange(1.0, 9.0).reshape(2, UNITS)
    steps = np.zeros((1, 3, 13), "float32")
    for t in range(2):
        steps[0, t, 4:8], steps[0, t, 8:12] = key[t], value[t]
    steps[0, 2, :4], steps[0, 2, 12] = key[0], -100.0
    outputs = as_numpy(kcells.RNN(cell, return_sequences=True)(steps))
    # Half of it, since the output gate is at zero; what is forgotten is so in the normalizer too.
    assert_close(outputs[0, 2], 0.5 * value[0])


def test_heads_do_not_see_each_other(rng):
    layer = make(rng, heads=2)
    kernel, bias = (as_numpy(weight) for weight in layer.weights)
    x = make_inputs(rng)
    before = as_numpy(layer(x)[0])
    for name in "qkv":
        kernel[:, blocks(2)[name].start] += 1.0
    layer.set_weights([kernel, bias])
    after = as_numpy(layer(x)[0])
    np.testing.assert_array_equal(before[..., 2:], after[..., 2:])
    assert np.abs(before[..., :2] - after[..., :2]).max() > 0.01


def test_one_head_of_each_size(rng):
    """As many heads as units: a number for a memory."""
    layer = make(rng, heads=UNITS)
    assert [tuple(one.shape) for one in layer(make_inputs(rng))[1:]] == [
        (BATCH, UNITS, 1, 1),
        (BATCH, UNITS, 1),
        (BATCH, UNITS),
    ]


# -- Where exponentials are large


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
@pytest.mark.parametrize("gate", ["i", "f"])
@pytest.mark.parametrize("scale", [-300.0, 300.0])
def test_exponentials_do_not_overflow(scale, gate, forget_gate, rng, gradients):
    layer = make(rng, forget_gate=forget_gate)
    bias = np.zeros(4 * UNITS + 2)
    bias[blocks(1)[gate]] = scale
    layer.cell.bias.assign(bias)
    sequences = make_inputs(rng)

    def loss(leaves):
        return sum(keras.ops.sum(result) for result in layer(leaves[0], mask=MASK))

    for result in layer(sequences, mask=MASK):
        assert np.isfinite(as_numpy(result)).all()
    for found in gradients(loss, layer.trainable_variables, [sequences]):
        for gradient in found:
            assert np.isfinite(as_numpy(gradient)).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nothing_above_and_nothing_below_is_nothing(dtype):
    """Inputs of zeros ask for nothing, once the stabilizer is too large for its exponential."""
    layer = make(np.random.default_rng(0), dtype=dtype, use_bias=False)
    inputs = np.zeros((1, 2, FEATURES), dtype)
    states = [np.zeros(size.batched(1), dtype) for size in layer._bound.sizes]
    states[2] += 200.0
    np.testing.assert_array_equal(as_numpy(layer(inputs, initial_state=states)[0]), 0.0)


def in_float16(n):
    """A step of a memory of ones and keys `n`, with `q = 0.01`; the stabilizer leaves it alone."""
    layer = make(np.random.default_rng(0), dtype="mixed_float16", use_bias=False)
    layer.cell.kernel.assign(np.ones(layer.cell.kernel.shape))
    states = [np.ones(size.batched(1), "float16") for size in layer._bound.sizes]
    states[1] *= n
    states[2] *= 200.0
    return layer, [np.full((1, 1, FEATURES), 0.01 / FEATURES, "float16"), *states]


def test_gradients_of_a_quotient_stay_in_range(gradients):
    """With `|n q| = 4e-4` it is 100, and what it is divided by has a gradient of some 1e5."""
    layer, arrays = in_float16(0.01)

    def loss(leaves):
        outputs = layer(leaves[0], initial_state=leaves[1:])[0]
        return keras.ops.sum(keras.ops.cast(outputs, "float32"))

    outputs = as_numpy(layer(arrays[0], initial_state=arrays[1:])[0])
    np.testing.assert_allclose(outputs, 50.0, rtol=0.02)
    for found in gradients(loss, layer.trainable_variables, arrays):
        for gradient in found:
            assert np.isfinite(as_numpy(gradient)).all()


def test_a_memory_without_keys_stays_in_range():
    layer, (inputs, *states) = in_float16(0.0)
    outputs = as_numpy(layer(inputs, initial_state=states)[0])
    np.testing.assert_allclose(outputs, 200.0, rtol=0.02)


# -- Arguments


def test_weights_start_as_in_the_code_of_the_authors():
    cell = built("xlstm_mlstm", UNITS, heads=2)
    kernel, bias = as_numpy(cell.kernel), as_numpy(cell.bias)
    limit = np.sqrt(6.0 / (len(kernel) + 4 * UNITS))
    assert 0.8 * limit < np.abs(kernel[:, : 4 * UNITS]).max() <= limit
    assert not kernel[:, 4 * UNITS :].any()
    assert not bias[: 4 * UNITS].any()
    i, f = bias[4 * UNITS : -2], bias[-2:]
    assert 0 < np.abs(i).max() < 0.5
    np.testing.assert_allclose(f, [3, 6])
    exponential = built("xlstm_mlstm", UNITS, heads=2, forget_gate="exponential")
    assert not as_numpy(exponential.bias)[-2:].any()
    one_head = built("xlstm_mlstm", UNITS, bias_initializer="zeros", kernel_initializer="ones")
    assert as_numpy(one_head.kernel).all()
    assert not as_numpy(one_head.bias).any()


def test_dropout_acts_in_training(rng):
    layer, x = make(rng, dropout=0.5, seed=1), make_inputs(rng)
    quiet, noisy = (as_numpy(layer(x, training=flag)[0]) for flag in (False, True))
    assert np.abs(quiet - noisy).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "XLSTMmLSTMCell: heads must divide units; received heads=3, units=4"),
        ({"heads": 0}, "XLSTMmLSTMCell: heads must be a positive int; received 0"),
        ({"forget_gate": "exp"}, 'must be "sigmoid" or "exponential"; received \'exp\''),
        ({"units": 0}, "XLSTMmLSTMCell: units must be a positive int; received 0"),
    ],
    ids=str,
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        kcells.cell("xlstm_mlstm", **{"units": UNITS, **arguments})


def test_inputs_must_be_one_vector():
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("xlstm_mlstm", UNITS)(np.ones((2, TIME, 3, 3), "float32"))


def test_its_name_is_not_that_of_the_multiplicative_lstm():
    """Which is another cell, from 2016."""
    names = {cell.id: cell for cell in kcells.list_cells()}
    assert "mlstm" not in names or names["mlstm"].distribution != "kcells-plugin-modern"
    assert "multiplicative" in kcells.cell("xlstm_mlstm", UNITS).__doc__.splitlines()[0]
