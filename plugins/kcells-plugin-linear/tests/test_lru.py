"""The linear recurrent unit against its NumPy reference, and each of its arguments."""

import doctest
import inspect
import json

import keras
import lru_reference
import numpy as np
import pytest
from comparison import (
    MASK,
    as_numpy,
    assert_close,
    check_layer,
    check_reference,
    weight_values,
)
from laws import check_linear_law, check_loads_in_a_fresh_process
from lru_reference import forward

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import LRUCell, lru

# Units, complex numbers in the state and features all differ, but where D is diagonal.
BATCH, TIME, FEATURES, UNITS, SIZE = 4, 5, 2, 3, 4
OPTIONS = [{}, {"feedthrough": None}, {"feedthrough": "diagonal", "units": FEATURES}]

MATRICES = {
    "kernel": "kernel",
    "output": "output_kernel",
    "feedthrough": "feedthrough_kernel",
}

EVERY_ARGUMENT = {
    "units": FEATURES,
    "state_units": SIZE,
    "r_min": 0.4,
    "r_max": 0.9,
    "max_phase": 0.3,
    "feedthrough": "diagonal",
    "kernel_initializer": keras.initializers.RandomUniform(-0.1, 0.1, seed=1),
    "output_initializer": keras.initializers.RandomNormal(0.0, 0.1, seed=2),
    "feedthrough_initializer": keras.initializers.Constant(0.5),
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "output_regularizer": keras.regularizers.L1(0.2),
    "feedthrough_regularizer": keras.regularizers.L2(0.3),
    "kernel_constraint": keras.constraints.MaxNorm(1.0),
    "output_constraint": keras.constraints.NonNeg(),
    "feedthrough_constraint": keras.constraints.MaxNorm(3.0),
    "dropout": 0.1,
    "seed": 7,
}


def make_layer(rng, dtype="float32", rnn=None, units=UNITS, **options):
    """A layer with random weights; radii between 0.2 and 0.95, phases of either half."""
    rnn = {"return_sequences": True, "return_state": True} | (rnn or {})
    cell = LRUCell(units, SIZE, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, **rnn)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    cell.nu_log.assign(np.log(-np.log(rng.uniform(0.2, 0.95, SIZE))))
    cell.theta_log.assign(np.log(rng.uniform(0.1, 6.2, SIZE)))
    return layer


def make_inputs(rng, dtype="float64"):
    shapes = [(BATCH, TIME, FEATURES), (BATCH, SIZE, 2)]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def built(units=UNITS, features=FEATURES, **arguments):
    cell = LRUCell(units, **arguments)
    cell.build((None, features))
    return cell


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_outputs_states_and_gradients(options, mask, go_backwards, rng, gradients):
    layer = make_layer(rng, "float64", rnn={"go_backwards": go_backwards}, **options)
    assert len(layer.weights) == (5 if options == {"feedthrough": None} else 6)
    check_layer(layer, lru_reference, make_inputs(rng), mask, 1e-10, gradients, rng)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_in_single_precision(options, rng, gradients):
    layer = make_layer(rng, **options)
    check_layer(layer, lru_reference, make_inputs(rng, "float32"), MASK, 1e-5, gradients, rng)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_gradients_of_the_reference(options, rng, finite_differences):
    weights = weight_values(make_layer(rng, **options))
    check_reference(lru_reference, weights, make_inputs(rng), MASK, finite_differences, rng)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_last_output_and_default_initial_state(mask, rng):
    layer = make_layer(rng, rnn={"return_sequences": False})
    sequences = make_inputs(rng, "float32")[0]
    zeros = np.zeros((BATCH, SIZE, 2))
    outputs, x, _ = forward(weight_values(layer), sequences.astype("float64"), zeros, mask)
    for actual, wanted in zip(layer(sequences, mask=mask), [outputs[:, -1], x], strict=True):
        assert_close(actual, wanted, 1e-5)


@pytest.mark.parametrize("length", [1, 2, 37])
def test_other_lengths(length, rng):
    layer = make_layer(rng)
    sequences = rng.normal(size=(2, length, FEATURES))
    state = rng.normal(size=(2, SIZE, 2))
    expected = forward(weight_values(layer), sequences, state)[:2]
    actual = layer(sequences.astype("float32"), initial_state=state.astype("float32"))
    for result, wanted in zip(actual, expected, strict=True):
        assert_close(result, wanted, 1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_linear_law(options, training, rng):
    cell = make_layer(rng, dropout=0.4, seed=3, **options).cell
    check_linear_law(cell, *make_inputs(rng, "float32"), training=training)


def test_a_rotation():
    """A quarter turn a step, from 1: the real parts of i^t, and of -i * i^t."""
    layer = kcells.RNN(LRUCell(1, feedthrough=None), return_sequences=True, return_state=True)
    layer.build((1, 6, 1))
    values = [[-40.0], [np.log(np.pi / 2)], [0.0], [[0.0, 0.0]], [[1.0], [0.0]]]
    layer.set_weights([np.array(value) for value in values])
    one = np.array([[[1.0, 0.0]]], "float32")
    outputs, state = layer(np.ones((1, 6, 1), "float32"), initial_state=one)
    np.testing.assert_allclose(as_numpy(outputs)[0, :, 0], [0, -1, 0, 1, 0, -1], atol=1e-5)
    np.testing.assert_allclose(as_numpy(state), [[[-1.0, 0.0]]], atol=1e-5)
    layer.cell.output_kernel.assign([[0.0], [-1.0]])
    outputs, _ = layer(np.ones((1, 6, 1), "float32"), initial_state=one)
    np.testing.assert_allclose(as_numpy(outputs)[0, :, 0], [1, 0, -1, 0, 1, 0], atol=1e-5)


# -- How the weights start


@pytest.mark.parametrize("ring", [(0.0, 1.0), (0.4, 0.8), (0.999, 1.0), (0.9, 0.9)])
@pytest.mark.parametrize("max_phase", [6.28, 0.1])
def test_lambda_starts_on_a_ring(ring, max_phase):
    size = 2000
    cell = built(state_units=size, r_min=ring[0], r_max=ring[1], max_phase=max_phase, seed=5)
    values = weight_values(cell)
    assert all(np.isfinite(value).all() for value in values.values())
    radii, phases = np.exp(-np.exp(values["nu_log"])), np.exp(values["theta_log"])
    assert radii.min() >= ring[0] - 1e-6
    assert radii.max() <= min(ring[1] + 1e-6, 1.0)
    assert phases.min() >= 0.0
    assert phases.max() <= max_phase * (1 + 1e-6)
    gamma = np.exp(values["gamma_log"])
    # With nu: near a radius of 1, 1 - radius**2 has lost its digits.
    expected = np.sqrt(-np.expm1(-2.0 * np.exp(values["nu_log"])))
    np.testing.assert_allclose(gamma, expected, rtol=1e-4)
    # 2000 uniform numbers: the standard error of a mean is 0.0065, of a correlation 0.022.
    shares = phases / max_phase
    assert abs(shares.mean() - 0.5) < 0.03
    if ring[0] < ring[1]:
        areas = (radii**2 - ring[0] ** 2) / (ring[1] ** 2 - ring[0] ** 2)
        assert abs(areas.mean() - 0.5) < 0.03
        assert abs(np.corrcoef(areas, shares)[0, 1]) < 0.1


def test_gamma_gives_the_state_the_scale_of_its_input(rng):
    """Section 3.4: under white noise, E|x|^2 is E|Bu|^2 whatever the radius."""
    size = 200
    options = {"state_units": size, "r_min": 0.5, "r_max": 0.95, "seed": 1}
    layer = kcells.RNN(LRUCell(1, **options), return_state=True)
    noise = rng.normal(size=(50, 400, 3)).astype("float32")
    state = as_numpy(layer(noise)[1])
    kernel = as_numpy(layer.cell.kernel)
    driven = (kernel**2).sum(axis=0)
    ratios = (state**2).sum(axis=-1).mean(axis=0) / (driven[:size] + driven[size:])
    assert abs(ratios.mean() - 1.0) < 0.1
    inner, outer = np.array_split(ratios[np.argsort(as_numpy(layer.cell.nu_log))], 2)
    assert abs(inner.mean() / outer.mean() - 1.0) < 0.15


def test_the_matrices_start_as_in_the_paper():
    features, size = 30, 200
    options = {"features": features, "state_units": size}
    cell = built(units=features, feedthrough="diagonal", **options)
    b, c = as_numpy(cell.kernel), as_numpy(cell.output_kernel)
    for block in np.split(b, 2, axis=1):
        assert abs(block.std() * np.sqrt(2 * features) - 1.0) < 0.05
    for block in np.split(c, 2, axis=0):
        assert abs(block.std() * np.sqrt(size) - 1.0) < 0.05
    for matrix, axis in ((b, 1), (c, 0)):
        first, second = np.split(matrix, 2, axis=axis)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert np.abs(b).max() > 3.0 / np.sqrt(2 * features), "the distribution is cut off"
    # The standard deviation of 30 numbers has a standard error of 0.13.
    assert abs(as_numpy(cell.feedthrough_kernel).std() - 1.0) < 0.5
    matrix = as_numpy(built(units=400, **options).feedthrough_kernel)
    assert abs(matrix.std() * np.sqrt(features) - 1.0) < 0.05


def test_the_seed_is_for_lambda():
    same, again, other, free, free_again = (
        as_numpy(built(state_units=50, seed=seed).theta_log) for seed in (1, 1, 2, None, None)
    )
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)
    assert not np.array_equal(free, free_again)


def test_state_units_are_units_by_default():
    cell = LRUCell(5)
    assert (cell.state_units, cell.state_size, cell.output_size) == (5, [(5, 2)], 5)


# -- Dropout. With Lambda = 0, gamma = 1 and B, C the identity, the output is the input.


def run_transparent(size=24, batch=40, time=3, feedthrough=None, **options):
    cell = LRUCell(size, feedthrough=feedthrough, **options)
    layer = kcells.RNN(cell, return_sequences=True)
    layer.build((None, None, size))
    identity, zeros = np.eye(size), np.zeros((size, size))
    cell.nu_log.assign(np.full(size, 5.0))
    cell.gamma_log.assign(np.zeros(size))
    cell.kernel.assign(np.hstack([identity, zeros]))
    cell.output_kernel.assign(np.vstack([identity, zeros]))
    if feedthrough:
        cell.feedthrough_kernel.assign(identity)
    return as_numpy(layer(np.ones((batch, time, size), "float32"), training=True))


@pytest.mark.parametrize("feedthrough", [None, "matrix"])
def test_dropout(feedthrough):
    outputs = run_transparent(dropout=0.25, feedthrough=feedthrough)
    kept = outputs != 0.0
    np.testing.assert_allclose(outputs[kept], (2 if feedthrough else 1) / 0.75, rtol=1e-6)
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    # 960 draws: the standard error of the mean is 0.014.
    assert abs(kept[:, 0].mean() - 0.75) < 0.07


def test_seed():
    first, same, other = (run_transparent(dropout=0.5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_dropout_is_off_at_inference(rng):
    layer, without = make_layer(rng, dropout=0.5), make_layer(rng)
    without.set_weights(layer.get_weights())
    sequences, state = make_inputs(rng, "float32")
    for actual, wanted in zip(
        layer(sequences, initial_state=state), without(sequences, initial_state=state), strict=True
    ):
        np.testing.assert_array_equal(as_numpy(actual), as_numpy(wanted))


# -- Arguments


@pytest.mark.parametrize("part", MATRICES)
def test_initializers(part):
    cell = built(**{f"{part}_initializer": keras.initializers.Constant(0.25)})
    for name, value in weight_values(cell).items():
        assert (value == 0.25).all() == (name == MATRICES[part])


@pytest.mark.parametrize("part", MATRICES)
def test_regularizers(part):
    cell = built(**{f"{part}_regularizer": keras.regularizers.L2(0.5)})
    for weight in cell.weights:
        weight.assign(keras.ops.ones(weight.shape))
    expected = 0.5 * weight_values(cell)[MATRICES[part]].size
    np.testing.assert_allclose(as_numpy(sum(cell.losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("part", MATRICES)
def test_constraints(part):
    cell = built(**{f"{part}_constraint": keras.constraints.NonNeg()})
    for weight in cell.weights:
        weight.assign(-keras.ops.ones(weight.shape))
    zeros = [keras.ops.zeros(weight.shape) for weight in cell.weights]
    keras.optimizers.SGD(1.0).apply(zeros, cell.weights)
    for name, value in weight_values(cell).items():
        assert (value == 0.0).all() == (name == MATRICES[part])


def test_every_argument_is_in_the_configuration():
    parameters = set(inspect.signature(LRUCell.__init__).parameters)
    assert parameters - {"self", "kwargs"} == set(EVERY_ARGUMENT)
    config = LRUCell(name="cell", **EVERY_ARGUMENT).get_config()
    defaults = LRUCell(FEATURES).get_config()
    same = {name for name in EVERY_ARGUMENT if config[name] == defaults[name]}
    assert same == {"units"}
    for original in (config, defaults):
        restored = LRUCell.from_config(json.loads(json.dumps(original)))
        assert restored.get_config() == original
        assert restored.name == original["name"]


def test_restored_cells_start_alike():
    cell = LRUCell(**EVERY_ARGUMENT)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert type(restored) is LRUCell
    for one in (cell, restored):
        one.build((None, FEATURES))
    for first, second in zip(cell.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="LRUCell: units must be a positive int; received"):
        LRUCell(units)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
def test_state_units_must_be_a_positive_int(size):
    with pytest.raises(ConfigurationError, match="state_units must be a positive int; received"):
        LRUCell(UNITS, size)


@pytest.mark.parametrize("ring", [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1), (float("nan"), 1.0)])
def test_radii_must_be_in_range(ring):
    with pytest.raises(ConfigurationError, match="must be 0 <= r_min <= r_max <= 1; received r_m"):
        LRUCell(UNITS, r_min=ring[0], r_max=ring[1])


@pytest.mark.parametrize("max_phase", [0.0, -1.0, float("nan"), float("inf")])
def test_max_phase_must_be_positive(max_phase):
    with pytest.raises(ConfigurationError, match="max_phase must be a positive float; received"):
        LRUCell(UNITS, max_phase=max_phase)


@pytest.mark.parametrize("argument", ["r_min", "r_max", "max_phase"])
@pytest.mark.parametrize("value", ["wide", None, True])
def test_numbers_must_be_numbers(argument, value):
    with pytest.raises(ConfigurationError, match=f"LRUCell: {argument} must be a float; received"):
        LRUCell(UNITS, **{argument: value})


@pytest.mark.parametrize("feedthrough", ["full", True, ""])
def test_feedthrough_is_one_of_three(feedthrough):
    with pytest.raises(ConfigurationError, match='must be "matrix", "diagonal" or None; received'):
        LRUCell(UNITS, feedthrough=feedthrough)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_the_rate_must_be_in_range(rate):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        LRUCell(UNITS, dropout=rate)


@pytest.mark.parametrize(
    "inputs", [{"a": np.ones((2, 4, 3), "float32")}, np.ones((2, 4, 3, 3), "float32")]
)
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"LRUCell: .* one tensor of \(batch, features\)"):
        kcells.RNN(LRUCell(UNITS))(inputs)


def test_a_diagonal_must_fit():
    with pytest.raises(StructureError, match="received 2 features and units=3"):
        built(feedthrough="diagonal")


# -- In layers, models and files


def test_by_name(rng):
    layer = kcells.build("lru", UNITS, state_units=SIZE, return_sequences=True)
    assert type(layer.cell) is LRUCell
    assert layer.cell.is_linear
    assert kcells.describe("lru").qualified_id == "kcells-plugin-linear:lru"
    sequences = make_inputs(rng)[0]
    outputs = layer(sequences.astype("float32"))
    wanted = forward(weight_values(layer), sequences, np.zeros((BATCH, SIZE, 2)))[0]
    assert_close(outputs, wanted, 1e-5)


def test_in_both_directions(rng):
    layer = kcells.Bidirectional(kcells.RNN(LRUCell(UNITS, SIZE)))
    sequences, zeros = make_inputs(rng)[0], np.zeros((BATCH, SIZE, 2))
    outputs = layer(sequences.astype("float32"), mask=MASK)
    both = [
        forward(weight_values(one), sequences, zeros, MASK, one.go_backwards)[0][:, -1]
        for one in (layer.forward_layer, layer.backward_layer)
    ]
    assert_close(outputs, np.concatenate(both, axis=-1), 1e-5)


def test_in_a_stack(rng):
    cells = [LRUCell(UNITS, SIZE), LRUCell(5, SIZE)]
    sequences, zeros = make_inputs(rng)[0], np.zeros((BATCH, SIZE, 2))
    outputs = kcells.RNN(cells, return_sequences=True)(sequences.astype("float32"))
    lower = forward(weight_values(cells[0]), sequences, zeros)[0]
    wanted = forward(weight_values(cells[1]), lower, zeros)[0]
    assert_close(outputs, wanted, 1e-5)


def test_training_lowers_the_loss(rng):
    x = rng.normal(size=(64, TIME, FEATURES)).astype("float32")
    y = (x[..., :1].sum(axis=1) > 0).astype("float32")
    cell = LRUCell(8, dropout=0.05, seed=1)
    layers = [kcells.RNN(cell), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((None, FEATURES)), *layers])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    first = model.evaluate(x, y, batch_size=64, verbose=0)
    before = {name: value for name, value in weight_values(cell).items() if "_log" in name}
    model.fit(x, y, batch_size=32, epochs=10, verbose=0)
    assert model.evaluate(x, y, batch_size=64, verbose=0) < 0.6 * first
    for name, value in weight_values(cell).items():
        assert np.isfinite(value).all()
        if name in before:
            assert not np.allclose(value, before[name]), f"{name} is not trained"


def test_save_and_load(rng, tmp_path):
    cell = LRUCell(FEATURES, SIZE, feedthrough="diagonal", dropout=0.2, kernel_regularizer="l2")
    layer = kcells.RNN(cell, return_sequences=True)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1].cell) is LRUCell
    sequences = make_inputs(rng, "float32")[0]
    np.testing.assert_array_equal(
        model.predict(sequences, verbose=0), loaded.predict(sequences, verbose=0)
    )


def test_a_fresh_process_loads_a_saved_model(rng, tmp_path):
    cells = [LRUCell(UNITS, SIZE, r_min=0.5), LRUCell(UNITS, feedthrough=None)]
    check_loads_in_a_fresh_process(cells, make_inputs(rng, "float32")[0], tmp_path)


@pytest.mark.parametrize(
    ("policy", "variables", "results"),
    [("float64", "float64", "float64"), ("mixed_bfloat16", "float32", "bfloat16")],
)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_dtype_policies(policy, variables, results, options, rng):
    layer = make_layer(rng, policy, dropout=0.1, **options)
    sequences = make_inputs(rng, variables)[0]
    for training in (False, True):
        for result in layer(sequences, training=training):
            assert keras.backend.standardize_dtype(result.dtype) == results
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {variables}


def test_half_precision_is_near(rng):
    layer = make_layer(rng, "mixed_bfloat16")
    sequences, state = make_inputs(rng)
    outputs, _ = layer(sequences.astype("float32"), initial_state=state.astype("float32"))
    wanted = forward(weight_values(layer), sequences, state)[0]
    # bfloat16 has 8 bits: 2**-8 is 0.004, a few times in five steps.
    assert_close(keras.ops.cast(outputs, "float32"), wanted, 0.03)


def test_weights_of_half_precision_start_finite():
    cell = built(state_units=500, dtype="float16", r_min=0.99)
    assert all(np.isfinite(value).all() for value in weight_values(cell).values())


def test_docstring():
    failures, examples = doctest.testmod(lru)
    assert examples > 0
    assert failures == 0
