"""The LTC against NumPy, ncps, the equation that it solves, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from ltc_reference import derivative, run
from modern_checks import (
    BATCH,
    FEATURES,
    MASK,
    TIME,
    UNITS,
    as_numpy,
    assert_close,
    built,
    make_layer,
    weights_of,
)

import kcells
from kcells.errors import ConfigurationError, StructureError

POSITIVE = ("kernel", "recurrent_kernel", "capacitance", "leak")
NCPS = {
    "gleak": "leak",
    "vleak": "rest",
    "cm": "capacitance",
    "w": "recurrent_kernel",
    "sigma": "sigma",
    "mu": "mu",
    "erev": "reversal",
    "sensory_w": "kernel",
    "sensory_sigma": "sigma_inputs",
    "sensory_mu": "mu_inputs",
    "sensory_erev": "reversal_inputs",
    "input_w": "input_scale",
    "input_b": "bias",
    "output_w": "output_scale",
    "output_b": "bias_output",
}
"""Our names of what ncps has."""


def make_ltc(rng, **options):
    """A layer with random weights; what is divided by is well above zero."""
    layer = make_layer(rng, "ltc", **options)
    for weight in layer.weights:
        if weight.name in POSITIVE:
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    return layer


def make_sequences(rng, timed=False, dtype="float64"):
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    if timed:
        sequences[..., -1] = rng.uniform(0.2, 2.0, (BATCH, TIME))
    return sequences.astype(dtype)


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("options", "of_reference", "count"),
    [
        ({}, {}, 13),
        ({"ode_unfolds": 2, "epsilon": 0.3}, {"unfolds": 2, "epsilon": 0.3}, 13),
        ({"output_mapping": True}, {}, 15),
        ({"output_mapping": True, "use_bias": False}, {}, 13),
        ({"input_mapping": False, "timed": True}, {"timed": True}, 11),
    ],
    ids=["default", "few parts", "output", "no bias", "timed"],
)
def test_outputs_states_and_gradients(options, of_reference, count, rng, compare):
    layer = make_ltc(rng, dtype="float64", **options)
    assert len(layer.weights) == count
    reference = functools.partial(run, mask=MASK, **of_reference)
    compare(layer, make_sequences(rng, options.get("timed", False)), reference, MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("parts", [50, 200])
def test_many_parts_solve_the_equation(parts, rng):
    """The method is of the first order: the error falls as the number of parts grows."""
    layer = make_ltc(rng, dtype="float64", timed=True, ode_unfolds=parts, input_mapping=False)
    w, sequences = weights_of(layer), make_sequences(rng, timed=True)[:, :1]
    start = rng.normal(size=(BATCH, UNITS))
    x, v, h = sequences[:, 0, :-1], start, sequences[:, 0, -1:] / 2000
    for _ in range(2000):
        # The midpoint rule.
        v = v + h * derivative(w, x, v + h / 2 * derivative(w, x, v))
    error = np.abs(as_numpy(layer(sequences, initial_state=start)[1]) - v).max()
    assert 1e-6 < error < 2.0 / parts


@pytest.mark.usefixtures("float64")
def test_without_synapses_a_neuron_leaks(rng):
    """Each part multiplies the distance from rest by the same number."""
    layer = make_ltc(rng, dtype="float64", timed=True, epsilon=0.0)
    for weight in (layer.cell.kernel, layer.cell.recurrent_kernel):
        weight.assign(np.zeros(weight.shape))
    w, sequences = weights_of(layer), make_sequences(rng, timed=True)[:, :1]
    start = rng.normal(size=(BATCH, UNITS))
    shrunk = 1.0 / (1.0 + sequences[:, 0, -1:] / 6 * w["leak"] / w["capacitance"])
    expected = w["rest"] + (start - w["rest"]) * shrunk**6
    actual = as_numpy(layer(sequences, initial_state=start)[1])
    np.testing.assert_allclose(actual, expected)


def test_no_time_changes_nothing(rng):
    layer = make_ltc(rng, timed=True)
    sequences = make_sequences(rng, timed=True, dtype="float32")
    sequences[..., -1] = 0.0
    start = rng.normal(size=(BATCH, UNITS)).astype("float32")
    assert_close(layer(sequences, initial_state=start)[1], start, 1e-6)


def test_the_state_stays_between_its_potentials(rng):
    """The theorem of the paper: whatever the inputs are, from 0 no state leaves their range."""
    layer = make_ltc(rng)
    w = weights_of(layer)
    potentials = np.vstack([w["rest"], w["reversal"], w["reversal_inputs"]])
    low, high = (edge(np.vstack([potentials, 0 * w["rest"]]), axis=0) for edge in (np.min, np.max))
    outputs = as_numpy(layer(1e3 * make_sequences(rng, dtype="float32"))[0])
    assert (outputs >= low - 1e-5).all()
    assert (outputs <= high + 1e-5).all()


# -- ncps


def full_wiring():
    return pytest.importorskip("ncps.wirings").FullyConnected(UNITS)


@pytest.mark.parametrize("unfolds", [1, 6])
def test_ltc_of_ncps_in_keras(unfolds, rng):
    theirs = pytest.importorskip("ncps.keras").LTCCell
    cell = theirs(full_wiring(), ode_unfolds=unfolds)
    cell.build((None, FEATURES))
    layer = make_ltc(rng, output_mapping=True, ode_unfolds=unfolds)
    w = weights_of(layer)
    for weight in cell.weights:
        weight.assign(w.pop(NCPS[weight.name]))
    assert not w
    sequences = make_sequences(rng, dtype="float32")
    start = rng.normal(size=(BATCH, UNITS)).astype("float32")
    state, expected = keras.ops.convert_to_tensor(start), []
    for t in range(TIME):
        output, (state,) = cell(keras.ops.convert_to_tensor(sequences[:, t]), [state])
        expected.append(as_numpy(output))
    outputs, last = layer(sequences, initial_state=start)
    assert_close(outputs, np.stack(expected, axis=1))
    assert_close(last, state)


@pytest.mark.parametrize("timed", [True, False])
def test_ltc_of_ncps_in_torch(timed, rng, backend):
    """Theirs for Keras cannot take a time."""
    if backend != "torch":
        pytest.skip("this cell needs PyTorch")
    import torch

    features, wiring = FEATURES - timed, full_wiring()
    wiring.build(features)
    cell = pytest.importorskip("ncps.torch").LTCCell(wiring)
    layer = make_ltc(rng, timed=timed, output_mapping=True)
    w = weights_of(layer)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if name in NCPS:
                parameter.copy_(torch.from_numpy(w.pop(NCPS[name])))
    assert not w
    sequences = make_sequences(rng, timed, "float32")
    start = rng.normal(size=(BATCH, UNITS)).astype("float32")
    state, expected = torch.from_numpy(start), []
    for t in range(TIME):
        x = torch.from_numpy(sequences[:, t])
        time = x[:, features:] if timed else 1.0
        output, state = cell(x[:, :features], state, time)
        expected.append(as_numpy(output))
    assert_close(layer(sequences, initial_state=start)[0], np.stack(expected, axis=1))


# -- How the weights start, and what is asked of them


def test_weights_start_as_in_ncps():
    cell = built("ltc", 60, features=60, output_mapping=True)
    values = {weight.name: as_numpy(weight) for weight in cell.weights}
    ranges = {
        "kernel": (0.001, 1.0),
        "recurrent_kernel": (0.001, 1.0),
        **dict.fromkeys(("mu", "mu_inputs"), (0.3, 0.8)),
        **dict.fromkeys(("sigma", "sigma_inputs"), (3.0, 8.0)),
        "capacitance": (0.4, 0.6),
        "leak": (0.001, 1.0),
        "rest": (-0.2, 0.2),
    }
    for name, (low, high) in ranges.items():
        value, near = values.pop(name), (high - low) / (4 if name in ("capacitance", "leak") else 8)
        assert low <= value.min() < low + near, name
        assert high - near < value.max() <= high, name
    for name in ("reversal", "reversal_inputs"):
        value = values.pop(name)
        assert set(value.ravel()) == {-1.0, 1.0}
        # 3600 draws: the standard error of the mean is 0.016.
        assert abs(value.mean() - 1 / 3) < 0.07
    for name, value in values.items():
        assert (value == (1.0 if name.endswith("scale") else 0.0)).all(), name


def test_what_must_not_be_negative():
    constrained = {weight.name for weight in built("ltc").weights if weight.constraint is not None}
    assert constrained == set(POSITIVE)


def test_dropout_of_the_state_is_for_what_synapses_see(rng):
    """At a rate near 1 all senders look as if they were at 0."""
    layer = make_ltc(rng, recurrent_dropout=1.0 - 1e-9, ode_unfolds=1)
    sequences = make_sequences(rng, dtype="float32")[:, :1]
    usual, dropped = (
        layer(sequences, initial_state=np.ones((BATCH, UNITS), "float32"), training=training)[0]
        for training in (False, True)
    )
    assert np.abs(as_numpy(dropped) - as_numpy(usual)).max() > 1e-3
    # With mu = 0 a neuron at 0 opens its synapses half, and with sigma = 0 so does any other.
    layer.cell.of_state[0].assign(np.zeros((UNITS, UNITS)))
    closed = layer(sequences, initial_state=np.ones((BATCH, UNITS), "float32"), training=True)[0]
    layer.cell.of_state[1].assign(np.zeros((UNITS, UNITS)))
    flat = layer(sequences, initial_state=np.ones((BATCH, UNITS), "float32"))[0]
    assert_close(closed, flat)


# -- What is refused

REFUSED = [
    ({"units": 0}, "LTCCell: units must be a positive int; received 0"),
    ({"ode_unfolds": 0}, "LTCCell: ode_unfolds must be a positive int; received 0"),
    ({"ode_unfolds": 1.5}, "LTCCell: ode_unfolds must be a positive int; received 1.5"),
    ({"epsilon": -1.0}, "LTCCell: epsilon must be a float of at least 0; received -1.0"),
    ({"epsilon": float("nan")}, "LTCCell: epsilon must be a float of at least 0; received nan"),
    ({"epsilon": None}, "LTCCell: epsilon must be a float of at least 0; received None"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        kcells.cell("ltc", **{"units": UNITS, **arguments})


def test_inputs_must_fit():
    with pytest.raises(StructureError, match=r"LTCCell: .* one tensor of \(batch, features\)"):
        kcells.build("ltc", UNITS)(np.ones((2, 4, 3, 3), "float32"))
    with pytest.raises(StructureError, match="at least one more feature; received 1 feature"):
        built("ltc", features=1, timed=True)


@pytest.mark.parametrize(
    ("timed", "built_for", "found", "message"),
    [
        (False, 4, 1, "have 1 features, but the cell was built for 4; pass as many, or make anot"),
        (False, 1, 4, "have 4 features, but the cell was built for 1; pass"),
        (True, 4, 2, "have 2 features, but the cell was built for 4, the last of them a time; pas"),
        (True, 2, 4, "have 4 features, but the cell was built for 2, the last of them a time; pas"),
    ],
)
def test_features_are_those_it_was_built_for(timed, built_for, found, message):
    """No matrix would notice: one feature is multiplied with the weights of each."""
    layer = kcells.build("ltc", UNITS, timed=timed)
    layer(np.ones((2, TIME, built_for), "float32"))
    with pytest.raises(StructureError, match=f"LTCCell: the inputs {message}"):
        layer(np.ones((2, TIME, found), "float32"))
