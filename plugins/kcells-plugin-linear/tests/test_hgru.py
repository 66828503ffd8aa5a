"""The HGRU against NumPy, a minGRU, PyTorch's norm, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from complex_reference import run, sigmoid

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import HGRUCell, MinGRUCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
WEIGHTS = {"kernel": {"kernel", "kernel_output"}, "bias": {"bias", "bias_output"}}


def make_layer(rng, dtype="float64", **options):
    """A layer with random weights."""
    cell = HGRUCell(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def make_sequences(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES))


def built(units=UNITS, **arguments):
    cell = HGRUCell(units, **arguments)
    cell.build((None, FEATURES))
    return cell


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("options", "of_reference"),
    [
        ({}, {}),
        ({"lower_bound": 0.7, "epsilon": 0.1}, {"lower_bound": 0.7, "epsilon": 0.1}),
        ({"gate_first": False}, {"gate_first": False}),
        ({"use_bias": False}, {}),
        (
            {"activation": "tanh", "gate_activation": "sigmoid"},
            {"activation": np.tanh, "gate": sigmoid},
        ),
    ],
    ids=["default", "bounded", "norm first", "no bias", "activations"],
)
def test_outputs_states_and_gradients(options, of_reference, rng, compare):
    layer = make_layer(rng, **options)
    assert len(layer.weights) == (5 if "use_bias" in options else 7)
    reference = functools.partial(run, mask=MASK, cell="hgru", **of_reference)
    compare(layer, make_sequences(rng), reference, MASK)


@pytest.mark.usefixtures("float64")
def test_without_a_turn_both_parts_are_min_grus(rng):
    layer = make_layer(rng)
    layer.cell.theta.assign(np.zeros(UNITS))
    sequences = make_sequences(rng)
    state = as_numpy(layer(sequences)[1])
    forget = slice(2 * UNITS, 3 * UNITS)
    for part, block in enumerate((slice(0, UNITS), slice(UNITS, 2 * UNITS))):
        other = kcells.RNN(MinGRUCell(UNITS, activation="silu"))
        other.build(sequences.shape)
        # The gate of a minGRU is what is new, not what is kept.
        other.set_weights(
            [
                np.concatenate([-array[..., forget], array[..., block]], axis=-1)
                for array in (as_numpy(layer.cell.kernel), as_numpy(layer.cell.bias))
            ]
        )
        np.testing.assert_allclose(state[..., part], as_numpy(other(sequences)))


@pytest.mark.usefixtures("float64")
def test_a_turn_of_which_nothing_is_forgotten(rng):
    """A quarter turn a step: after four steps the state is where it was."""
    layer = make_layer(rng)
    layer.cell.theta.assign(np.full(UNITS, np.pi / 2))
    bias = np.zeros(5 * UNITS)
    bias[2 * UNITS : 3 * UNITS] = 800.0
    layer.cell.bias.assign(bias)
    start = rng.normal(size=(BATCH, UNITS, 2))
    sequences = make_sequences(rng)
    once, four = (as_numpy(layer(sequences[:, :count], initial_state=start)[1]) for count in (1, 4))
    np.testing.assert_allclose(once, np.stack([-start[..., 1], start[..., 0]], axis=-1))
    np.testing.assert_allclose(four, start)


@pytest.mark.usefixtures("float64")
def test_the_forget_gate_stays_above_its_bound(rng):
    layer = make_layer(rng, lower_bound=0.8)
    bias = as_numpy(layer.cell.bias)
    bias[2 * UNITS : 3 * UNITS] = -800.0
    layer.cell.bias.assign(bias)
    start = 1e9 * rng.normal(size=(BATCH, UNITS, 2))
    state = as_numpy(layer(make_sequences(rng), initial_state=start)[1])
    lengths = np.linalg.norm(state, axis=-1) / np.linalg.norm(start, axis=-1)
    np.testing.assert_allclose(lengths, 0.8**TIME, rtol=1e-6)


@pytest.mark.parametrize("gate_first", [True, False])
def test_the_norm_is_that_of_torch(gate_first, rng, backend):
    if backend != "torch":
        pytest.skip("the norm is PyTorch's")
    import torch

    layer = make_layer(rng, "float32", gate_first=gate_first)
    layer.cell.kernel_output.assign(np.eye(2 * UNITS, UNITS))
    layer.cell.bias_output.assign(np.zeros(UNITS))
    norm = torch.nn.LayerNorm(2 * UNITS)
    norm.load_state_dict({"weight": layer.cell.scale.value, "bias": layer.cell.shift.value})
    x = make_sequences(rng)[:, :1].astype("float32")
    outputs, state = layer(x)
    cell = layer.cell
    sums = x[:, 0] @ as_numpy(cell.kernel)[:, 3 * UNITS :] + as_numpy(cell.bias)[3 * UNITS :]
    gate = torch.nn.functional.silu(torch.from_numpy(sums).float())
    h = torch.cat([state[..., 0], state[..., 1]], dim=-1)
    expected = norm(gate * h) if gate_first else norm(h) * gate
    np.testing.assert_allclose(as_numpy(outputs[:, 0]), as_numpy(expected[:, :UNITS]), atol=2e-5)


def test_half_precision_is_near(rng):
    layer, half = make_layer(rng, "float32"), make_layer(rng, "mixed_bfloat16")
    half.set_weights(layer.get_weights())
    sequences = make_sequences(rng).astype("float32")
    expected, actual = (
        as_numpy(keras.ops.cast(one(sequences)[0], "float32")) for one in (layer, half)
    )
    # bfloat16 has 8 bits: 2**-8 is 0.004, a few times in five steps, before and after a norm.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.06 * np.abs(expected).max())


# -- How the weights start


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_angles_start_as_in_the_code(dtype):
    angles = as_numpy(built(4, dtype=dtype).theta)
    np.testing.assert_allclose(angles, [1.0, 1e-2, 1e-4, 1e-6], rtol=1e-3, atol=1e-7)


def test_other_weights_start_as_in_keras():
    cell = built(4)
    assert not as_numpy(cell.bias).any()
    assert not as_numpy(cell.bias_output).any()
    assert not as_numpy(cell.shift).any()
    assert (as_numpy(cell.scale) == 1.0).all()
    for kernel in (cell.kernel, cell.kernel_output):
        limit = np.sqrt(6.0 / sum(kernel.shape))
        assert 0.7 * limit < np.abs(as_numpy(kernel)).max() <= limit


# -- Arguments


@pytest.mark.parametrize("lower_bound", [-0.1, 1.0, float("nan"), None])
def test_the_lower_bound_must_be_in_range(lower_bound):
    with pytest.raises(ConfigurationError, match="must be at least 0 and less than 1; received"):
        HGRUCell(UNITS, lower_bound=lower_bound)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), None])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="epsilon must be a positive float; received"):
        HGRUCell(UNITS, epsilon=epsilon)


def test_units_and_inputs():
    with pytest.raises(ConfigurationError, match="HGRUCell: units must be a positive int"):
        HGRUCell(0)
    with pytest.raises(StructureError, match=r"HGRUCell: .* one tensor of \(batch, features\)"):
        kcells.build("hgru", UNITS)(np.ones((2, 4, 3, 3), "float32"))
