"""Every cell against a library that has it, with the same weights."""

import keras
import numpy as np
import pytest
from classic_cells import (
    BATCH,
    TIME,
    UNITS,
    as_numpy,
    assert_near,
    features_of,
    make_layer,
    units_of,
)

import kcells

ON_TORCH = pytest.mark.skipif(keras.backend.backend() != "torch", reason="a cell of PyTorch")


def draw(cell, rng, layer):
    """Sequences and initial states for a layer."""
    sequences = rng.normal(size=(BATCH, TIME, features_of(cell))).astype("float32")
    sizes = [units_of(cell)] * len(keras.tree.flatten(layer.cell.state_size))
    if getattr(layer.cell, "projection", None):
        sizes[0] = layer.cell.projection
    return sequences, [rng.normal(size=(BATCH, size)).astype("float32") for size in sizes]


# -- Keras, of whatever backend


@pytest.mark.parametrize(
    ("cell", "arguments", "builtin"),
    [
        ("basic_rnn", {}, keras.layers.SimpleRNN),
        ("basic_lstm", {}, keras.layers.LSTM),
        ("basic_lstm", {"use_bias": False, "forget_bias": 0.3}, keras.layers.LSTM),
        ("lstmp", {"peepholes": False, "forget_bias": 0.5}, keras.layers.LSTM),
        ("cifg_lstm", {"peepholes": False}, keras.layers.LSTM),
        ("glstm", {}, keras.layers.LSTM),
        ("glstm", {"groups": 1, "use_bias": False, "forget_bias": 1.0}, keras.layers.LSTM),
        ("gru_v1", {}, keras.layers.GRU),
        ("gru_v3", {}, keras.layers.GRU),
        ("ugrnn", {}, keras.layers.GRU),
        ("ugrnn", {"use_bias": False, "activation": "relu"}, keras.layers.GRU),
    ],
)
def test_the_layer_of_keras(cell, arguments, builtin, rng):
    layer = make_layer(cell, rng, **arguments)
    sequences, states = draw(cell, rng, layer)
    plain = kcells.to_builtin(layer)
    assert type(plain) is builtin
    assert_near(plain(sequences, initial_state=states), layer(sequences, initial_state=states))


def test_which_product_each_gru_resets():
    made = {cell: kcells.to_builtin(kcells.RNN(kcells.cell(cell, 2))) for cell in GRUS}
    assert {cell: layer.reset_after for cell, layer in made.items()} == GRUS


GRUS = {"gru_v1": True, "gru_v3": False}


@pytest.mark.parametrize(
    ("cell", "arguments", "name"),
    [
        ("basic_rnn", {}, "SimpleRNN"),
        ("basic_lstm", {"forget_bias": 0.0}, "LSTM"),
        ("gru_v1", {"reset_after": True}, "GRU"),
        ("gru_v3", {"reset_after": False}, "GRU"),
    ],
)
def test_the_layer_of_keras_2(cell, arguments, name, rng):
    """Which is a program of its own, and has the same weights."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf_keras is TensorFlow's")
    tf_keras = pytest.importorskip("tf_keras")
    ours = {key: value for key, value in arguments.items() if key != "reset_after"}
    theirs = {key: value for key, value in arguments.items() if key == "reset_after"}
    layer = make_layer(cell, rng, **ours)
    sequences, states = draw(cell, rng, layer)
    other = getattr(tf_keras.layers, name)(
        UNITS, return_sequences=True, return_state=True, **theirs
    )
    other.build(sequences.shape)
    other.set_weights(layer.get_weights())
    expected = other(sequences, initial_state=[*map(keras.ops.convert_to_tensor, states)])
    assert_near(layer(sequences, initial_state=states), expected)


# -- PyTorch


def transposed(array):
    import torch

    return torch.nn.Parameter(torch.tensor(np.ascontiguousarray(np.transpose(array))))


def give(module, weights):
    """Sets parameters of a module of PyTorch; what has no name here becomes zero."""
    import torch

    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.copy_(transposed(weights[name]) if name in weights else 0.0)


@ON_TORCH
@pytest.mark.parametrize(
    ("cell", "arguments", "name"),
    [
        ("basic_rnn", {}, "RNN"),
        ("basic_lstm", {"forget_bias": 0.0}, "LSTM"),
        ("lstmp", {"peepholes": False, "projection": 2, "forget_bias": 0.0}, "LSTM"),
        ("gru_v1", {}, "GRU"),
    ],
)
def test_the_layer_of_torch(cell, arguments, name, rng):
    """Their GRU has the blocks r, z, g, and the biases of both sides apart."""
    import torch

    layer = make_layer(cell, rng, **arguments)
    sequences, states = draw(cell, rng, layer)
    w = {weight.name: as_numpy(weight) for weight in layer.weights}
    if cell == "gru_v1":
        order = np.arange(3 * UNITS).reshape(3, UNITS)[[1, 0, 2]].ravel()
        w = {key: value[..., order] for key, value in w.items()}
    two = {"bias_ih_l0": w["bias"][0], "bias_hh_l0": w["bias"][1]}
    biases = two if w["bias"].ndim == 2 else {"bias_ih_l0": w["bias"]}
    options = {"proj_size": arguments["projection"]} if "projection" in arguments else {}
    module = getattr(torch.nn, name)(sequences.shape[-1], UNITS, batch_first=True, **options)
    matrices = {"weight_ih_l0": w["kernel"], "weight_hh_l0": w["recurrent_kernel"]}
    if options:
        matrices["weight_hr_l0"] = w["projection_kernel"]
    give(module, matrices | biases)
    first = [torch.tensor(state)[None] for state in states]
    outputs, last = module(torch.tensor(sequences), tuple(first) if name == "LSTM" else first[0])
    last = list(last) if name == "LSTM" else [last]
    found = layer(sequences, initial_state=states)
    assert_near(found, [outputs.detach(), *(state[0].detach() for state in last)])


@ON_TORCH
@pytest.mark.parametrize(
    ("cell", "arguments", "name", "options"),
    [
        ("lstmp", {"forget_bias": 0.0}, "PeepholeLSTMCell", {}),
        ("ugrnn", {"forget_bias": 0.0}, "UGRNNCell", {}),
        ("intersection_rnn", {"forget_bias": 0.0}, "IntersectionRNNCell", {}),
        ("indrnn", {}, "IndRNNCell", {"nonlinearity": "relu"}),
        ("nas", {"use_bias": True}, "NASCell", {}),
    ],
)
def test_the_cell_of_torchrecurrent(cell, arguments, name, options, rng):
    library = pytest.importorskip("torchrecurrent")
    import torch

    layer = make_layer(cell, rng, **arguments)
    if cell == "nas":
        # They add in block 3, where contrib multiplies; zeros are the same in both.
        block = slice(3 * UNITS, 4 * UNITS)
        for weight in layer.weights:
            value = as_numpy(weight)
            value[..., block] = 0.0
            weight.assign(value)
    sequences, states = draw(cell, rng, layer)
    w = {weight.name: as_numpy(weight) for weight in layer.weights}
    module = getattr(library, name)(sequences.shape[-1], UNITS, **options)
    vector = "vector_u" if cell == "indrnn" else "weight_hh"
    weights = {"weight_ih": w["kernel"], vector: w["recurrent_kernel"], "bias_ih": w["bias"]}
    if cell == "lstmp":
        weights["weight_ph"] = w["peephole_kernel"].ravel()
    give(module, weights)
    carried, outputs = [torch.tensor(state) for state in states], []
    for x in torch.tensor(sequences).unbind(1):
        result = module(x, tuple(carried) if len(carried) == 2 else carried[0])
        if cell == "intersection_rnn":
            output, carried = result[0], [result[1]]
        else:
            carried = list(result) if len(carried) == 2 else [result]
            output = carried[0]
        outputs.append(output)
    expected = [torch.stack(outputs, 1).detach(), *(state.detach() for state in carried)]
    found = layer(sequences, initial_state=states)
    assert_near(found, expected)
