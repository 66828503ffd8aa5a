"""Every argument of the cell does what it says, survives a round trip, or is refused."""

import inspect

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_layernorm import LayerNormGRUCell

FEATURES, UNITS = 2, 3

WEIGHTS = {
    "kernel": "kernel",
    "recurrent": "recurrent_kernel",
    "bias": "bias",
    "gamma": "gamma",
}

EVERY_ARGUMENT = {
    "units": UNITS,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "kernel_initializer": keras.initializers.RandomUniform(-0.1, 0.1, seed=1),
    "recurrent_initializer": keras.initializers.RandomNormal(0.0, 0.1, seed=2),
    "bias_initializer": keras.initializers.Constant(0.5),
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": keras.regularizers.L1(0.2),
    "bias_regularizer": keras.regularizers.L2(0.3),
    "kernel_constraint": keras.constraints.MaxNorm(1.0),
    "recurrent_constraint": keras.constraints.NonNeg(),
    "bias_constraint": keras.constraints.MaxNorm(3.0),
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "reset_after": False,
    "seed": 7,
    "normalize": True,
    "epsilon": 1e-3,
    "gamma_initializer": keras.initializers.Constant(0.1),
    "gamma_regularizer": keras.regularizers.L2(0.4),
    "gamma_constraint": keras.constraints.NonNeg(),
}


def built(**arguments):
    cell = LayerNormGRUCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


def weight_values(cell):
    return {weight.name: keras.ops.convert_to_numpy(weight) for weight in cell.weights}


@pytest.mark.parametrize("part", WEIGHTS)
def test_initializers(part):
    arguments = {f"{part}_initializer": keras.initializers.Constant(0.25)}
    for name, value in weight_values(built(**arguments)).items():
        assert (value == 0.25).all() == (name == WEIGHTS[part])


def test_gains_start_at_one_and_shifts_at_zero():
    values = weight_values(built())
    np.testing.assert_array_equal(values["gamma"], np.ones((2, 3 * UNITS)))
    np.testing.assert_array_equal(values["bias"], np.zeros((2, 3 * UNITS)))
    values = weight_values(built(reset_after=False))
    np.testing.assert_array_equal(values["gamma"], np.ones((2, 3 * UNITS)))
    np.testing.assert_array_equal(values["bias"], np.zeros(3 * UNITS))


@pytest.mark.parametrize("part", WEIGHTS)
def test_regularizers(part):
    cell = built(**{f"{part}_regularizer": keras.regularizers.L2(0.5)})
    for weight in cell.weights:
        weight.assign(keras.ops.ones(weight.shape))
    expected = 0.5 * weight_values(cell)[WEIGHTS[part]].size
    actual = keras.ops.convert_to_numpy(sum(cell.losses))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("part", WEIGHTS)
def test_constraints(part):
    cell = built(**{f"{part}_constraint": keras.constraints.NonNeg()})
    for weight in cell.weights:
        weight.assign(-keras.ops.ones(weight.shape))
    zeros = [keras.ops.zeros(weight.shape) for weight in cell.weights]
    keras.optimizers.SGD(1.0).apply(zeros, cell.weights)
    for name, value in weight_values(cell).items():
        assert (value == 0.0).all() == (name == WEIGHTS[part])


def test_activations():
    x, states = keras.ops.ones((1, FEATURES)), [0.5 * keras.ops.ones((1, UNITS))]
    cell = built()
    (default, _), outputs = cell(x, states), {}
    for name in ("activation", "recurrent_activation"):
        other = built(**{name: "softsign"})
        other.set_weights(cell.get_weights())
        outputs[name] = keras.ops.convert_to_numpy(other(x, states)[0])
    default = keras.ops.convert_to_numpy(default)
    assert not np.allclose(default, outputs["activation"])
    assert not np.allclose(default, outputs["recurrent_activation"])
    assert not np.allclose(outputs["activation"], outputs["recurrent_activation"])


def test_every_argument_is_in_the_configuration():
    parameters = set(inspect.signature(LayerNormGRUCell.__init__).parameters)
    assert parameters - {"self", "kwargs"} == set(EVERY_ARGUMENT)
    cell = LayerNormGRUCell(name="cell", **EVERY_ARGUMENT)
    config = cell.get_config()
    assert set(EVERY_ARGUMENT) <= set(config)
    defaults = LayerNormGRUCell(UNITS).get_config()
    same = {name for name in EVERY_ARGUMENT if config[name] == defaults[name]}
    assert same == {"units", "use_bias", "normalize"}
    restored = LayerNormGRUCell.from_config(config)
    assert restored.get_config() == config
    assert restored.name == "cell"
    for name in ("use_bias", "normalize"):
        assert LayerNormGRUCell(UNITS, **{name: False}).get_config()[name] is False


def test_restored_cells_start_alike():
    cell = LayerNormGRUCell(**EVERY_ARGUMENT)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert type(restored) is LayerNormGRUCell
    for one in (cell, restored):
        one.build((None, FEATURES))
    for first, second in zip(cell.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="units must be a positive int; received "):
        LayerNormGRUCell(units)


@pytest.mark.parametrize("epsilon", [0.0, -1e-3, float("nan"), "small", None])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="epsilon must be a positive float; received "):
        LayerNormGRUCell(UNITS, epsilon=epsilon)


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_must_be_in_range(argument, rate):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        LayerNormGRUCell(UNITS, **{argument: rate})


@pytest.mark.parametrize(
    "inputs", [{"a": np.ones((2, 4, 3), "float32")}, np.ones((2, 4, 3, 3), "float32")]
)
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("ln_gru", UNITS)(inputs)


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="normalise"):
        kcells.build("ln_gru", UNITS, normalise=True)
