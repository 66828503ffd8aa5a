"""The phased LSTM against its NumPy reference, its time gate, and its arguments."""

import functools

import keras
import numpy as np
import phased_lstm_reference as reference
import pytest
from classic_cells import BATCH, FEATURES, MASK, TIME, UNITS, as_numpy, assert_near

import kcells
from kcells.errors import ConfigurationError, StructureError

SHAPE = {"features": (BATCH, TIME, FEATURES), "time": (BATCH, TIME, 1)}


def make_layer(rng, dtype="float32", **options):
    """A layer with random weights, whose units are open about half of the time."""
    cell = kcells.cell("phased_lstm", UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build(SHAPE)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    layer.cell.periods.assign(rng.uniform(1.0, 4.0, UNITS))
    layer.cell.ratios.assign(rng.uniform(0.4, 0.8, UNITS))
    return layer


def events(rng, dtype="float32"):
    stamps = rng.uniform(0.2, 1.5, SHAPE["time"]).cumsum(axis=1)
    return {
        "features": rng.normal(size=SHAPE["features"]).astype(dtype),
        "time": stamps.astype(dtype),
    }


def built(**arguments):
    cell = kcells.cell("phased_lstm", UNITS, **arguments)
    cell.build({"features": (None, FEATURES), "time": (None, 1)})
    return cell


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", [{}, {"peepholes": False, "leak": 0.2}, {"use_bias": False}])
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, "float64", **options)
    run = functools.partial(reference.run, options.get("leak", 0.001), MASK)
    compare(layer, events(rng, "float64"), run, MASK)


def test_the_time_gate_is_a_triangle():
    """Period 10, shift 2, open for 4: from 2 to 6, with the peak at 4."""
    cell = built()
    cell.periods.assign(np.full(UNITS, 10.0))
    cell.shifts.assign(np.full(UNITS, 2.0))
    cell.ratios.assign(np.full(UNITS, 0.4))
    times = np.array([2.0, 3.0, 4.0, 5.0, 7.0, 12.0, 13.0, 1.0, -7.0], "float32")[:, None]
    inputs = {"features": np.zeros((9, FEATURES), "float32"), "time": times}
    found = as_numpy(cell.project_inputs(inputs)["open"])
    expected = [0.0, 0.5, 1.0, 0.5, 0.0005, 0.0, 0.5, 0.0009, 0.5]
    np.testing.assert_allclose(found, np.repeat(expected, UNITS).reshape(9, UNITS), atol=1e-6)


# -- Limits


def test_what_is_shut_keeps_its_states(rng):
    layer = make_layer(rng, leak=0.0)
    layer.cell.shifts.assign(np.zeros(UNITS))
    layer.cell.periods.assign(np.full(UNITS, 1e3))
    layer.cell.ratios.assign(np.full(UNITS, 1e-4))
    states = [rng.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(2)]
    outputs, *last = layer(events(rng), initial_state=states)
    assert_near([outputs[:, 0], *last], [states[0], *states], 0.0)


def test_what_is_open_is_an_lstm_with_peepholes(rng):
    """At the peak of the gate, where every event is."""
    layer, inputs = make_layer(rng), events(rng)
    layer.cell.periods.assign(np.full(UNITS, 2.0))
    layer.cell.shifts.assign(np.zeros(UNITS))
    layer.cell.ratios.assign(np.ones(UNITS))
    inputs["time"] = np.broadcast_to(2.0 * np.arange(TIME)[:, None] + 1.0, SHAPE["time"])
    lstm = kcells.RNN(
        kcells.cell("lstmp", UNITS, forget_bias=0), return_sequences=True, return_state=True
    )
    lstm.build(SHAPE["features"])
    lstm.set_weights([as_numpy(weight) for weight in layer.weights[:4]])
    assert_near(layer(inputs), lstm(inputs["features"]))


def test_dropout_leaves_the_time_alone(rng):
    layer = make_layer(rng, dropout=0.5, seed=1)
    inputs = {name: keras.ops.convert_to_tensor(leaf) for name, leaf in events(rng).items()}
    projected = layer.cell.project_inputs(inputs, training=True)
    quiet = layer.cell.project_inputs(inputs)
    assert np.abs(as_numpy(projected["products"]) - as_numpy(quiet["products"])).max() > 0.01
    np.testing.assert_array_equal(as_numpy(projected["open"]), as_numpy(quiet["open"]))


# -- How the rhythm starts


def test_periods_and_shifts_start_all_over_the_range():
    cell = kcells.cell("phased_lstm", 2000, shortest_period=2.0, longest_period=200.0)
    cell.build({"features": (None, 2), "time": (None, 1)})
    periods, shifts = as_numpy(cell.periods), as_numpy(cell.shifts)
    shares = np.log(periods / 2.0) / np.log(100.0)
    # 2000 uniform numbers: the standard error of a mean is 0.0065, of a correlation 0.022.
    for uniform in (shares, shifts / periods):
        assert uniform.min() >= -1e-6
        assert uniform.max() <= 1 + 1e-6
        assert abs(uniform.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(shares, shifts / periods)[0, 1]) < 0.1
    np.testing.assert_allclose(as_numpy(cell.ratios), 0.05, rtol=1e-6)


# -- Arguments


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, float("nan")])
def test_the_open_ratio_must_be_in_range(ratio):
    with pytest.raises(ConfigurationError, match="open_ratio must be above 0 and at most 1; rec"):
        kcells.cell("phased_lstm", UNITS, open_ratio=ratio)


@pytest.mark.parametrize("periods", [(0.0, 1.0), (3.0, 2.0), (1.0, float("nan"))])
def test_the_periods_must_be_in_range(periods):
    shortest, longest = periods
    with pytest.raises(ConfigurationError, match="0 < shortest_period <= longest_period; received"):
        kcells.cell("phased_lstm", UNITS, shortest_period=shortest, longest_period=longest)


@pytest.mark.parametrize(
    "inputs",
    [
        np.ones((2, 5, 3), "float32"),
        {"features": np.ones((2, 5, 3), "float32")},
        {"features": np.ones((2, 5, 3), "float32"), "time": np.ones((2, 5, 2), "float32")},
    ],
)
def test_inputs_must_be_features_and_time(inputs):
    with pytest.raises(StructureError, match=r'must be \{"features": \(batch, features\), "time"'):
        kcells.RNN(kcells.cell("phased_lstm", UNITS))(inputs)


def test_one_time_is_for_all_units(rng):
    """As many times as units would be a time for each."""
    inputs = events(rng)
    inputs["time"] = np.repeat(inputs["time"], UNITS, axis=-1)
    with pytest.raises(StructureError, match=f'"time" must be .*; received {UNITS}'):
        make_layer(rng)(inputs)
