"""Settings in which a cell is a simpler one, how weights start, and what is refused."""

import keras
import numpy as np
import pytest
from classic_cells import (
    BATCH,
    FEATURES,
    TIME,
    UNITS,
    as_numpy,
    assert_near,
    built,
    make_layer,
    units_of,
)

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_classic import MaxAbsolute

CELLS = [
    *("basic_rnn", "basic_lstm", "lstmp", "cifg_lstm", "glstm", "gru_v1", "gru_v3"),
    *("ugrnn", "intersection_rnn", "indrnn", "nas"),
]


def inputs(rng, features=FEATURES):
    return rng.normal(size=(BATCH, TIME, features)).astype("float32")


def assign(layer, **values):
    for weight in layer.weights:
        if weight.name in values:
            weight.assign(np.broadcast_to(values[weight.name], weight.shape))


# -- Limits


@pytest.mark.parametrize("cell", ["gru_v1", "gru_v3"])
def test_both_grus_are_one_without_reset(cell, rng):
    """With r = 1 the GRU is the UGRNN."""
    gru, ugrnn = make_layer(cell, rng), make_layer("ugrnn", rng, forget_bias=0.0)
    w = {weight.name: as_numpy(weight) for weight in ugrnn.weights}
    (w_c, w_g), (u_c, u_g), (b_c, b_g) = (
        np.split(w[name], 2, axis=-1) for name in ("kernel", "recurrent_kernel", "bias")
    )
    bias = np.concatenate([b_g, np.full(UNITS, 50.0), b_c])
    assign(
        gru,
        kernel=np.hstack([w_g, 0 * w_g, w_c]),
        recurrent_kernel=np.hstack([u_g, 0 * u_g, u_c]),
        bias=np.stack([bias, 0 * bias]) if cell == "gru_v1" else bias,
    )
    sequences = inputs(rng)
    assert_near(gru(sequences), ugrnn(sequences))


def test_the_grus_differ(rng):
    v1, v3 = make_layer("gru_v1", rng, use_bias=False), make_layer("gru_v3", rng, use_bias=False)
    v3.set_weights(v1.get_weights())
    sequences = inputs(rng)
    assert np.abs(as_numpy(v1(sequences)[0]) - as_numpy(v3(sequences)[0])).max() > 0.01


def test_an_open_update_gate_keeps_the_state_and_a_shut_one_is_a_simple_rnn(rng):
    sequences, states = inputs(rng), rng.normal(size=(BATCH, UNITS)).astype("float32")
    keeps = make_layer("ugrnn", rng, forget_bias=80.0)
    outputs, _ = keeps(sequences, initial_state=states)
    np.testing.assert_allclose(as_numpy(outputs[:, -1]), states, rtol=1e-6)
    forgets, simple = make_layer("ugrnn", rng, forget_bias=-80.0), make_layer("basic_rnn", rng)
    w = {weight.name: as_numpy(weight)[..., :UNITS] for weight in forgets.weights}
    assign(simple, **w)
    assert_near(forgets(sequences), simple(sequences))


def test_intersection_with_open_gates_lets_inputs_through_and_keeps_the_state(rng):
    layer, sequences = make_layer("intersection_rnn", rng, forget_bias=80.0), inputs(rng, UNITS)
    states = rng.normal(size=(BATCH, UNITS)).astype("float32")
    outputs, state = layer(sequences, initial_state=states)
    np.testing.assert_allclose(as_numpy(outputs), sequences, rtol=1e-6)
    np.testing.assert_allclose(as_numpy(state), states, rtol=1e-6)


def test_the_state_of_intersection_is_that_of_a_ugrnn(rng):
    layer = make_layer("intersection_rnn", rng)
    ugrnn = kcells.RNN(kcells.cell("ugrnn", UNITS), return_sequences=True, return_state=True)
    ugrnn.build((BATCH, TIME, UNITS))
    w = {weight.name: as_numpy(weight) for weight in layer.weights}
    blocks = np.r_[UNITS : 2 * UNITS, 3 * UNITS : 4 * UNITS]
    assign(ugrnn, **{name: value[..., blocks] for name, value in w.items()})
    sequences = inputs(rng, UNITS)
    assert_near(layer(sequences)[1:], ugrnn(sequences)[1:])


def test_indrnn_is_a_simple_rnn_with_a_diagonal(rng):
    layer = make_layer("indrnn", rng, activation="tanh")
    simple = make_layer("basic_rnn", rng)
    kernel, u, bias = layer.get_weights()
    simple.set_weights([kernel, np.diag(u), bias])
    sequences = inputs(rng)
    assert_near(layer(sequences), simple(sequences))


def test_a_projection_by_the_identity_is_none(rng):
    for cell in ("lstmp", "nas"):
        plain, projected = make_layer(cell, rng), make_layer(cell, rng, projection=UNITS)
        values = {weight.name: as_numpy(weight) for weight in plain.weights}
        assign(projected, projection_kernel=np.eye(UNITS), **values)
        sequences = inputs(rng)
        assert_near(projected(sequences), plain(sequences))


def test_wide_bounds_change_nothing_and_narrow_ones_bound(rng):
    plain = make_layer("lstmp", rng, projection=2)
    wide = make_layer("lstmp", rng, projection=2, cell_clip=1e3, projection_clip=1e3)
    narrow = make_layer("lstmp", rng, projection=2, cell_clip=0.2, projection_clip=0.05)
    for layer in (wide, narrow):
        layer.set_weights(plain.get_weights())
    sequences = inputs(rng)
    assert_near(wide(sequences), plain(sequences))
    _, r, c = narrow(sequences)
    assert np.isclose(np.abs(as_numpy(c)).max(), 0.2)
    assert np.isclose(np.abs(as_numpy(r)).max(), 0.05)


def test_coupled_gates_of_an_lstm(rng):
    """An lstmp whose forget gate has the input gate's weights negated is a cifg_lstm."""
    coupled, lstm = make_layer("cifg_lstm", rng), make_layer("lstmp", rng, forget_bias=0)
    w = {weight.name: as_numpy(weight) for weight in coupled.weights}
    blocks = {name: np.split(w[name], 3, axis=-1) for name in w if name != "peephole_kernel"}
    p_i, p_o = w["peephole_kernel"]
    assign(
        lstm,
        peephole_kernel=np.stack([p_i, -p_i, p_o]),
        **{name: np.concatenate([i, -i, g, o], axis=-1) for name, (i, g, o) in blocks.items()},
    )
    sequences = inputs(rng)
    assert_near(coupled(sequences), lstm(sequences))


def test_the_constant_of_the_forget_gate_is_a_bias(rng):
    one, other = make_layer("basic_lstm", rng), make_layer("basic_lstm", rng, forget_bias=0.0)
    kernel, recurrent_kernel, bias = one.get_weights()
    bias = bias + np.repeat([0.0, 1.0, 0.0, 0.0], UNITS)
    other.set_weights([kernel, recurrent_kernel, bias])
    sequences = inputs(rng)
    assert_near(one(sequences), other(sequences))


def test_groups_do_not_see_each_other(rng):
    layer, sequences = make_layer("glstm", rng), inputs(rng)
    other = sequences.copy()
    other[..., 1] += 1.0
    one, two = (as_numpy(layer(array)[0]) for array in (sequences, other))
    np.testing.assert_array_equal(one[..., :2], two[..., :2])
    assert np.abs(one[..., 2:] - two[..., 2:]).max() > 0.01


def test_groups_have_weights_of_their_own(rng):
    layer = make_layer("glstm", rng)
    same = np.repeat(inputs(rng, 1), 2, axis=-1)
    outputs = as_numpy(layer(same)[0])
    assert np.abs(outputs[..., :2] - outputs[..., 2:]).max() > 0.01


def test_one_group_is_an_lstm(rng):
    grouped, lstm = make_layer("glstm", rng, groups=1), kcells.cell("basic_lstm", 4)
    lstm = kcells.RNN(lstm, return_sequences=True, return_state=True)
    lstm.build((BATCH, TIME, FEATURES))
    lstm.set_weights(grouped.get_weights())
    sequences = inputs(rng)
    assert_near(grouped(sequences), lstm(sequences))


# -- How weights start


def test_the_recurrent_weights_of_an_indrnn_start_between_zero_and_one():
    cell = kcells.cell("indrnn", 500)
    cell.build((None, 2))
    u = as_numpy(cell.recurrent_kernel)
    assert 0.0 <= u.min() < 0.05
    assert 0.95 < u.max() <= 1.0
    assert abs(u.mean() - 0.5) < 0.06


@pytest.mark.parametrize("cell", CELLS)
def test_biases_start_at_zero(cell):
    made = built(cell, use_bias=True)
    assert not np.any(as_numpy(made.bias))


def test_nas_has_no_biases_unless_asked_to():
    assert built("nas").bias is None


# -- Arguments

RECURRENT = {"lstmp": {"peephole_kernel"}, "cifg_lstm": {"peephole_kernel"}}


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    for cell in CELLS:
        with pytest.raises(ConfigurationError, match="Cell: units must be a positive int; receiv"):
            kcells.cell(cell, units)


@pytest.mark.parametrize("cell", ["lstmp", "nas"])
@pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
def test_the_projection_must_be_a_positive_int(cell, size):
    with pytest.raises(ConfigurationError, match="projection must be a positive int; received"):
        kcells.cell(cell, UNITS, projection=size)


def test_groups_must_divide_the_sizes():
    with pytest.raises(ConfigurationError, match="units must be a multiple of groups; received un"):
        kcells.cell("glstm", 3)
    with pytest.raises(ConfigurationError, match="projection must be a multiple of groups; receiv"):
        kcells.cell("glstm", 4, projection=3)
    with pytest.raises(StructureError, match="received 3 features and groups=2"):
        kcells.RNN(kcells.cell("glstm", 4))(np.ones((2, 5, 3), "float32"))
    with pytest.raises(ConfigurationError, match="groups must be a positive int; received 0"):
        kcells.cell("glstm", 4, groups=0)


@pytest.mark.parametrize("name", ["cell_clip", "projection_clip"])
@pytest.mark.parametrize("bound", [0.0, -1, "wide", True, float("nan")])
def test_a_bound_must_be_positive(name, bound):
    with pytest.raises(ConfigurationError, match=f"{name} must be a positive float or None; rec"):
        kcells.cell("lstmp", UNITS, projection=2, **{name: bound})


def test_a_bound_of_no_projection_is_refused():
    with pytest.raises(ConfigurationError, match=r"projection_clip=3\.0 bounds the projection"):
        kcells.cell("lstmp", UNITS, projection_clip=3.0)


def test_intersection_needs_as_many_features_as_units():
    with pytest.raises(StructureError, match=r"received 2 features and units=3.*Dense\(3\)"):
        kcells.build("intersection_rnn", 3)(np.ones((2, 4, 2), "float32"))


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_must_be_one_tensor(cell):
    with pytest.raises(StructureError, match=r"Cell: .* one tensor of \(batch, features\)"):
        kcells.RNN(kcells.cell(cell, units_of(cell)))({"a": np.ones((2, 4, 3), "float32")})


# -- Which kernel runs


@pytest.mark.parametrize("cell", ["basic_lstm", "glstm", "gru_v1", "ugrnn"])
def test_these_have_kernels(cell):
    layer = kcells.build(cell, units_of(cell), dispatch="require")
    reasons = kcells.explain(layer).reasons
    assert any("kernel" in reason.condition for reason in reasons)


@pytest.mark.parametrize(
    ("cell", "arguments", "condition"),
    [
        ("lstmp", {}, "there are no peepholes"),
        ("lstmp", {"peepholes": False, "projection": 2}, "the output is not projected"),
        ("lstmp", {"peepholes": False, "cell_clip": 1.0}, "the cell has no bound"),
        ("cifg_lstm", {}, "there are no peepholes"),
        ("glstm", {"groups": 1, "projection": 2}, "the output is not projected"),
        ("basic_lstm", {"recurrent_dropout": 0.1}, "dropout leaves the state alone"),
        ("gru_v1", {"recurrent_dropout": 0.1}, "dropout leaves the state alone"),
        ("gru_v3", {}, "the reset gate acts after the product"),
    ],
)
def test_what_stands_in_the_way_of_a_kernel(cell, arguments, condition):
    reasons = kcells.explain(kcells.build(cell, UNITS, **arguments)).reasons
    failed = [reason.condition for reason in reasons if not reason.holds]
    assert any(text.startswith(condition) for text in failed), failed


# -- The bound of the IndRNN's recurrent weights


def test_a_bound_holds_while_the_weights_are_trained(rng, tmp_path):
    layer = kcells.build("indrnn", UNITS, recurrent_constraint=MaxAbsolute(1.01))
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    sequences, targets = inputs(rng), rng.normal(size=(BATCH, UNITS)).astype("float32")
    model.fit(sequences, 50.0 * targets, epochs=3, verbose=0)
    weights = np.abs(as_numpy(layer.cell.recurrent_kernel))
    assert weights.max() == pytest.approx(1.01)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").layers[-1].cell
    assert isinstance(again.recurrent_constraint, MaxAbsolute)
    assert again.recurrent_constraint.bound == 1.01


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), "1", True, None])
def test_no_bound(bound):
    with pytest.raises(ConfigurationError, match="must be a positive float"):
        MaxAbsolute(bound)
