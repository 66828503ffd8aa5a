"""Every argument of the cell does what it says, survives a round trip, or is refused."""

import inspect

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_mlstm import MultiplicativeLSTMCell

FEATURES, UNITS = 2, 3

WEIGHTS = {
    "kernel": ["kernel"],
    "recurrent": ["recurrent_kernel", "multiplicative_kernel"],
    "bias": ["bias"],
}

EVERY_ARGUMENT = {
    "units": UNITS,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "kernel_initializer": keras.initializers.RandomUniform(-0.1, 0.1, seed=1),
    "recurrent_initializer": keras.initializers.RandomNormal(0.0, 0.1, seed=2),
    "bias_initializer": keras.initializers.Constant(0.5),
    "unit_forget_bias": False,
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": keras.regularizers.L1(0.2),
    "bias_regularizer": keras.regularizers.L2(0.3),
    "kernel_constraint": keras.constraints.MaxNorm(1.0),
    "recurrent_constraint": keras.constraints.NonNeg(),
    "bias_constraint": keras.constraints.MaxNorm(3.0),
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 7,
    "output_gate": "inside",
    "weight_normalization": True,
}


def built(**arguments):
    cell = MultiplicativeLSTMCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


def weight_values(cell):
    return {weight.name: keras.ops.convert_to_numpy(weight) for weight in cell.weights}


@pytest.mark.parametrize("part", WEIGHTS)
def test_initializers(part):
    arguments = {f"{part}_initializer": keras.initializers.Constant(0.25)}
    for name, value in weight_values(built(unit_forget_bias=False, **arguments)).items():
        assert (value == 0.25).all() == (name in WEIGHTS[part])


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("weight_normalization", [False, True])
def test_regularizers(part, weight_normalization):
    cell = built(
        weight_normalization=weight_normalization,
        **{f"{part}_regularizer": keras.regularizers.L2(0.5)},
    )
    values = weight_values(cell)
    expected = sum(0.5 * np.sum(values[name] ** 2) for name in WEIGHTS[part])
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
        assert (value == 0.0).all() == (name in WEIGHTS[part])


def test_the_bias_of_the_forget_gate():
    plain = weight_values(built(unit_forget_bias=False))["bias"]
    np.testing.assert_array_equal(plain, np.zeros(4 * UNITS))
    bias = weight_values(built(bias_initializer=keras.initializers.Constant(0.5)))["bias"]
    np.testing.assert_array_equal(bias, np.repeat([0.5, 1.0, 0.5, 0.5], UNITS))


def test_one_initializer_draws_unrelated_matrices():
    # From one seed, the smaller matrix is the beginning of the larger one.
    cell = MultiplicativeLSTMCell(8, recurrent_initializer="random_normal")
    cell.build((None, FEATURES))
    values = weight_values(cell)
    assert not np.isin(values["multiplicative_kernel"], values["recurrent_kernel"]).any()


def test_activations():
    x, states = keras.ops.ones((1, FEATURES)), [keras.ops.ones((1, UNITS))] * 2
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
    parameters = set(inspect.signature(MultiplicativeLSTMCell.__init__).parameters)
    assert parameters - {"self", "kwargs"} == set(EVERY_ARGUMENT)
    cell = MultiplicativeLSTMCell(name="cell", **EVERY_ARGUMENT)
    config = cell.get_config()
    assert set(EVERY_ARGUMENT) <= set(config)
    defaults = MultiplicativeLSTMCell(UNITS).get_config()
    same = {name for name in EVERY_ARGUMENT if config[name] == defaults[name]}
    assert same == {"units", "use_bias"}
    restored = MultiplicativeLSTMCell.from_config(config)
    assert restored.get_config() == config
    assert restored.name == "cell"
    assert MultiplicativeLSTMCell(UNITS, use_bias=False).get_config()["use_bias"] is False


def test_restored_cells_start_alike():
    cell = MultiplicativeLSTMCell(**EVERY_ARGUMENT)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert type(restored) is MultiplicativeLSTMCell
    for one in (cell, restored):
        one.build((None, FEATURES))
    for first, second in zip(cell.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="units must be a positive int; received "):
        MultiplicativeLSTMCell(units)


def test_output_gate_must_be_known():
    with pytest.raises(ConfigurationError, match='"outside" or "inside"; received \'between\''):
        MultiplicativeLSTMCell(UNITS, output_gate="between")


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_must_be_in_range(argument, rate):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        MultiplicativeLSTMCell(UNITS, **{argument: rate})


@pytest.mark.parametrize(
    "inputs", [{"a": np.ones((2, 4, 3), "float32")}, np.ones((2, 4, 3, 3), "float32")]
)
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("mlstm", UNITS)(inputs)


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="weight_normalisation"):
        kcells.build("mlstm", UNITS, weight_normalisation=True)
