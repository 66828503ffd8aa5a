"""The echo state network: against NumPy and Keras, its reservoir, and that nothing is trained."""

import functools

import keras
import numpy as np
import pytest
from modern_checks import (
    BATCH,
    FEATURES,
    MASK,
    TIME,
    UNITS,
    as_numpy,
    assert_close,
    built,
    make_inputs,
    make_layer,
)

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_modern import ESNCell


def radius(matrix):
    return np.abs(np.linalg.eigvals(as_numpy(matrix))).max()


reservoir = functools.partial(built, "esn", 40)


# -- The numbers


class TrainedESNCell(ESNCell):
    """The same equations, with weights that have gradients."""

    add_weight = kcells.StandardCell.add_weight


def run(weights, sequences, h, *, leaky, activation):
    """Jaeger 2001, section 1.1, with the leak of the discrete form."""
    output, outputs = np.zeros_like(h), []
    for t in range(TIME):
        sums = sequences[:, t] @ weights["kernel"] + h @ weights["recurrent_kernel"]
        new = (1.0 - leaky) * h + leaky * activation(sums + weights.get("bias", 0.0))
        valid = MASK[:, t, None]
        output, h = np.where(valid, new, output), np.where(valid, new, h)
        outputs.append(output)
    return np.stack(outputs, axis=1), h


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("options", "leaky", "activation"),
    [
        ({}, 1.0, np.tanh),
        ({"leaky": 0.3}, 0.3, np.tanh),
        ({"use_bias": False, "activation": "linear"}, 1.0, lambda a: a),
    ],
    ids=["default", "leaky", "linear"],
)
def test_outputs_states_and_gradients(options, leaky, activation, rng, compare):
    cell = TrainedESNCell(UNITS, dtype="float64", **options)
    layer = kcells.RNN(cell, dtype="float64", return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    program = functools.partial(run, leaky=leaky, activation=activation)
    compare(layer, make_inputs(rng, "float64"), program, MASK)


def test_without_a_leak_it_is_a_simple_rnn(rng):
    layer = make_layer(rng, "esn")
    simple = keras.layers.SimpleRNN(UNITS, return_sequences=True, return_state=True)
    x = make_inputs(rng)
    simple.build(x.shape)
    weights = {weight.name: weight for weight in layer.weights}
    for weight in simple.weights:
        weight.assign(weights[weight.name])
    for actual, expected in zip(layer(x), simple(x), strict=True):
        assert_close(actual, expected)


# -- The reservoir


@pytest.mark.parametrize("value", [0.3, 0.9, 1.4])
@pytest.mark.parametrize("connectivity", [0.1, 1.0])
def test_the_spectral_radius(value, connectivity):
    cell = reservoir(spectral_radius=value, connectivity=connectivity)
    assert abs(radius(cell.recurrent_kernel) - value) < 1e-5


def test_the_norm_bounds_the_spectral_radius():
    matrix = as_numpy(reservoir(spectral_radius=0.7, use_norm2=True).recurrent_kernel)
    assert abs(np.linalg.norm(matrix) - 0.7) < 1e-5
    assert radius(matrix) < 0.7


@pytest.mark.parametrize("connectivity", [0.1, 0.5, 1.0])
def test_how_many_entries_are_kept(connectivity):
    """Of 1600; three times the standard error is at most 0.038."""
    matrix = as_numpy(reservoir(connectivity=connectivity).recurrent_kernel)
    assert abs((matrix != 0.0).mean() - connectivity) < 0.04


def test_what_has_no_cycle_stays_as_it_was_drawn():
    above = np.triu(np.ones((40, 40), "float32"), 1)

    def triangle(shape, dtype=None):
        return keras.ops.convert_to_tensor(above, dtype=dtype)

    cell = reservoir(recurrent_initializer=triangle, connectivity=1.0)
    np.testing.assert_array_equal(as_numpy(cell.recurrent_kernel), above)


def test_it_forgets_where_it_started(rng):
    """The echo state property: under the same inputs, states come together."""
    layer = kcells.build("esn", 40, spectral_radius=0.6, seed=2, return_sequences=True)
    x = rng.normal(size=(1, 80, FEATURES)).astype("float32")
    starts = [rng.normal(size=(1, 40)).astype("float32") for _ in range(2)]
    one, other = (as_numpy(layer(x, initial_state=start)) for start in starts)
    apart = np.abs(one - other).max(axis=(0, 2))
    assert apart[0] > 0.1
    assert apart[-1] < 1e-5


# -- Seeds


def weights_of(**options):
    options = {"bias_initializer": "random_normal", **options}
    return {weight.name: as_numpy(weight) for weight in reservoir(**options).weights}


def test_one_seed_is_one_reservoir():
    first, again, other = (weights_of(seed=seed) for seed in (5, 5, 6))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert np.abs(value - other[name]).max() > 0.01, name


def test_without_a_seed_each_has_its_own():
    first, other = weights_of(), weights_of()
    for name, value in first.items():
        assert np.abs(value - other[name]).max() > 0.01, name


def test_a_seed_of_an_initializer_is_left_alone():
    given = keras.initializers.RandomNormal(seed=3)
    first, other = (weights_of(seed=seed, kernel_initializer=given) for seed in (5, 6))
    np.testing.assert_array_equal(first["kernel"], other["kernel"])
    np.testing.assert_array_equal(weights_of(seed=5, kernel_initializer="ones")["kernel"], 1.0)


@pytest.mark.parametrize("part", ["kernel", "recurrent"])
def test_no_initializer_is_that_of_keras(part):
    """Which is Glorot's, with the seed of the cell."""
    none, named = (
        weights_of(seed=5, **{f"{part}_initializer": value}) for value in (None, "glorot_uniform")
    )
    for name, value in none.items():
        np.testing.assert_array_equal(value, named[name])


# -- Nothing is trained


def test_the_layers_after_it_learn(rng):
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), kcells.build("esn", 20), keras.layers.Dense(1)]
    )
    assert len(model.trainable_weights) == 2
    before = model.layers[0].get_weights()
    model.compile("adam", "mse")
    loss = model.fit(make_inputs(rng), np.ones((BATCH, 1)), epochs=5, verbose=0).history["loss"]
    assert loss[-1] < loss[0]
    for value, kept in zip(model.layers[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_a_file_has_the_reservoir(rng, tmp_path):
    model = keras.Sequential([keras.Input((TIME, FEATURES)), kcells.build("esn", 20)])
    model.save(tmp_path / "model.keras")
    loaded, x = kcells.load_model(tmp_path / "model.keras"), make_inputs(rng)
    np.testing.assert_array_equal(as_numpy(model(x)), as_numpy(loaded(x)))
    assert not loaded.trainable_weights


def test_dropout_acts_in_training(rng):
    for argument in ("dropout", "recurrent_dropout"):
        layer = make_layer(rng, "esn", seed=3, **{argument: 0.5})
        x = make_inputs(rng)
        quiet, noisy = (as_numpy(layer(x, training=flag)[0]) for flag in (False, True))
        assert np.abs(quiet - noisy).max() > 1e-3, argument


# -- Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connectivity": 0.0}, "connectivity must be above 0 and at most 1; received 0.0"),
        ({"connectivity": 1.1}, "connectivity must be above 0 and at most 1; received 1.1"),
        ({"leaky": 0.0}, "leaky must be above 0 and at most 1; received 0.0"),
        ({"leaky": None}, "leaky must be above 0 and at most 1; received None"),
        ({"spectral_radius": "1"}, "spectral_radius must be a positive float; received '1'"),
        ({"leaky": 2}, "leaky must be above 0 and at most 1; received 2"),
        ({"spectral_radius": -1.0}, "spectral_radius must be a positive float; received -1.0"),
        ({"spectral_radius": float("nan")}, "spectral_radius must be a positive float; received n"),
        ({"spectral_radius": float("inf")}, "spectral_radius must be a positive float; received i"),
        ({"units": 0}, "units must be a positive int; received 0"),
    ],
    ids=str,
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigurationError, match=f"ESNCell: {message}"):
        kcells.cell("esn", **{"units": UNITS, **arguments})


def test_inputs_must_be_one_vector():
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build("esn", UNITS)(np.ones((2, TIME, 3, 3), "float32"))
