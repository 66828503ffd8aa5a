"""The cells against torchrecurrent, which computes the same but where it is said."""

import numpy as np
import pytest
from gated_checks import BATCH, FEATURES, TIME, UNITS, assert_close, make_layer, weights_of


@pytest.fixture
def torch_cells(backend):
    """torchrecurrent, whose cells need PyTorch."""
    if backend != "torch":
        pytest.skip("torchrecurrent runs on PyTorch")
    return pytest.importorskip("torchrecurrent")


def blocks(array, *order):
    """The blocks of a weight in another order, as rows where it is a matrix; None is zeros."""
    size = UNITS
    picked = [
        np.zeros((*array.shape[:-1], size))
        if block is None
        else array[..., block * size : (block + 1) * size]
        for block in order
    ]
    return np.concatenate(picked, axis=-1).T


def load(cell, arrays):
    """Sets the parameters of a cell of torchrecurrent; those that are not given become zero."""
    import torch

    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            value = np.asarray(arrays.pop(name, 0.0), "float32")
            parameter.copy_(torch.from_numpy(np.broadcast_to(value, parameter.shape).copy()))
    assert not arrays
    return cell


def three(w):
    """Kernel, recurrent kernel and bias in the same order of blocks."""
    return {"weight_ih": w["kernel"].T, "weight_hh": w["recurrent_kernel"].T, "bias_ih": w["bias"]}


def gates_first(w):
    """The same, where the kernel has more blocks than the bias."""
    last = (None,) * ((w["kernel"].shape[1] - len(w["bias"])) // UNITS)
    return {**three(w), "bias_ih": blocks(w["bias"], *range(len(w["bias"]) // UNITS), *last)}


def atr(w):
    return {
        "weight_ih": w["kernel"].T,
        "weight_hh": w["recurrent_kernel"].T,
        "bias_hh": w["bias"],
    }


def br(w):
    return {
        "weight_ih": blocks(w["kernel"], 1, 0, 2),
        "weight_hh": w["recurrent_kernel"][::-1].reshape(-1),
        "bias_ih": blocks(w["bias"], 1, 0, None),
    }


def nbr(w):
    return {**br(w), "weight_hh": blocks(w["recurrent_kernel"], 1, 0)}


def light_ru(w):
    return {**atr(w), "weight_ih": blocks(w["kernel"], 1, 0)}


def minimal_rnn(w):
    return {
        "weight_ih": w["kernel"].T,
        "weight_mm": w["kernel_gate"].T,
        "weight_hh": w["recurrent_kernel"].T,
        "bias_ih": w["bias"][:UNITS],
        "bias_hh": w["bias"][UNITS:],
    }


def dsgu(w):
    return {**three(w), "weight_ho": w["recurrent_kernel_out"].T}


def mclstm(w):
    order = 1, 0, 3, 4, 2
    return {
        "weight_ih": blocks(w["kernel"], *order),
        "weight_hh": blocks(w["recurrent_kernel"], *order),
        "bias_ih": blocks(w["bias"], *order),
    }


def wmclstm(w):
    return {**three(w), "weight_mh": w["recurrent_kernel_memory"].T}


def mut1(w):
    return {
        **three(w),
        "bias_ih": blocks(w["bias"], 0, 1, None),
        "bias_hh": blocks(w["bias"], None, 2),
    }


def mut2(w):
    return {**three(w), "weight_ih": blocks(w["kernel"], 0, 2, 1)}


def ran(w):
    return {**three(w), "weight_ih": blocks(w["kernel"], 2, 0, 1)}


def res_lstm(w):
    return {
        **three(w),
        "weight_res": w["kernel_residual"].T,
        "weight_proj": w["recurrent_projection"].T,
        "weight_ph": w["recurrent_peepholes"].reshape(-1),
    }


def trnn(w):
    return {"weight_ih": blocks(w["kernel"], 1, 0), "bias_ih": blocks(w["bias"], None, 0)}


def typed(w):
    return {
        "weight_ih": w["kernel"].T,
        "weight_hh": w["kernel_previous"].T,
        "bias_ih": w["bias"],
    }


def scrn(w):
    of_h, of_s = w["recurrent_kernel"][:UNITS], w["recurrent_kernel"][UNITS:]
    no = np.zeros((UNITS, UNITS))
    return {
        "weight_ih": blocks(w["kernel"], 1, 0),
        "weight_hh": np.vstack([of_h.T, np.eye(UNITS)]),
        "weight_ch": np.vstack([of_s.T, no]),
        "alpha": 0.6,
    }


def tau_gru(w):
    u_u, u_g, u_a = np.split(w["recurrent_kernel"], 3, axis=1)
    delayed = w["recurrent_kernel_delayed"]
    return {
        "weight_ih": blocks(w["kernel"], 0, 3, 1, 2),
        "weight_hh": np.hstack([u_u, delayed, u_g, u_a]).T,
        "bias_ih": blocks(w["bias"], 0, 3, 1, 2),
    }


def make_pair(rng, torch_cells, name, theirs, mapped, options=None, of_theirs=None):
    """A layer of ours, and a cell of theirs with its weights."""
    layer = make_layer(rng, name, **(options or {}))
    cell = getattr(torch_cells, theirs)(FEATURES, UNITS, **(of_theirs or {}))
    return layer, load(cell, mapped(weights_of(layer)))


def vectors(rng, *sizes):
    return [rng.normal(size=(BATCH, size)).astype("float32") for size in sizes]


def run_torch(step, sequences, states):
    """All outputs of `step(x, states)`, which gives an output and new states."""
    import torch

    states, outputs = [torch.from_numpy(np.float32(state)) for state in states], []
    with torch.no_grad():
        for t in range(TIME):
            output, states = step(torch.from_numpy(sequences[:, t]), states)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


def same(rng, layer, step, ours, theirs):
    """From the same states, the same outputs."""
    sequences = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    start = [np.float32(state) for state in ours]
    outputs = layer(sequences, initial_state=start if len(start) > 1 else start[0])[0]
    assert_close(outputs, run_torch(step, sequences, theirs))


ANTI = {"epsilon": 0.7, "gamma": 0.3}
LAMBDA = {"update_coefficient": 0.3}
TANH = {"activation": "tanh", "output_activation": "tanh"}
# The id, the class of theirs, their parameters from our weights, options of both.
ONE_STATE = [
    ("antisymmetric_rnn", "AntisymmetricRNNCell", three, ANTI),
    ("gated_antisymmetric_rnn", "GatedAntisymmetricRNNCell", three, ANTI),
    ("atr", "ATRCell", atr, {}),
    ("br", "BRCell", br, {}),
    ("nbr", "NBRCell", nbr, {}),
    ("cfn", "CFNCell", gates_first, {}),
    ("light_ru", "LightRUCell", light_ru, {}),
    ("minimal_rnn", "MinimalRNNCell", minimal_rnn, {}),
    ("sgu", "SGUCell", three, {}),
    ("dsgu", "DSGUCell", dsgu, {}),
    ("miru1", "MiRU1Cell", three, LAMBDA),
    ("miru2", "MiRU2Cell", three, {**LAMBDA, "reset_coefficient": 0.8}),
    ("mut1", "MUT1Cell", mut1, {}),
    ("mut2", "MUT2Cell", mut2, {}),
    ("mut3", "MUT3Cell", three, {}),
    ("sgrn", "SGRNCell", three, {}),
    ("star", "STARCell", three, {}),
    ("trnn", "TRNNCell", trnn, {}),
]
TWO_STATES = [
    ("original_lstm", "OriginalLSTMCell", three, TANH),
    ("wmclstm", "WMCLSTMCell", wmclstm, {}),
    ("res_lstm", "ResLSTMCell", res_lstm, {}),
]


@pytest.mark.parametrize(
    ("name", "theirs", "mapped", "options"), ONE_STATE, ids=[case[0] for case in ONE_STATE]
)
def test_one_state(name, theirs, mapped, options, rng, torch_cells):
    layer, cell = make_pair(rng, torch_cells, name, theirs, mapped, options, options)

    def step(x, states):
        h = cell(x, states[0])
        return h, [h]

    start = vectors(rng, UNITS)
    same(rng, layer, step, start, start)


@pytest.mark.parametrize(
    ("name", "theirs", "mapped", "options"), TWO_STATES, ids=[case[0] for case in TWO_STATES]
)
def test_two_states(name, theirs, mapped, options, rng, torch_cells):
    layer, cell = make_pair(rng, torch_cells, name, theirs, mapped, options)

    def step(x, states):
        h, c = cell(x, tuple(states))
        return h, [h, c]

    start = vectors(rng, UNITS, UNITS)
    same(rng, layer, step, start, start)


def test_mclstm(rng, torch_cells):
    layer, cell = make_pair(rng, torch_cells, "mclstm", "MCLSTMCell", mclstm)
    start = vectors(rng, UNITS, UNITS)
    same(rng, layer, lambda x, states: cell(x, tuple(states)), start, start)


def test_ran(rng, torch_cells):
    """Theirs keeps `h`, which follows from `c`."""
    layer, cell = make_pair(rng, torch_cells, "ran", "RANCell", ran)

    def step(x, states):
        h, c = cell(x, tuple(states))
        return h, [h, c]

    (c,) = vectors(rng, UNITS)
    same(rng, layer, step, [c], [np.tanh(c), c])


@pytest.mark.parametrize(("name", "theirs"), [("tgru", "TGRUCell"), ("tlstm", "TLSTMCell")])
def test_typed(name, theirs, rng, torch_cells):
    """Theirs keeps the inputs of the last step, and not their products."""
    layer, cell = make_pair(rng, torch_cells, name, theirs, typed)

    def step(x, states):
        h, rest = cell(x, tuple(states))
        return h, [h, rest] if name == "tgru" else rest

    h, x = vectors(rng, UNITS, FEATURES)
    same(rng, layer, step, [h, x @ weights_of(layer)["kernel_previous"]], [h, x])


def test_scrn(rng, torch_cells):
    """Theirs has the output layer inside; as the identity, its tanh is that of `h`.

    It feeds that back in the place of `h`, so here it is told what `h` was.
    """
    import torch

    layer, cell = make_pair(rng, torch_cells, "scrn", "SCRNCell", scrn, {"alpha": 0.6})

    def step(x, states):
        y, s = cell(x, tuple(states))
        h = torch.atanh(y)
        return torch.cat([h, s], dim=-1), [h, s]

    start = vectors(rng, UNITS, UNITS)
    same(rng, layer, step, start, start)


def test_tau_gru(rng, torch_cells):
    """Their cell is told what the delayed state was."""
    layer, cell = make_pair(rng, torch_cells, "tau_gru", "tauGRUCell", tau_gru, {"delay": 2})

    def step(x, states):
        oldest, newer, h = states
        new = cell(x, h, oldest)
        return new, [newer, h, new]

    oldest, newer, h = vectors(rng, UNITS, UNITS, UNITS)
    same(rng, layer, step, [h, np.stack([oldest, newer], axis=1)], [oldest, newer, h])
