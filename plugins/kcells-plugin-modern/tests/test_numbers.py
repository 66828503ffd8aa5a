"""Each cell against its equations in NumPy: outputs, states and gradients, under a mask."""

import functools

import numpy as np
import pytest
from modern_checks import BATCH, FEATURES, MASK, TIME, UNITS, as_numpy, make_layer, weights_of
from modern_reference import STEPS, lmu_matrices, run, slstm_unstable

CFC = {
    "backbone_units": 4,
    "backbone_layers": 2,
    "backbone_activation": "tanh",
    "activation": "linear",
}
# Arguments of the cell, where they differ those of the reference, and how many weights there are.
CASES = [
    ("mgu", {}, None, 3),
    ("mgu", {"use_bias": False}, {}, 2),
    ("janet", {}, None, 3),
    ("janet", {"beta": 0.4, "max_time": 9}, {"beta": 0.4}, 3),
    ("li_gru", {}, None, 3),
    ("li_gru", {"activation": "tanh"}, {"activation": np.tanh}, 3),
    ("fast_rnn", {}, None, 5),
    ("fast_grnn", {}, None, 5),
    ("fast_grnn", {"kernel_rank": 1, "recurrent_rank": 2}, {}, 7),
    ("fast_grnn", {"recurrent_rank": 2, "use_bias": False}, {}, 5),
    ("lem", {}, None, 4),
    ("lem", {"dt": 0.3}, None, 4),
    ("cornn", {}, None, 3),
    ("cornn", {"dt": 0.3, "gamma": 0.8, "epsilon": 1.5}, None, 3),
    ("cornn", {"dt": 0.3, "implicit": True}, None, 3),
    ("rhn", {}, None, 7),
    ("rhn", {"depth": 2, "coupled": False}, None, 5),
    ("rhn", {"depth": 2, "use_bias": False}, {"depth": 2}, 3),
    ("slstm", {}, None, 3),
    ("slstm", {"forget_gate": "exponential"}, {"exponential": True}, 3),
    ("slstm", {"units": 4, "heads": 2}, {}, 3),
    ("on_lstm", {}, None, 3),
    ("on_lstm", {"units": 6, "chunk_size": 2}, {"chunk_size": 2}, 3),
    ("nested_lstm", {}, None, 6),
    ("nested_lstm", {"candidate_activation": "tanh"}, {"candidate_activation": np.tanh}, 6),
    ("nested_lstm", {"forget_bias": 0.0}, {"forget_bias": 0.0}, 6),
    ("unicornn", {}, None, 4),
    ("unicornn", {"dt": 0.9, "alpha": 0.4}, None, 4),
    ("lmu", {"order": 4, "theta": 6.0}, {"matrices": lmu_matrices(4, 6.0)}, 6),
    ("lmu", {"order": 2, "theta": 3, "use_bias": True}, {"matrices": lmu_matrices(2, 3.0)}, 7),
    ("cfc", {"backbone_units": 4}, {}, 5),
    ("cfc", {"backbone_units": 4, "timed": True}, {"timed": True}, 5),
    ("cfc", CFC, {"layers": 2, "backbone": np.tanh, "head": lambda a: a}, 7),
]


class Positive:
    """Random numbers above zero: a normalizer is, and near a division by zero nothing is exact."""

    def __init__(self, rng):
        self.rng = rng

    def normal(self, size):
        return np.exp(0.5 * self.rng.normal(size=size))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "options", "of_reference", "count"),
    CASES,
    ids=[f"{case[0]}-{case[1]}" for case in CASES],  # The rest holds functions, at addresses.
)
def test_outputs_states_and_gradients(name, options, of_reference, count, rng, compare):
    layer = make_layer(rng, name, dtype="float64", **options)
    assert len(layer.weights) == count
    of_reference = options if of_reference is None else of_reference
    reference = functools.partial(run, STEPS[name], mask=MASK, **of_reference)
    if name == "slstm":
        compare = functools.partial(compare.func, Positive(rng))
    compare(layer, rng.normal(size=(BATCH, TIME, FEATURES)), reference, MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_the_stabilizer_changes_no_output(forget_gate, rng):
    """From zero, the sLSTM is what it is without `m`; `c` and `n` are, but for a factor."""
    layer = make_layer(rng, "slstm", dtype="float64", forget_gate=forget_gate)
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    outputs, h, c, n, m = map(as_numpy, layer(sequences))
    zeros = [np.zeros((BATCH, UNITS))] * 3
    exponential = forget_gate == "exponential"
    step = functools.partial(slstm_unstable, exponential=exponential)
    expected = run(step, weights_of(layer), sequences, *zeros)
    for actual, other in zip((outputs, h, c * np.exp(m), n * np.exp(m)), expected, strict=True):
        np.testing.assert_allclose(actual, other, rtol=1e-10)


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
@pytest.mark.parametrize("scale", [-300.0, 300.0])
def test_exponentials_do_not_overflow(scale, forget_gate, rng):
    layer = make_layer(rng, "slstm", forget_gate=forget_gate)
    bias = np.zeros(4 * UNITS)
    bias[UNITS : 2 * UNITS] = scale
    layer.cell.bias.assign(bias)
    for result in layer(rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32"), mask=MASK):
        assert np.isfinite(as_numpy(result)).all()
