"""How weights start, what is dropped, and what is refused."""

import numpy as np
import pytest
from gated_checks import (
    BATCH,
    FEATURES,
    TIME,
    UNITS,
    as_numpy,
    assert_close,
    built,
    make_layer,
    weights_of,
)

import kcells
from kcells.errors import ConfigurationError

# -- How weights start


@pytest.mark.parametrize("name", ["antisymmetric_rnn", "gated_antisymmetric_rnn"])
def test_antisymmetric_weights_start_with_a_variance_of_one_over_the_inputs(name):
    cell = built(name, 300, features=200)
    assert abs(as_numpy(cell.kernel).std() * 200**0.5 - 1.0) < 0.02
    assert abs(as_numpy(cell.recurrent_kernel).std() * 300**0.5 - 1.0) < 0.02


def test_bistable_units_start_at_one():
    assert (as_numpy(built("br").recurrent_kernel) == 1.0).all()


def test_a_chaos_free_network_starts_to_keep():
    assert as_numpy(built("cfn").bias).tolist() == [1.0] * UNITS + [-1.0] * UNITS
    bias = built("cfn", forget_bias=0.0, input_bias=2.0, bias_initializer="ones").bias
    assert as_numpy(bias).tolist() == [1.0] * UNITS + [3.0] * UNITS


@pytest.mark.parametrize("name", ["mclstm", "wmclstm", "res_lstm"])
def test_forget_gates_start_open(name):
    bias = np.split(as_numpy(built(name).bias), 5 if name == "mclstm" else 4)
    assert [block.tolist() for block in bias[:3]] == [[0.0] * 3, [1.0] * 3, [0.0] * 3]
    assert not as_numpy(built(name, unit_forget_bias=False).bias).any()


def test_star_starts_with_memories_of_all_lengths():
    """`-log(u)`, with `u` uniform from 1 to `max_time - 1`; the candidate as it is told."""
    bias = as_numpy(built("star", 4000, max_time=101.0, recurrent_initializer="zeros").bias)
    times = np.exp(-bias[4000:])
    assert not bias[:4000].any()
    assert times.min() >= 1.0 - 1e-5
    assert times.max() <= 100.0 + 1e-3
    # Of 4000 draws the standard error of the mean is 0.45.
    assert abs(times.mean() - 50.5) < 2.0
    assert not as_numpy(built("star").bias).any()


def test_blocks_are_drawn_one_by_one():
    """With the variance that the rows of one block ask for, and no block like another."""
    kernel = as_numpy(built("block_gru", 256, blocks=4, hidden_units=8).recurrent_kernel_gates)
    assert kernel.shape == (4, 64, 192)
    assert abs(kernel.std() * 8.0 - 1.0) < 0.02
    assert len({block.tobytes() for block in kernel}) == 4


def test_a_piecewise_linear_rnn_starts_to_leak():
    assert (as_numpy(built("plrnn").diagonal) == 0.5).all()
    assert (as_numpy(built("plrnn", diagonal_initializer="ones").diagonal) == 1.0).all()


# -- What they compute


def test_a_chaos_free_network_without_inputs_dies_away():
    layer = kcells.build("cfn", 8, return_sequences=True)
    start = 3.0 * np.ones((1, 8), "float32")
    outputs = as_numpy(layer(np.zeros((1, 400, 2), "float32"), initial_state=start))
    assert np.abs(outputs[0, -1]).max() < 1e-3


def test_a_bistable_unit_stays_on_either_side():
    """With `a` at two and little of what is new, a state of either sign is kept without inputs."""
    layer = kcells.build("br", 1, kernel_initializer="zeros", recurrent_initializer="zeros")
    layer.build((2, 200, 1))
    layer.cell.bias.assign([1.0, 20.0])
    start = np.array([[0.5], [-0.5]], "float32")
    last = as_numpy(layer(np.zeros((2, 200, 1), "float32"), initial_state=start))
    # The stable states are where h = tanh(2 h).
    np.testing.assert_allclose(last[:, 0], [0.9575, -0.9575], atol=1e-3)


def test_an_antisymmetric_rnn_turns_its_state():
    """Small states and no diffusion: a rotation, whose length stays."""
    layer = kcells.build("antisymmetric_rnn", 2, epsilon=0.01, gamma=0.0, return_sequences=True)
    layer.build((1, 100, 1))
    layer.cell.kernel.assign(np.zeros((1, 2)))
    layer.cell.recurrent_kernel.assign([[0.0, 1.0], [0.0, 0.0]])
    start = np.array([[1e-3, 0.0]], "float32")
    last = as_numpy(layer(np.zeros((1, 100, 1), "float32"), initial_state=start))[0, -1]
    np.testing.assert_allclose(last, 1e-3 * np.array([np.cos(1.0), np.sin(1.0)]), rtol=0.01)


def test_the_functions_of_1997(rng):
    """Between -2 and 2, and between -1 and 1; their names survive a round trip."""
    cell = built("original_lstm")
    a = rng.normal(size=(3, 4)).astype("float32")
    half = 1.0 / (1.0 + np.exp(-a.astype("float64")))
    assert_close(cell.activation(a), 4.0 * half - 2.0)
    assert_close(cell.output_activation(a), 2.0 * half - 1.0)
    config = cell.get_config()
    assert (config["activation"], config["output_activation"]) == ("wide", "narrow")
    other = built("original_lstm", activation="relu").get_config()
    assert (other["activation"], other["output_activation"]) == ("relu", "narrow")


def test_a_strongly_typed_rnn_runs_all_steps_at_once():
    assert kcells.explain(kcells.build("trnn", 4)).path == "parallel"


def test_a_delayed_state_comes_back_after_as_many_steps():
    """Nothing but the delayed candidate moves `h`: it stays where it was until it sees itself."""
    layer = kcells.build("tau_gru", 1, delay=3, beta=0.0, return_sequences=True)
    layer.build((1, 8, 1))
    for weight in layer.cell.weights:
        weight.assign(np.zeros(weight.shape))
    layer.cell.recurrent_kernel_delayed.assign([[1.0]])
    # The gate is open, so that h is half of the candidate: a is 1/2.
    layer.cell.bias.assign([0.0, 50.0, 0.0, 0.0])
    start = [np.ones((1, 1), "float32"), np.zeros((1, 3, 1), "float32")]
    outputs = as_numpy(layer(np.zeros((1, 8, 1), "float32"), initial_state=start))[0, :, 0]
    once, twice = 0.5 * np.tanh(1.0), 0.5 * np.tanh(0.5 * np.tanh(1.0))
    np.testing.assert_allclose(outputs, [0, 0, 0, once, 0, 0, 0, twice], atol=1e-6)


def test_a_lipschitz_rnn_without_its_linear_part_is_antisymmetric(rng):
    """With `beta=1`, but for the diffusion of the linear part."""
    layer = make_layer(rng, "lipschitz_rnn", epsilon=0.3, beta=1.0, gamma=0.2)
    other = make_layer(rng, "antisymmetric_rnn", epsilon=0.3, gamma=0.2)
    kernel, recurrent, linear, bias = weights_of(layer).values()
    layer.set_weights([kernel, recurrent, np.zeros_like(linear), bias])
    other.set_weights([kernel, recurrent, bias])
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    # The diffusion of the linear part is left: epsilon * gamma is 0.06.
    h, expected = np.zeros((BATCH, UNITS)), []
    for t in range(TIME):
        h = as_numpy(other(x[:, t : t + 1], initial_state=h.astype("float32"))[1]) - 0.06 * h
        expected.append(h)
    assert_close(layer(x)[0], np.stack(expected, axis=1))


def test_a_shuffling_rnn_moves_each_entry_on_by_one():
    layer = kcells.build("srnn", 4, hidden_units=2, return_sequences=True)
    layer.build((1, 5, 1))
    layer.cell.kernel.assign(np.zeros((2, 4)))
    start = np.array([[1.0, 2.0, 3.0, 4.0]], "float32")
    outputs = as_numpy(layer(np.ones((1, 5, 1), "float32"), initial_state=start))[0]
    expected = [[4, 1, 2, 3], [3, 4, 1, 2], [2, 3, 4, 1], [1, 2, 3, 4], [4, 1, 2, 3]]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_a_clipped_piecewise_linear_rnn_stays_bounded(rng):
    layer = make_layer(rng, "plrnn", hidden_units=6, clipped=True)
    layer.cell.diagonal.assign(np.full(UNITS, 0.9))
    outputs = as_numpy(layer(np.zeros((1, 300, FEATURES), "float32"))[0])
    w = weights_of(layer)
    reach = np.abs(w["bias_hidden"]) @ np.abs(w["recurrent_kernel"]) + np.abs(w["bias"])
    assert (np.abs(outputs) <= reach / 0.1 + 1e-4).all()


# -- What is refused

REFUSED = [
    ("scrn", {"context_units": 0}, "SCRNCell: context_units must be a positive int; received 0"),
    ("tau_gru", {"delay": 0}, "TauGRUCell: delay must be a positive int; received 0"),
    ("plrnn", {"hidden_units": 0}, "PLRNNCell: hidden_units must be a positive int; received 0"),
    ("plrnn", {"clipped": True}, "clipped=True needs hidden_units, a positive int; received"),
    ("srnn", {"hidden_units": 0}, "SRNNCell: hidden_units must be a positive int; received 0"),
    ("srnn", {"hidden_layers": 0}, "SRNNCell: hidden_layers must be a positive int; received 0"),
    ("block_gru", {"blocks": 2}, "blocks must divide units; received blocks=2, units=3"),
    ("block_gru", {"blocks": 0}, "BlockGRUCell: blocks must be a positive int; received 0"),
    ("block_gru", {"blocks": 1, "layers": 0}, "layers must be a positive int; received 0"),
    ("block_gru", {"blocks": 1, "hidden_units": 0}, "hidden_units must be a positive int; rec"),
    ("star", {"max_time": 1.5}, "max_time must be None, or a number of at least 2"),
    ("star", {"max_time": 9, "use_bias": False}, "received max_time=9, use_bias=False"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED, ids=str)
def test_arguments_out_of_range(name, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        kcells.cell(name, UNITS, **arguments)
