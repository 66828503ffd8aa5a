"""`StandardCell`: what a cell gets that brings its equations alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import activations, ops

import kcells
from kcells.cells.signature import constructor_parameters
from kcells.testing import Case, parametrize_with_checks


@keras.saving.register_keras_serializable(package="kcells-tests")
class GatedCell(kcells.StandardCell):
    """One gate, and a state of which a part is read out.

        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z + bonus)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)
        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    Source: these tests, 2026.

    Args:
        units, activation: as usual. Default of the second: `"tanh"`.
        bonus: added to the gate. Default: 0.
    """

    def __init__(self, units, activation="tanh", bonus=0.0, **kwargs):
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.bonus = bonus

    def add_weights(self, features):
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def step(self, projected, states, training=False):
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        z, g = ops.split(projected + products, 2, axis=-1)
        z = ops.sigmoid(z + self.bonus)
        h = z * h + (1 - z) * self.activation(g)
        return h, [h]

    @classmethod
    def check_cases(cls):
        return [
            Case({"units": 4}, name="default"),
            Case({"units": 3, "activation": "relu", "bonus": 1.0, "use_bias": False}, name="other"),
        ]


@parametrize_with_checks([GatedCell], marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow})
def test_laws(check):
    check()


def test_its_arguments_are_known():
    names = list(constructor_parameters(GatedCell))
    assert names[:3] == ["units", "activation", "bonus"]
    assert {"recurrent_initializer", "use_bias", "kernel_initializer", "seed"} <= set(names)
    assert not {"name", "dtype", "kwargs", "self"} & set(names)
    layer = kcells.build(GatedCell, 3, recurrent_dropout=0.5, return_sequences=True)
    assert layer.cell.recurrent_dropout == 0.5
    with pytest.raises(kcells.errors.ArgumentError, match='Nearest: "recurrent_dropout"'):
        kcells.build(GatedCell, 3, recurent_dropout=0.5)


def test_no_more_than_a_constructor_hands_on():
    class Closed(GatedCell):
        def __init__(self, units):
            super().__init__(units)

    assert list(constructor_parameters(Closed)) == ["units"]


class PeepingCell(GatedCell):
    def add_weights(self, features):
        super().add_weights(features)
        self.peephole = self.add("peephole", (3,), part="recurrent")
        self.bias_of_mine = self.add("bias_of_mine", (2,), initializer="ones")


def test_each_weight_has_the_settings_of_its_part():
    cell = PeepingCell(
        3,
        kernel_initializer="ones",
        recurrent_initializer="zeros",
        bias_initializer=keras.initializers.Constant(2.0),
        kernel_regularizer="l1",
        recurrent_constraint="non_neg",
    )
    cell.build((None, 2))
    kernel, recurrent, bias, _, own = map(ops.convert_to_numpy, cell.weights)
    assert (kernel == 1).all()
    assert (recurrent == 0).all()
    assert (bias == 2).all()
    assert cell.kernel.regularizer is cell.kernel_regularizer
    assert cell.recurrent_kernel.constraint is cell.recurrent_constraint
    assert cell.bias.regularizer is None
    assert (own == 1).all()
    assert cell.peephole.constraint is cell.recurrent_constraint


def test_weights_of_one_initializer_are_not_related():
    cell = kcells.cell(TwinCell, 3, recurrent_initializer=keras.initializers.RandomNormal())
    cell.build((None, 3))
    first, second = map(ops.convert_to_numpy, cell.weights)
    assert not np.isclose(first, second).any()


class TwinCell(kcells.StandardCell):
    def add_weights(self, features):
        self.first = self.add("first", (features, 3), part="recurrent")
        self.second = self.add("second", (features, 3), part="recurrent")

    def step(self, projected, states, training=False):
        return states[0], states


def test_no_bias():
    cell = GatedCell(3, use_bias=False)
    cell.build((None, 2))
    assert cell.bias is None
    assert len(cell.weights) == 2


def test_the_configuration_has_all_arguments():
    cell = GatedCell(3, activation="relu", bonus=0.5, kernel_regularizer="l2", dropout=0.25)
    config = cell.get_config()
    assert set(constructor_parameters(GatedCell)) <= set(config)
    again = GatedCell.from_config(config)
    assert again.get_config() == config
    assert again.activation is activations.relu
    assert again.bonus == 0.5


def test_what_is_dropped_is_the_same_at_every_step():
    x = np.ones((2, 6, 5), "float32")
    cell = GatedCell(1, activation="linear", dropout=0.5, seed=3, kernel_initializer="ones")
    layer = kcells.RNN(cell, return_sequences=True)
    layer(x)
    cell.recurrent_kernel.assign(np.zeros((1, 2)))
    # Without what was before, a step shows how many inputs were left.
    cell.bonus = -40.0
    outputs = ops.convert_to_numpy(layer(x, training=True))[..., 0]
    assert np.ptp(outputs, axis=1).max() == 0.0
    assert 0 < outputs.max() <= 10.0
    assert (outputs % 2 == 0).all()


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("value", [1.0, -0.1, "a lot"])
def test_rates(name, value):
    message = f": {name}: the rate must be .* received {value!r}"
    with pytest.raises(kcells.errors.ConfigurationError, match=message):
        GatedCell(3, **{name: value})


def test_a_rate_of_numpy():
    cell = GatedCell(3, dropout=np.float32(0.25), recurrent_dropout=0)
    assert keras.saving.serialize_keras_object(cell)["config"]["dropout"] == 0.25


def test_a_step_with_the_initial_state_of_the_cell():
    """By hand, as in the test of a cell: a single state comes in a list too."""
    cell = GatedCell(3)
    cell.build((None, 2))
    states = cell.get_initial_state(batch_size=4)
    assert [tuple(state.shape) for state in states] == [(4, 3)]
    output, _ = cell(np.ones((4, 2), "float32"), states)
    assert tuple(output.shape) == (4, 3)


@pytest.mark.parametrize("units", [0, -1, 2.0, True, "4", None])
def test_units(units):
    with pytest.raises(kcells.errors.ConfigurationError, match="units must be a positive int"):
        GatedCell(units)


@pytest.mark.parametrize("shape", [(None, 2, 3), {"a": (None, 2)}, [(None, 2), (None, 3)]])
def test_inputs(shape):
    with pytest.raises(kcells.errors.StructureError, match="one tensor of"):
        GatedCell(3).build(shape)


def test_no_features():
    with pytest.raises(kcells.errors.StructureError, match="a known number of features"):
        GatedCell(3).build((None, None))


def test_no_weights():
    class Weightless(kcells.StandardCell):
        def step(self, projected, states, training=False):
            return projected, states

    with pytest.raises(kcells.errors.CellError, match="has no add_weights"):
        Weightless(3).build((None, 2))
