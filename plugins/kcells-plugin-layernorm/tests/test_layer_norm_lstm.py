"""The layer-normalized LSTM against its NumPy reference, and each of its arguments."""

import functools

import numpy as np
import pytest
from ln_helpers import FEATURES, MASK, UNITS, as_numpy, make_layer, make_sequences
from ln_lstm_reference import run

from kcells.errors import ConfigurationError
from kcells_plugin_layernorm import LayerNormLSTMCell

OPTIONS = [
    {"normalize": "paper"},
    {"normalize": "gates"},
    {"normalize": "paper", "use_bias": False, "epsilon": 0.3},
    {"normalize": "gates", "use_bias": False, "epsilon": 0.3},
]
WEIGHTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel"},
    "bias": {"bias", "state_bias"},
    "gamma": {"gamma", "state_gamma"},
}


def built(**arguments):
    cell = LayerNormLSTMCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, LayerNormLSTMCell, **options)
    assert len(layer.weights) == (4 if "use_bias" in options else 6)
    of_equations = {"normalize": options["normalize"], "epsilon": layer.cell.epsilon}
    reference = functools.partial(run, mask=MASK, **of_equations)
    compare(layer, make_sequences(rng), reference, MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel"])
def test_what_scales_do_not_count(name, rng):
    """The paper's norms forget the scale of either matrix, the gates' that of a gate in both."""
    for normalize, others in (("paper", []), ("gates", ["kernel", "recurrent_kernel"])):
        layer = make_layer(rng, LayerNormLSTMCell, normalize=normalize, epsilon=1e-14)
        sequences = make_sequences(rng)
        before = as_numpy(layer(sequences)[0])
        scale = np.repeat([5.0, 0.2, 3.0, 1.0] if others else [5.0], UNITS if others else 4 * UNITS)
        for each in others or [name]:
            weight = getattr(layer.cell, each)
            weight.assign(as_numpy(weight) * scale)
        np.testing.assert_allclose(as_numpy(layer(sequences)[0]), before, rtol=0, atol=1e-9)
        getattr(layer.cell, name).assign(as_numpy(getattr(layer.cell, name)) * np.arange(1, 13))
        assert np.abs(as_numpy(layer(sequences)[0]) - before).max() > 1e-2


def test_the_cell_is_kept_as_it_was_or_normalized(rng):
    """With gain 1 and shift 0, a normalized `c` has mean 0."""
    sequences = make_sequences(rng, "float32")
    for normalize, is_kept in (("paper", True), ("gates", False)):
        layer = make_layer(rng, LayerNormLSTMCell, "float32", normalize=normalize)
        layer.cell.state_gamma.assign(np.ones(UNITS))
        layer.cell.state_bias.assign(np.zeros(UNITS))
        means = as_numpy(layer(sequences)[2]).mean(axis=-1)
        assert (np.abs(means).max() > 1e-2) == is_kept


@pytest.mark.parametrize("forget", [False, True])
def test_the_norms_start_as_in_the_paper(forget):
    cell = built(unit_forget_bias=forget)
    np.testing.assert_array_equal(as_numpy(cell.gamma), np.ones((2, 4 * UNITS)))
    np.testing.assert_array_equal(as_numpy(cell.state_gamma), np.ones(UNITS))
    np.testing.assert_array_equal(as_numpy(cell.state_bias), np.zeros(UNITS))
    np.testing.assert_array_equal(as_numpy(cell.bias), np.repeat([0, int(forget), 0, 0], UNITS))


@pytest.mark.parametrize("normalize", ["all", True, ""])
def test_normalize_is_one_of_three(normalize):
    with pytest.raises(ConfigurationError, match='must be "paper", "gates" or None; received'):
        LayerNormLSTMCell(UNITS, normalize=normalize)


@pytest.mark.parametrize("epsilon", [0.0, -1e-3, float("nan"), "small", None])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="LSTMCell: epsilon must be a positive float; rec"):
        LayerNormLSTMCell(UNITS, epsilon=epsilon)
