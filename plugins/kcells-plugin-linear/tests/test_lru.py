"""The linear recurrent unit against its NumPy reference, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from lru_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import LRUCell

# Units, complex numbers in the state and features all differ, but where D is diagonal.
BATCH, TIME, FEATURES, UNITS, SIZE = 4, 5, 2, 3, 4

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [{}, {"feedthrough": None}, {"feedthrough": "diagonal", "units": FEATURES}]
WEIGHTS = {
    "kernel": {"kernel"},
    "output": {"output_kernel"},
    "feedthrough": {"feedthrough_kernel"},
}


def make_layer(rng, dtype="float32", units=UNITS, **options):
    """A layer with random weights; radii between 0.2 and 0.95, phases of either half."""
    cell = LRUCell(units, SIZE, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    cell.nu_log.assign(np.log(-np.log(rng.uniform(0.2, 0.95, SIZE))))
    cell.theta_log.assign(np.log(rng.uniform(0.1, 6.2, SIZE)))
    return layer


def built(units=UNITS, features=FEATURES, **arguments):
    cell = LRUCell(units, **arguments)
    cell.build((None, features))
    return cell


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def weight_values(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, "float64", **options)
    assert len(layer.weights) == (5 if options == {"feedthrough": None} else 6)
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    compare(layer, sequences, functools.partial(run, mask=MASK), MASK)


def test_half_precision_is_near(rng):
    layer, half = make_layer(rng), make_layer(rng, "mixed_bfloat16")
    half.set_weights(layer.get_weights())
    sequences = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    expected, actual = (
        as_numpy(keras.ops.cast(one(sequences)[0], "float32")) for one in (layer, half)
    )
    # bfloat16 has 8 bits: 2**-8 is 0.004, a few times in five steps.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.03 * np.abs(expected).max())


def test_weights_of_half_precision_start_finite():
    cell = built(state_units=500, dtype="float16", r_min=0.99)
    assert all(np.isfinite(value).all() for value in weight_values(cell).values())


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


# -- Arguments


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


def test_the_rate_must_be_in_range():
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        LRUCell(UNITS, dropout=1.0)


@pytest.mark.parametrize("inputs", [{"a": np.ones((2, 4, 3))}, np.ones((2, 4, 3, 3))])
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"LRUCell: .* one tensor of \(batch, features\)"):
        kcells.build("lru", UNITS)(inputs)


def test_a_diagonal_must_fit():
    with pytest.raises(StructureError, match="received 2 features and units=3"):
        built(feedthrough="diagonal")
