"""Each cell against its equations in NumPy: outputs, states and gradients, under a mask."""

import functools

import pytest
from gated_checks import BATCH, FEATURES, MASK, TIME, UNITS, make_layer
from gated_reference import STEPS, run
from numpy_parts import sigmoid

# PyTorch's gradient of a hard sigmoid has the precision of float32; test_libraries.py has that one.
SMOOTH = {"recurrent_activation": "sigmoid"}
MIRU = {"update_coefficient": 0.3, "reset_coefficient": 0.8}
LIPSCHITZ = {"epsilon": 0.7, "beta": 0.6, "gamma": 0.3}
CLIPPED = {"hidden_units": 4, "clipped": True}
TAU = {"dt": 0.8, "alpha": 0.6, "beta": 1.3}
# Arguments of the cell, those of the reference, and how many weights there are.
CASES = [
    ("antisymmetric_rnn", {"epsilon": 0.7, "gamma": 0.3}, {"epsilon": 0.7, "gamma": 0.3}, 3),
    ("gated_antisymmetric_rnn", {"epsilon": 0.7, "gamma": 0.3}, {"epsilon": 0.7, "gamma": 0.3}, 3),
    ("atr", {}, {}, 3),
    ("br", {}, {}, 3),
    ("nbr", {}, {}, 3),
    ("cfn", {}, {}, 3),
    ("light_ru", {}, {}, 3),
    ("minimal_rnn", {}, {}, 4),
    ("sgu", SMOOTH, {"gate": sigmoid}, 3),
    ("dsgu", SMOOTH, {"gate": sigmoid}, 4),
    ("mclstm", {}, {}, 3),
    ("wmclstm", {}, {}, 4),
    ("miru1", {"update_coefficient": 0.3}, {"update_coefficient": 0.3}, 3),
    ("miru2", MIRU, MIRU, 3),
    ("mut1", {}, {}, 3),
    ("mut1", {"features": 3}, {}, 3),
    ("mut2", {}, {}, 3),
    ("mut2", {"features": 3}, {}, 3),
    ("mut3", {}, {}, 3),
    ("original_lstm", {}, {}, 3),
    ("ran", {}, {}, 3),
    ("res_lstm", {}, {}, 6),
    ("res_lstm", {"features": 3}, {}, 5),
    ("scrn", {"context_units": 2, "alpha": 0.6}, {"alpha": 0.6}, 2),
    ("scrn", {"use_bias": True}, {}, 3),
    ("sgrn", {}, {}, 3),
    ("star", {}, {}, 3),
    ("trnn", {}, {}, 2),
    ("tgru", {}, {}, 3),
    ("tlstm", {}, {}, 3),
    ("tau_gru", {"delay": 2, **TAU}, TAU, 4),
    ("mgu1", {}, {}, 3),
    ("mgu2", {}, {}, 3),
    ("mgu3", {}, {}, 3),
    ("elstm", {}, {}, 4),
    ("lipschitz_rnn", LIPSCHITZ, LIPSCHITZ, 4),
    ("plrnn", {}, {}, 4),
    ("plrnn", {"hidden_units": 4}, {"step": "shallow_plrnn"}, 6),
    ("plrnn", CLIPPED, {"step": "shallow_plrnn", "clipped": True}, 6),
    ("srnn", {"hidden_units": 4, "hidden_layers": 2}, {}, 8),
    ("srnn", {"hidden_units": 4, "use_bias": False}, {}, 3),
    ("block_gru", {"units": 4, "blocks": 2, "hidden_units": 3, "layers": 2}, {}, 14),
    ("block_gru", {"units": 3, "blocks": 1, "use_bias": False}, {}, 7),
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "options", "constants", "count"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES]
)
def test_outputs_states_and_gradients(name, options, constants, count, rng, compare):
    options = {"units": UNITS, "features": FEATURES, **options}
    layer = make_layer(rng, name, dtype="float64", **options)
    assert len(layer.weights) == count
    step = STEPS[constants.get("step", name)]
    constants = {key: value for key, value in constants.items() if key != "step"}
    reference = functools.partial(run, step, mask=MASK, **constants)
    compare(layer, rng.normal(size=(BATCH, TIME, options["features"])), reference, MASK)
