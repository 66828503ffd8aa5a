"""What a step does besides giving outputs and states: losses, metrics, updates of variables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import kcells
from kcells.errors import CellError

BATCH, TIME, UNITS = 4, 5, 3
X = np.random.default_rng(0).normal(size=(BATCH, TIME, UNITS)).astype("float32")


@keras.saving.register_keras_serializable(package="kcells-tests")
class Taxed(kcells.Cell):
    """h = tanh(x W + h), at the price of the mean of its squares."""

    state_size = output_size = UNITS

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(UNITS, UNITS), name="kernel")

    def call(self, inputs, states, training=False):
        state = ops.tanh(ops.matmul(inputs, self.kernel) + states[0])
        self.tax(state, training)
        return state, [state]

    def tax(self, state, training):
        self.add_loss(ops.mean(state**2))


class TaxedInTraining(Taxed):
    """No trace of a step outside of training can know."""

    def tax(self, state, training):
        if training:
            self.add_loss(ops.mean(state**2))


class Tax(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(ops.mean(inputs**2))
        return inputs


class TaxedByALayer(Taxed):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Tax()

    def tax(self, state, training):
        self.inner(state)


class TaxedSteps(Taxed):
    """The same by the hooks, whose input side the loop may compute ahead."""

    call = kcells.Cell.call

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, self.kernel)

    def step(self, projected, states, training=False):
        state = ops.tanh(projected + states[0])
        self.tax(state, training)
        return state, [state]


def expected_loss(kernel: np.ndarray) -> float:
    state, total = np.zeros((BATCH, UNITS)), 0.0
    for t in range(TIME):
        state = np.tanh(X[:, t] @ kernel + state)
        total += np.mean(state**2)
    return float(total)


def trained(layer: Any, **compiled: Any) -> tuple[float, float, list[np.ndarray]]:
    """The loss of a batch before a step of training (with one of zero), as `evaluate` and as
    `fit` see it, and the weights after it."""
    model = keras.Sequential([keras.Input((TIME, UNITS)), layer])
    model.compile(keras.optimizers.SGD(0.5), lambda y, x: 0.0 * ops.mean(x), **compiled)
    zeros = np.zeros((BATCH, UNITS))
    evaluated = model.evaluate(X, zeros, verbose=0)
    fitted = model.fit(X, zeros, verbose=0).history["loss"][0]
    return float(np.ravel(evaluated)[0]), fitted, layer.get_weights()


OPTIONS: list[dict[str, Any]] = [{}, {"checkpoint": 2}, {"compile": "never"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", [Taxed, TaxedInTraining, TaxedByALayer, TaxedSteps])
def test_the_losses_of_all_steps_count(cell, options):
    kernel = np.random.default_rng(1).normal(size=(UNITS, UNITS))
    found = []
    for how in (options, {"unroll": True}):
        layer = kcells.RNN(cell(), **how)
        layer.build((None, TIME, UNITS))
        layer.set_weights([kernel])
        found.append(trained(layer))
    (evaluated, fitted, after), (_, _, after_unrolled) = found
    wanted = expected_loss(kernel)
    assert evaluated == pytest.approx(0.0 if cell is TaxedInTraining else wanted, rel=1e-4)
    assert fitted == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(after[0], after_unrolled[0], rtol=1e-4, atol=1e-5)
    assert np.abs(after[0] - kernel).max() > 1e-3


@pytest.mark.parametrize(
    "layer",
    [
        lambda: kcells.RNN([kcells.cell("gru", UNITS), Taxed()], tbptt=2),
        lambda: kcells.RNN([kcells.cell("min_gru", UNITS), Taxed()], dispatch="auto"),
        lambda: kcells.RNN([Taxed(), kcells.cell("gru", UNITS)], dispatch="auto"),
        lambda: kcells.Bidirectional(kcells.RNN(Taxed()), merge_mode="sum"),
    ],
)
@pytest.mark.one_in(2)
def test_in_stacks_and_both_directions(layer):
    layer = layer()
    outputs = layer(X, mask=np.ones((BATCH, TIME), bool))
    assert outputs.shape == (BATCH, UNITS)
    ways = 2 if isinstance(layer, kcells.Bidirectional) else 1
    assert len(layer.losses) == ways
    assert all(0.0 < float(loss) < TIME for loss in layer.losses)
    layer(X)
    assert len(layer.losses) == ways


@pytest.mark.usefixtures("float64")
def test_a_loss_in_double_precision():
    layer = kcells.RNN(Taxed())
    layer(X.astype("float64"))
    kernel = ops.convert_to_numpy(layer.cell.kernel)
    np.testing.assert_allclose(float(layer.losses[0]), expected_loss(kernel), rtol=1e-12)


@pytest.mark.parametrize("cell", [keras.layers.LSTMCell, keras.layers.GRUCell])
def test_a_cell_of_keras_with_an_activity_regularizer_runs_step_by_step(cell):
    layer = kcells.RNN(cell(UNITS, activity_regularizer="l2"), dispatch="auto")
    assert not layer._plan.calls_kernel
    outputs = layer(X)
    assert len(layer.losses) == 1
    assert float(layer.losses[0]) >= 0.01 * float(ops.sum(outputs**2)) / BATCH


class TaxedAhead(TaxedSteps):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs)
        self.add_loss(ops.mean(projected))
        return projected


class TaxedLinear(Taxed):
    call = kcells.Cell.call

    def linear_recurrence(self, projected):
        self.add_loss(ops.mean(projected))
        return kcells.LinearRecurrence([0.5], [projected], lambda states, _: states[0])


@pytest.mark.parametrize(
    ("cell", "options"), [(TaxedAhead, {"unroll": True}), (TaxedLinear, {"parallel": "auto"})]
)
def test_where_many_steps_are_seen_at_once_a_loss_is_refused(cell, options):
    with pytest.raises(CellError, match=f"{cell.__name__} calls add_loss where it sees many steps"):
        kcells.RNN(cell(), **options)(X)


class Counting(kcells.Cell):
    state_size = output_size = UNITS

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = keras.metrics.Mean(name="mean")

    def call(self, inputs, states):
        state = states[0] + inputs
        self.mean.update_state(state)
        return state, [state]


@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_metrics_of_all_steps_count(options):
    layer = kcells.RNN(Counting(), **options)
    layer(X)
    np.testing.assert_allclose(float(layer.cell.mean.result()), X.cumsum(1).mean(), rtol=1e-5)


class Hidden:
    """A plain object: nobody knows of its variable."""

    state_size = output_size = UNITS

    def __init__(self):
        self.count = keras.Variable(0.0, trainable=False)

    def call(self, inputs, states):
        self.count.assign(self.count + 1.0)
        state = states[0] + inputs * self.count
        return state, [state]


def test_an_update_is_made_or_refused():
    """In a loop that is traced, or repeated, what is not the cell's own would be lost."""
    for options in OPTIONS[:2]:
        cell = Hidden()
        layer = kcells.RNN(cell, **options)
        carried = keras.backend.backend() == "tensorflow" or (
            keras.backend.backend() == "torch" and not options
        )
        if carried:
            layer(X)
            assert float(cell.count) == TIME
        else:
            with pytest.raises(CellError, match="updates a variable that is not among the cell's"):
                layer(X)


def test_an_update_in_a_graph_keeps_tensorflow_from_compiling_the_loop():
    cell = Hidden()
    model = keras.Sequential([keras.Input((TIME, UNITS)), kcells.RNN(cell)])
    if keras.backend.backend() == "jax":
        with pytest.raises(CellError, match="updates a variable"):
            model.predict(X, verbose=0)
    else:
        model.predict(X, verbose=0)
        assert float(cell.count) == TIME


REGULARIZED = {
    "a kernel": lambda **options: kcells.build("lstm", UNITS, **options),
    "a loop": lambda **options: kcells.build("mlstm", UNITS, **options),
    "a stack": lambda **options: kcells.build(["gru", "ln_gru"], UNITS, **options),
    "both ways": lambda **options: kcells.Bidirectional(
        kcells.build("min_gru", UNITS, dtype=options.get("dtype")), **options
    ),
}


@pytest.mark.parametrize("make", REGULARIZED.values(), ids=REGULARIZED)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_a_layer_was_made_with_stays(tmp_path, make, dtype):
    """The loss of its outputs, its dtype and name: in a copy, and from a file."""
    layer = make(activity_regularizer="l2", dtype=dtype, name="mine")
    model = keras.Sequential([keras.Input((TIME, UNITS)), layer])
    model.save(tmp_path / "model.keras")
    loaded = kcells.load_model(tmp_path / "model.keras")
    for copy in (model, keras.models.clone_model(model), loaded):
        outputs = ops.cast(copy(X), "float32")
        assert copy.layers[-1].name == "mine"
        assert copy.layers[-1].compute_dtype == dtype.removeprefix("mixed_")
        nothing = keras.layers.Activation("linear", activity_regularizer="l2")
        nothing(outputs)  # whether Keras divides by the batch depends on its version
        found, expected = (
            ops.convert_to_numpy(ops.cast(each.losses[0], "float32")) for each in (copy, nothing)
        )
        assert len(copy.losses) == 1
        np.testing.assert_allclose(found, expected, rtol=0.02)
