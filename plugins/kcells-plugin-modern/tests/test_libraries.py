"""The cells against other libraries, which compute the same but where it is said, and in limits."""

import keras
import numpy as np
import pytest
from modern_checks import (
    BATCH,
    FEATURES,
    TIME,
    UNITS,
    as_numpy,
    assert_close,
    make_inputs,
    make_layer,
    weights_of,
)

import kcells

FF = ("ff1_kernel", "ff1_bias", "ff2_kernel", "ff2_bias")
WB = ("weight", "bias")
BIG = 100.0
"""A pre-activation whose sigmoid is 1."""


@pytest.fixture
def torch_cells(backend):
    """torchrecurrent, whose cells need PyTorch."""
    if backend != "torch":
        pytest.skip("torchrecurrent runs on PyTorch")
    return pytest.importorskip("torchrecurrent")


def load(cell, **arrays):
    """Sets the parameters of a cell of torchrecurrent; those that are not given become zero."""
    import torch

    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            value = np.asarray(arrays.pop(name, 0.0), "float32")
            parameter.copy_(torch.from_numpy(np.broadcast_to(value, parameter.shape).copy()))
    assert not arrays
    return cell


def run_torch(step, sequences, states):
    """All outputs of `step(x, states)`, which gives new states; the first is the output."""
    import torch

    outputs = []
    with torch.no_grad():
        for t in range(TIME):
            states = step(torch.from_numpy(sequences[:, t]), states)
            outputs.append(states[0])
        return torch.stack(outputs, dim=1)


def torch_states(rng, count):
    import torch

    arrays = [rng.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(count)]
    return arrays, [torch.from_numpy(array) for array in arrays]


def both(rng, layer, cell, step, count):
    """Our outputs, and theirs, of the same sequences and states."""
    sequences = make_inputs(rng)
    arrays, states = torch_states(rng, count)
    start = arrays if count > 1 else arrays[0]
    return layer(sequences, initial_state=start)[0], run_torch(step, sequences, states)


def of_one_state(cell):
    return lambda x, states: [cell(x, states[0])]


# -- torchrecurrent


@pytest.mark.parametrize(
    ("name", "theirs"), [("mgu", "MGUCell"), ("li_gru", "LiGRUCell"), ("fast_rnn", "FastRNNCell")]
)
def test_one_state(name, theirs, rng, torch_cells):
    layer = make_layer(rng, name)
    w = weights_of(layer)
    more = {key: w[key] for key in ("alpha", "beta") if key in w}
    cell = load(
        getattr(torch_cells, theirs)(FEATURES, UNITS),
        weight_ih=w["kernel"].T,
        weight_hh=w["recurrent_kernel"].T,
        bias_ih=w["bias"],
        **more,
    )
    assert_close(*both(rng, layer, cell, of_one_state(cell), 1))


def test_janet(rng, torch_cells):
    layer = make_layer(rng, "janet", beta=0.6)
    w = weights_of(layer)
    cell = load(
        torch_cells.JANETCell(FEATURES, UNITS),
        weight_ih=w["kernel"].T,
        weight_hh=w["recurrent_kernel"].T,
        bias_ih=w["bias"],
        beta=0.6,
    )

    # Theirs holds the state twice.
    def step(x, states):
        return [cell(x, (states[0], states[0]))[0]]

    assert_close(*both(rng, layer, cell, step, 1))


def test_fast_grnn(rng, torch_cells):
    layer = make_layer(rng, "fast_grnn")
    w = weights_of(layer)
    cell = load(
        torch_cells.FastGRNNCell(FEATURES, UNITS, nonlinearity="sigmoid"),
        weight_ih=w["kernel"].T,
        weight_hh=w["recurrent_kernel"].T,
        bias_ih=w["bias"],
        zeta=w["zeta"],
        nu=w["nu"],
    )
    assert_close(*both(rng, layer, cell, of_one_state(cell), 1))


def test_lem(rng, torch_cells):
    """Theirs shows `y` the old `z`: it is called once for `z`, and with that for `y`."""
    layer = make_layer(rng, "lem", dt=0.7)
    w = weights_of(layer)
    first, second, z, y = np.split(w["kernel"], 4, axis=1)
    r_first, r_second, r_z = np.split(w["recurrent_kernel"], 3, axis=1)
    b_first, b_second, b_z, b_y = np.split(w["bias"], 4)
    cell = load(
        torch_cells.LEMCell(FEATURES, UNITS, dt=0.7),
        weight_ih=np.hstack([second, first, z, y]).T,
        weight_hh=np.hstack([r_second, r_first, r_z]).T,
        weight_ch=w["recurrent_kernel_y"].T,
        bias_ih=np.hstack([b_second, b_first, b_z, b_y]),
    )

    def step(x, states):
        y, z = states
        z = cell(x, (y, z))[1]
        return cell(x, (y, z))[0], z

    assert_close(*both(rng, layer, cell, step, 2))


def test_cornn(rng, torch_cells):
    constants = {"dt": 0.3, "gamma": 0.8, "epsilon": 1.5}
    layer = make_layer(rng, "cornn", **constants)
    w = weights_of(layer)
    cell = load(
        torch_cells.coRNNCell(FEATURES, UNITS, **constants),
        weight_ih=w["kernel"].T,
        weight_hh=w["recurrent_kernel"][:UNITS].T,
        weight_ch=w["recurrent_kernel"][UNITS:].T,
        bias_ih=w["bias"],
    )
    assert_close(*both(rng, layer, cell, cell, 2))


def test_unicornn(rng, torch_cells):
    layer = make_layer(rng, "unicornn", dt=0.6, alpha=0.8)
    w = weights_of(layer)
    cell = load(
        torch_cells.UnICORNNCell(FEATURES, UNITS, recurrent_bias=True, dt=0.6, alpha=0.8),
        weight_ih=w["kernel"].T,
        weight_hh=w["recurrent_kernel"],
        weight_ch=w["control"],
        bias_ih=w["bias"],
    )
    assert_close(*both(rng, layer, cell, cell, 2))


# -- ncps


def load_cfc(layer, sign):
    """The weights of a CfC as ncps has them: the backbone, then g, k, a, f, each with a bias."""
    w = weights_of(layer)
    first = [np.vstack([w["kernel"], w["recurrent_kernel"]]), w["bias"]]
    matrices, biases = (np.split(w[f"{part}_heads"], 4, axis=-1) for part in ("kernel", "bias"))
    heads = [array for pair in zip(matrices, biases, strict=True) for array in pair]
    heads[4:6] = [sign * array for array in heads[4:6]]
    return first, heads


def test_cfc_in_keras(rng):
    """Theirs has no tanh around `g` and `k`, and the other sign at the time."""
    keras_cell = pytest.importorskip("ncps.keras").CfCCell
    layer = make_layer(rng, "cfc", backbone_units=4, activation="linear", timed=True)
    cell = keras_cell(UNITS, backbone_units=4, backbone_dropout=0.0)
    cell.build((None, FEATURES - 1))
    first, heads = load_cfc(layer, -1.0)
    cell.backbone_fn.set_weights(first)
    for name, value in zip(FF, heads[:4], strict=True):
        getattr(cell, name).assign(value)
    cell.time_a.set_weights(heads[4:6])
    cell.time_b.set_weights(heads[6:])
    sequences = make_inputs(rng)
    state, expected = np.zeros((BATCH, UNITS), "float32"), []
    for t in range(TIME):
        x = [keras.ops.convert_to_tensor(sequences[:, t, part]) for part in ([0], [1])]
        state = cell(x, [state])[0]
        expected.append(as_numpy(state))
    assert_close(layer(sequences)[0], np.stack(expected, axis=1))


@pytest.mark.parametrize("timed", [True, False])
def test_cfc_in_torch(timed, rng, backend):
    if backend != "torch":
        pytest.skip("this cell needs PyTorch")
    theirs = pytest.importorskip("ncps.torch").CfCCell
    layer = make_layer(rng, "cfc", backbone_units=4, timed=timed)
    features = FEATURES - timed
    first, heads = load_cfc(layer, 1.0)
    names = [f"{name}.{part}" for name in ("ff1", "ff2", "time_a", "time_b") for part in WB]
    cell = load(
        theirs(features, UNITS, backbone_units=4),
        **{"backbone.0.weight": first[0].T, "backbone.0.bias": first[1]},
        **{name: array.T for name, array in zip(names, heads, strict=True)},
    )

    def step(x, states):
        time = x[:, features:] if timed else 1.0
        return [cell(x[:, :features], states[0], time)[0]]

    assert_close(*both(rng, layer, cell, step, 1))


# -- Keras' own layers, in limits


def test_mgu_is_a_gru_with_one_gate(rng):
    layer = make_layer(rng, "mgu")
    sequences = make_inputs(rng)
    gru = keras.layers.GRU(UNITS, reset_after=False, return_sequences=True)
    gru.build(sequences.shape)
    # The gates z and r of Keras: z is the share that stays, so 1 - f.
    blocks = [np.split(array, 2, axis=-1) for array in weights_of(layer).values()]
    gru.set_weights([np.concatenate([-f, f, h], axis=-1) for f, h in blocks])
    assert_close(layer(sequences)[0], gru(sequences))


def test_li_gru_is_a_gru_without_reset(rng):
    layer = make_layer(rng, "li_gru")
    sequences = make_inputs(rng)
    gru = keras.layers.GRU(UNITS, activation="relu", reset_after=False, return_sequences=True)
    gru.build(sequences.shape)
    kernel, recurrent, bias = (np.split(a, 2, axis=-1) for a in weights_of(layer).values())
    gru.set_weights(
        [
            np.hstack([kernel[0], np.zeros((FEATURES, UNITS)), kernel[1]]),
            np.hstack([recurrent[0], np.zeros((UNITS, UNITS)), recurrent[1]]),
            np.hstack([bias[0], np.full(UNITS, BIG), bias[1]]),
        ]
    )
    assert_close(layer(sequences)[0], gru(sequences))


def test_janet_without_beta_is_a_gru_without_reset(rng):
    layer = make_layer(rng, "janet", beta=0.0)
    other = make_layer(rng, "li_gru", activation="tanh")
    other.set_weights(layer.get_weights())
    sequences = make_inputs(rng)
    assert_close(layer(sequences)[0], other(sequences)[0])


def test_a_highway_of_one_layer_is_a_light_gru(rng):
    """The gate of a light GRU is the share that stays, so 1 - r."""
    layer = make_layer(rng, "rhn", depth=1)
    other = make_layer(rng, "li_gru", activation="tanh")
    blocks = [np.split(array, 2, axis=-1) for array in weights_of(layer).values()]
    other.set_weights([np.concatenate([-r, h], axis=-1) for h, r in blocks])
    sequences = make_inputs(rng)
    assert_close(layer(sequences)[0], other(sequences)[0])


@pytest.mark.parametrize("name", ["fast_rnn", "rhn"])
def test_a_vanilla_rnn(name, rng):
    """A FastRNN that keeps nothing, a highway of one layer that carries nothing."""
    layer = make_layer(rng, name, **({"depth": 1} if name == "rhn" else {}))
    cell, sequences = layer.cell, make_inputs(rng)
    simple = keras.layers.SimpleRNN(UNITS, return_sequences=True)
    simple.build(sequences.shape)
    if name == "fast_rnn":
        cell.new_share.assign([BIG])
        cell.old_share.assign([-BIG])
    else:
        bias = as_numpy(cell.bias)
        bias[UNITS:] = BIG
        cell.bias.assign(bias)
    simple.set_weights([as_numpy(weight)[..., :UNITS] for weight in cell.weights[:3]])
    assert_close(layer(sequences)[0], simple(sequences))


def test_a_highway_starts_as_a_carry(rng):
    """With a very low `transform_bias` the state passes, however deep the step."""
    layer = make_layer(rng, "rhn", depth=5)
    for bias in layer.cell.biases:
        bias.assign(np.repeat([0.0, -BIG], UNITS))
    state = rng.normal(size=(BATCH, UNITS)).astype("float32")
    outputs, _ = layer(make_inputs(rng), initial_state=state)
    assert_close(outputs, np.repeat(state[:, None], TIME, axis=1))


def test_cornn_without_force_is_a_damped_oscillator(rng):
    """The exact motion of `y'' = -gamma y - epsilon y'`, to first order in `dt`."""
    steps, dt, gamma, epsilon = 2000, 1e-3, 4.0, 0.5
    for implicit in (False, True):
        options = {"dt": dt, "gamma": gamma, "epsilon": epsilon, "implicit": implicit}
        layer = make_layer(rng, "cornn", 1, **options)
        layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
        start = [np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")]
        outputs = layer(np.zeros((1, steps, FEATURES), "float32"), initial_state=start)[0]
        t, rate = dt * np.arange(1, steps + 1), epsilon / 2
        omega = np.sqrt(gamma - rate**2)
        exact = np.exp(-rate * t) * (np.cos(omega * t) + rate / omega * np.sin(omega * t))
        assert_close(as_numpy(outputs)[0, :, 0], exact, 3e-3)


def test_unicornn_without_force_keeps_its_energy(rng):
    """A harmonic oscillator: after a thousand steps it is as far out as at first."""
    layer = make_layer(rng, "unicornn", 1, dt=0.1, alpha=1.0)
    layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
    start = [np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")]
    outputs = layer(np.zeros((1, 1000, FEATURES), "float32"), initial_state=start)[0]
    exact = np.cos(0.05 * np.arange(1, 1001))
    assert_close(as_numpy(outputs)[0, :, 0], exact, 0.05)


def test_the_memory_of_an_lmu_is_a_window_of_the_past(rng):
    """Legendre polynomials give back a smooth signal at any time within `theta`."""
    theta, steps = 50.0, 200
    layer = make_layer(rng, "lmu", order=10, theta=theta)
    layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
    layer.cell.encoder_inputs.assign([[1.0], [0.0]])
    sequences = np.zeros((1, steps, FEATURES), "float32")
    # At the middle of a step, where the value that is held is the signal's.
    sequences[0, :, 0] = np.sin(0.06 * (np.arange(steps) + 0.5))
    memory = as_numpy(layer(sequences)[2])[0]
    for past in (0.0, 10.0, 25.0, 50.0):
        decoded = np.polynomial.legendre.legval(2 * past / theta - 1, memory)
        assert abs(decoded - np.sin(0.06 * (steps - past))) < 0.02


@pytest.mark.parametrize(("order", "theta"), [(1, 1.0), (6, 4.0), (12, 784.0), (256, 784.0)])
def test_the_matrices_of_an_lmu(order, theta):
    signal = pytest.importorskip("scipy.signal")
    i, j = np.mgrid[:order, :order]
    a = (2 * i + 1) * np.where(i < j, -1.0, -((-1.0) ** (i - j))) / theta
    b = ((2 * i + 1) * (-1.0) ** i)[:, :1] / theta
    held = signal.cont2discrete((a, b, np.eye(order), np.zeros((order, 1))), 1.0, method="zoh")
    ours = kcells.cell("lmu", UNITS, order=order, theta=theta)._constants
    np.testing.assert_allclose(ours[0].T, held[0], atol=1e-9)
    np.testing.assert_allclose(ours[1], held[1][:, 0], atol=1e-9)


def test_the_answers_of_a_cfc_in_time(rng):
    """Long before, `g`; long after, `k`."""
    layer = make_layer(rng, "cfc", backbone_units=4, timed=True)
    w = weights_of(layer)
    heads, biases = w["kernel_heads"], w["bias_heads"]
    heads[:, 2 * UNITS :], biases[2 * UNITS :] = 0.0, np.repeat([1.0, 0.0], UNITS)
    layer.cell.heads[0].assign(heads)
    layer.cell.heads[1].assign(biases)
    x = np.ones((1, 1, FEATURES), "float32")
    q = 1.7159 * np.tanh(0.666 * (w["kernel"].sum(axis=0) + w["bias"]))
    answers = np.split(np.tanh(q @ heads + biases), 4)
    for time, answer in ((-BIG, answers[0]), (BIG, answers[1]), (0.0, sum(answers[:2]) / 2)):
        x[..., -1] = time
        assert_close(as_numpy(layer(x)[0])[0, 0], answer)


def test_lem_stands_still_where_no_time_passes(rng):
    layer = make_layer(rng, "lem", dt=0.0)
    y, z = (rng.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(2))
    outputs, *states = layer(make_inputs(rng), initial_state=[y, z])
    assert_close(outputs, np.repeat(y[:, None], TIME, axis=1))
    assert_close(states[1], z)


def test_low_rank_is_a_full_matrix(rng):
    thin = make_layer(rng, "fast_grnn", kernel_rank=1, recurrent_rank=2)
    full = make_layer(rng, "fast_grnn")
    w = weights_of(thin)
    products = [w[f"{name}_in"] @ w[f"{name}_out"] for name in ("kernel", "recurrent_kernel")]
    full.set_weights([*products, w["bias"], w["zeta"], w["nu"]])
    sequences = make_inputs(rng)
    assert_close(thin(sequences)[0], full(sequences)[0])


def test_slstm_without_recurrence_is_a_weighted_mean(rng):
    """With `f = 1` and no `R`, `c / n` is the mean of `z`, weighted by `exp(i~)`."""
    layer = make_layer(rng, "slstm")
    cell, sequences = layer.cell, make_inputs(rng)
    cell.recurrent_kernel.assign(np.zeros(cell.recurrent_kernel.shape))
    kernel, bias = as_numpy(cell.kernel), as_numpy(cell.bias)
    kernel[:, 2 * UNITS :], bias[2 * UNITS :] = 0.0, BIG
    cell.kernel.assign(kernel)
    cell.bias.assign(bias)
    z, i = np.split((sequences @ kernel + bias)[..., : 2 * UNITS], 2, axis=-1)
    weights = np.exp(i)
    expected = np.cumsum(weights * np.tanh(z), axis=1) / np.cumsum(weights, axis=1)
    assert_close(layer(sequences)[0], expected)


def test_heads_are_cells_of_their_own(rng):
    """Without mixing between heads, each is an sLSTM of half of the units."""
    layer = make_layer(rng, "slstm", 4, heads=2)
    sequences = make_inputs(rng)
    outputs = as_numpy(layer(sequences)[0])
    w = weights_of(layer)
    for head in range(2):
        small = make_layer(rng, "slstm", 2)
        columns = [4 * gate + 2 * head + k for gate in range(4) for k in range(2)]
        small.set_weights(
            [w["kernel"][:, columns], w["recurrent_kernel"][head][None], w["bias"][columns]]
        )
        assert_close(small(sequences)[0], outputs[..., 2 * head : 2 * head + 2])


def test_on_lstm_is_an_lstm_where_the_master_gates_are_open(rng):
    """`F` is 1 everywhere, and `I` everywhere but in the last unit, which nothing reaches."""
    layer = make_layer(rng, "on_lstm")
    sequences = make_inputs(rng)
    kernel, recurrent, bias = (weight.copy() for weight in weights_of(layer).values())
    kernel[:, 4 * UNITS :] = recurrent[:, 4 * UNITS :] = 0.0
    bias[4 * UNITS :] = [BIG, 0.0, 0.0, 0.0, 0.0, BIG]
    layer.set_weights([kernel, recurrent, bias])
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    lstm.build(sequences.shape)
    recurrent[UNITS - 1] = 0.0
    lstm.set_weights([array[..., : 4 * UNITS] for array in (kernel, recurrent, bias)])
    expected = as_numpy(lstm(sequences))
    expected[..., -1] = 0.0
    assert_close(layer(sequences)[0], expected)


def test_on_lstm_of_one_chunk_keeps_its_memory(rng):
    """The entry of a `cumax` over one is 1: all is kept, nothing written."""
    layer = make_layer(rng, "on_lstm", chunk_size=UNITS)
    h, c = (rng.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(2))
    assert_close(layer(make_inputs(rng), initial_state=[h, c])[2], c)


def test_a_nested_lstm_of_an_earlier_version_has_no_forget_bias():
    config = kcells.cell("nested_lstm", UNITS, dtype="float16").get_config()
    assert kcells.cell("nested_lstm", UNITS).from_config(config).forget_bias == 1.0
    del config["forget_bias"]
    cell = kcells.cell("nested_lstm", UNITS).from_config(config)
    assert (cell.forget_bias, cell.compute_dtype) == (0.0, "float16")


def test_nested_lstm_around_a_sum_is_an_lstm(rng):
    """An inner LSTM that adds what it gets: the outer one is the usual."""
    activations = {"candidate_activation": "tanh", "inner_activation": "linear"}
    layer = make_layer(rng, "nested_lstm", forget_bias=0.0, **activations)
    cell, sequences = layer.cell, make_inputs(rng)
    adding = np.zeros((UNITS, 4 * UNITS))
    adding[:, 2 * UNITS : 3 * UNITS] = np.eye(UNITS)
    cell.kernel_inner.assign(adding)
    cell.recurrent_kernel_inner.assign(adding)
    cell.bias_inner.assign(np.repeat([BIG, -BIG, 0.0, BIG], UNITS))
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    lstm.build(sequences.shape)
    lstm.set_weights(layer.get_weights()[:3])
    assert_close(layer(sequences)[0], lstm(sequences))
