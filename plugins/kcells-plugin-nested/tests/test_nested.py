"""`NestedCell` against NumPy, and what a Keras user expects of a cell."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from nested_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_nested import NestedCell

BATCH, TIME, I1, I2, I3 = 3, 4, 2, 3, 5
UNITS = (4, 2, 3)
MASK = np.array([[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "vectors": rng.normal(size=(BATCH, TIME, I1)),
        "matrices": rng.normal(size=(BATCH, TIME, I2, I3)),
        "state_1": rng.normal(size=(BATCH, UNITS[0])),
        "state_2_3": rng.normal(size=(BATCH, *UNITS[1:])),
    }


def numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def layer_and_weights(**options: Any) -> tuple[kcells.RNN, dict[str, np.ndarray]]:
    layer = kcells.build("nested", *UNITS, kernel_initializer="random_normal", **options)
    layer.build([(BATCH, TIME, I1), (BATCH, TIME, I2, I3)])
    cell = layer.cell
    return layer, {"kernel_1": numpy(cell.kernel_1), "kernel_2_3": numpy(cell.kernel_2_3)}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("policy", ["float32", "float64"])
def test_outputs_and_states_are_those_of_numpy(rng, request, policy, masked):
    if policy == "float64":
        request.getfixturevalue("float64")
    tolerance = {"float32": 1e-5, "float64": 1e-10}[policy]
    given = arrays(rng)
    layer, weights = layer_and_weights(return_sequences=True, return_state=True)
    mask = MASK if masked else None
    (out_1, out_2), state_1, state_2 = layer(
        [given["vectors"], given["matrices"]],
        initial_state=[given["state_1"], given["state_2_3"]],
        mask=None if mask is None else ops.convert_to_tensor(mask),
    )
    wanted = run(**given, **weights, mask=mask)
    for got, want in zip((out_1, out_2, state_1, state_2), wanted, strict=True):
        np.testing.assert_allclose(numpy(got), want, rtol=tolerance, atol=tolerance)


def test_gradients_are_those_of_finite_differences(rng, float64, gradients, finite_differences):
    given = arrays(rng)
    layer, weights = layer_and_weights(return_sequences=True, return_state=True)
    shapes = [(BATCH, TIME, 4), (BATCH, TIME, 2, 3), (BATCH, 4), (BATCH, 2, 3)]
    factors = [rng.normal(size=shape) for shape in shapes]

    def loss(tensors: list[Any]) -> Any:
        vectors, matrices, state_1, state_2_3 = tensors
        (out_1, out_2), end_1, end_2 = layer(
            [vectors, matrices],
            initial_state=[state_1, state_2_3],
            mask=ops.convert_to_tensor(MASK),
        )
        results = (out_1, out_2, end_1, end_2)
        return sum(
            ops.sum(r * ops.convert_to_tensor(f)) for r, f in zip(results, factors, strict=True)
        )

    cell = layer.cell
    by_weight, by_array = gradients(loss, [cell.kernel_1, cell.kernel_2_3], list(given.values()))

    def numpy_loss() -> float:
        results = run(**given, **weights, mask=MASK)
        return float(sum((r * f).sum() for r, f in zip(results, factors, strict=True)))

    # NumPy views of backend tensors may be read-only.
    weights.update({key: value.copy() for key, value in weights.items()})
    for got, array in zip(by_weight, weights.values(), strict=True):
        np.testing.assert_allclose(got, finite_differences(numpy_loss, array), atol=1e-7)
    for got, array in zip(by_array, given.values(), strict=True):
        np.testing.assert_allclose(got, finite_differences(numpy_loss, array), atol=1e-7)


@pytest.mark.parametrize("swapped", [False, True])
def test_outputs_come_in_the_container_of_the_inputs(rng, swapped):
    given = arrays(rng)
    vector, matrix = given["vectors"], given["matrices"]
    layer = kcells.build("nested", *UNITS)
    pair = (matrix, vector) if swapped else (vector, matrix)
    shapes = [(BATCH, 2, 3), (BATCH, 4)] if swapped else [(BATCH, 4), (BATCH, 2, 3)]
    as_list = layer(list(pair))
    as_tuple = kcells.RNN(layer.cell)(pair)
    as_dict = kcells.RNN(layer.cell)({"b": pair[0], "a": pair[1]})
    assert isinstance(as_list, list)
    assert isinstance(as_tuple, tuple)
    assert set(as_dict) == {"a", "b"}
    for result in (as_list, as_tuple, [as_dict["b"], as_dict["a"]]):
        assert [tuple(leaf.shape) for leaf in result] == shapes
        np.testing.assert_array_equal(numpy(result[0]), numpy(as_list[0]))


@pytest.mark.parametrize("training", [False, True])
def test_the_step_law(rng, training):
    given = arrays(rng)
    cell = NestedCell(*UNITS, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell.build([(BATCH, I1), (BATCH, I2, I3)])
    cell.input_dropout.draw(BATCH)
    cell.state_dropout.draw(BATCH)
    inputs = [ops.cast(given[key], "float32") for key in ("vectors", "matrices")]
    states = [ops.cast(given[key], "float32") for key in ("state_1", "state_2_3")]
    now = [x[:, 0] for x in inputs]
    direct = cell(now, states, training=training)
    split = cell.step(cell.project_inputs(now, training=training), states, training=training)
    time_first = [ops.swapaxes(x, 0, 1) for x in inputs]
    projected = cell.project_inputs(time_first, training=training)
    hoisted = cell.step([p[0] for p in projected], states, training=training)
    for other in (split, hoisted):
        for got, want in zip(keras.tree.flatten(other), keras.tree.flatten(direct), strict=True):
            np.testing.assert_allclose(numpy(got), numpy(want), rtol=1e-6)


def test_dropout_drops_the_same_inputs_at_every_step(rng):
    layer = kcells.build("nested", *UNITS, dropout=0.5, seed=3, return_sequences=True)
    ones = [np.ones((BATCH, TIME, I1)), np.ones((BATCH, TIME, I2, I3))]
    out_1, out_2 = layer(ones, training=True)
    for output in (numpy(out_1), numpy(out_2)):
        np.testing.assert_allclose(output, np.repeat(output[:, :1], TIME, axis=1), rtol=1e-6)
    inference = [numpy(leaf) for leaf in layer(ones)]
    assert not np.allclose(numpy(out_1), inference[0])
    np.testing.assert_array_equal(inference[0], numpy(layer(ones)[0]))
    again = layer(ones, training=True)
    assert not np.allclose(numpy(again[1]), numpy(out_2))


def test_recurrent_dropout_zeroes_states(rng):
    layer = kcells.build("nested", *UNITS, recurrent_dropout=0.5, seed=3, return_state=True)
    nothing = [np.zeros((BATCH, 1, I1)), np.zeros((BATCH, 1, I2, I3))]
    ones = [np.ones((BATCH, 4), "float32"), np.ones((BATCH, 2, 3), "float32")]
    _, state_1, state_2 = layer(nothing, initial_state=ones, training=True)
    values = set(np.concatenate([numpy(state_1).ravel(), numpy(state_2).ravel()]))
    assert values == {0.0, 2.0}


def test_initializer_regularizer_and_constraint_take_effect():
    layer = kcells.build(
        "nested",
        *UNITS,
        kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint=keras.constraints.MaxNorm(0.1),
    )
    layer.build([(BATCH, TIME, I1), (BATCH, TIME, I2, I3)])
    cell = layer.cell
    assert (numpy(cell.kernel_1) == 1).all()
    assert (numpy(cell.kernel_2_3) == 1).all()
    count = I1 * 4 + I2 * I3 * 6
    assert float(numpy(sum(layer.losses))) == pytest.approx(0.5 * count)
    assert isinstance(cell.kernel_1.constraint, keras.constraints.MaxNorm)
    assert isinstance(cell.kernel_2_3.constraint, keras.constraints.MaxNorm)


def test_configuration_round_trip():
    cell = NestedCell(
        1,
        2,
        3,
        kernel_initializer=keras.initializers.Constant(0.5),
        kernel_regularizer="l2",
        kernel_constraint="non_neg",
        dropout=0.1,
        recurrent_dropout=0.2,
        seed=5,
        name="cell",
    )
    copied = NestedCell.from_config(cell.get_config())
    assert copied.get_config() == cell.get_config()
    registered = keras.saving.get_registered_name(NestedCell)
    assert registered == "kcells-plugin-nested>NestedCell"


@pytest.mark.parametrize("units", [(0, 1, 1), (1, -1, 1), (1, 1, 2.5), (True, 1, 1)])
def test_units_that_are_no_sizes(units):
    with pytest.raises(ConfigurationError, match=r"unit_\d must be a positive int"):
        NestedCell(*units)


@pytest.mark.parametrize(
    "shapes",
    [[(2, 3, 4)], [(2, 3, 4), (2, 3, 4)], [(2, 3, 4, 5), (2, 3, 4, 5)], [(2, 3, 4)] * 3],
)
def test_inputs_that_are_not_a_vector_and_a_matrix(shapes):
    layer = kcells.build("nested", *UNITS)
    with pytest.raises(StructureError, match=r"a vector .* and a matrix"):
        layer([np.ones(shape, "float32") for shape in shapes])


def test_mixed_precision_keeps_its_dtypes(rng):
    given = arrays(rng)
    layer = kcells.build("nested", *UNITS, return_state=True, dtype="mixed_bfloat16")
    outputs, *states = layer([given["vectors"], given["matrices"]])
    for leaf in (*outputs, *states):
        assert keras.backend.standardize_dtype(leaf.dtype) == "bfloat16"
    assert layer.cell.kernel_1.dtype == "float32"


def test_it_trains_and_is_saved(rng, tmp_path):
    given = arrays(rng)
    inputs = {"v": keras.Input((None, I1), name="v"), "m": keras.Input((None, I2, I3), name="m")}
    outputs = kcells.Bidirectional(kcells.build("nested", *UNITS))(inputs)
    model = keras.Model(inputs, [outputs["v"], keras.layers.Flatten()(outputs["m"])])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    data = {"v": given["vectors"], "m": given["matrices"]}
    targets = [np.ones((BATCH, 8)), np.zeros((BATCH, 12))]
    history = model.fit(data, targets, epochs=20, verbose=0)
    assert history.history["loss"][-1] < 0.7 * history.history["loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = kcells.load_model(tmp_path / "model.keras")
    for got, want in zip(
        loaded.predict(data, verbose=0), model.predict(data, verbose=0), strict=True
    ):
        np.testing.assert_array_equal(got, want)
