"""What went wrong once, or nearly."""

import keras
import numpy as np
import pytest
from equivalents import PeepholeLSTMCell
from keras import layers, ops

import kcells
from kcells.errors import ArgumentError, DispatchError, StructureError
from kcells.layers import builtin

BUILTINS = {"lstm": layers.LSTM, "gru": layers.GRU}
X = np.random.default_rng(7).normal(size=(2, 6, 3)).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def double(values):
    return values * 2.0


class Unsaveable(keras.regularizers.Regularizer):
    def __call__(self, weight):
        return ops.sum(weight)


# -- Configurations


@pytest.mark.parametrize("dispatch", ["auto", "never"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": lambda values: values},
        {"activation": double},
        {"kernel_regularizer": Unsaveable()},
        {"kernel_initializer": lambda shape, dtype=None: ops.ones(shape, dtype)},
    ],
)
def test_what_no_configuration_can_hold(arguments, dispatch):
    layer = kcells.build("gru", 4, dispatch=dispatch, **arguments)
    assert layer(X).shape == (2, 4)
    assert isinstance(layer, layers.GRU) == ("activation" not in arguments and dispatch == "auto")


@pytest.mark.parametrize("name", BUILTINS)
def test_the_same_seed_gives_the_same_weights(name):
    made = []
    for make in (
        lambda: kcells.build(name, 4),
        lambda: kcells.build(name, 4, dispatch="never"),
        lambda: BUILTINS[name](4),
    ):
        keras.utils.set_random_seed(1)
        layer = make()
        layer.build(X.shape)
        made.append(layer.get_weights())
    for others in made[1:]:
        for ours, theirs in zip(made[0], others, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("attribute", "value"), [("activation", double), ("use_bias", False)])
def test_attributes_that_are_set_later_count(attribute, value):
    layer = kcells.build("lstm", 4)
    assert kcells.explain(layer).path == "fused"
    setattr(layer.cell, attribute, value)
    assert kcells.explain(layer).path == "loop"


def test_an_activation_that_is_set_later_is_computed():
    layer = kcells.build("gru", 4)
    layer(X)
    layer.cell.activation = double
    loop = kcells.RNN(layer.cell)
    np.testing.assert_allclose(numpy(layer(X)), numpy(loop(X)), rtol=1e-5)


def test_how_keras_says_it():
    assert type(kcells.build("lstm", 4, use_cudnn=False)) is kcells.RNN
    assert isinstance(kcells.build("lstm", 4, use_cudnn=True), layers.LSTM)
    assert isinstance(kcells.build("gru", 4, use_cudnn="auto"), layers.GRU)
    with pytest.raises(DispatchError):
        kcells.build("gru", 4, reset_after=False, use_cudnn=True)
    with pytest.raises(ArgumentError, match="use_cudnn"):
        kcells.build("simple_rnn", 4, use_cudnn=False)


def test_arguments_by_position_are_those_of_the_layer_of_keras():
    settings = [4, "tanh", "sigmoid", True, "ones", "ones", "zeros", True, None, None, None, "l2"]
    ours, theirs = builtin.LSTM(*settings, "non_neg"), layers.LSTM(*settings, "non_neg")
    assert isinstance(ours.kernel_constraint, keras.constraints.NonNeg)
    assert isinstance(ours.activity_regularizer, keras.regularizers.L2)
    ours_config, config = ours.get_config(), theirs.get_config()
    assert {k: v for k, v in ours_config.items() if k != "name"} == {
        k: v for k, v in config.items() if k != "name"
    }


def test_only_what_stands_in_the_way_is_named():
    with pytest.raises(DispatchError) as caught:
        kcells.build("lstm", 4, recurrent_dropout=0.1, dispatch="require")
    failing = [r.condition for r in caught.value.reasons if not r.holds]
    assert failing == ["there is no recurrent dropout"]


# -- Inputs


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "float64"])
def test_dtypes_of_inputs(name, dtype):
    layer, loop = kcells.build(name, 4), None
    layer.build(X.shape)
    loop = kcells.RNN(layer.cell)
    x = (X > 0).astype(dtype) if dtype in ("int32", "bool") else X.astype(dtype)
    result = layer(x)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(numpy(result), numpy(loop(x)), rtol=1e-5, atol=1e-6)
    inputs = keras.Input((6, 3), dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    np.testing.assert_allclose(model.predict(x, verbose=0), numpy(result), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(0, 6, 3), (2, 0, 3), (2, 1, 3), (1, 6, 3)])
def test_sizes_of_zero_and_one(name, masked, shape):
    layer = kcells.build(name, 4, return_sequences=True, return_state=True)
    layer.build((None, None, 3))
    loop = kcells.RNN(layer.cell, return_sequences=True, return_state=True)
    x, mask = np.ones(shape, "float32"), np.ones(shape[:2], bool) if masked else None
    for ours, theirs in zip(layer(x, mask=mask), loop(x, mask=mask), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(numpy(ours), numpy(theirs), rtol=1e-5, atol=1e-6)


def test_weights_that_do_not_fit_are_an_error_and_no_crash(kernels):
    class Short(PeepholeLSTMCell):
        def equivalent(self):
            declared = super().equivalent()
            weights = lambda: (self.kernel, self.recurrent_kernel[:2], self.bias)  # noqa: E731
            return kcells.Equivalence("lstm", (), declared.arguments, weights)

    layer = kcells.RNN(Short(4), dispatch="auto")
    with pytest.raises(StructureError) as caught:
        layer(X)
    assert "recurrent kernel   needed (4, 16)   received (2, 16)" in str(caught.value)


# -- Layers around layers


def test_a_subclass_with_a_call_of_its_own_is_called():
    @keras.saving.register_keras_serializable(package="kcells-tests")
    class Sevens(builtin.LSTM):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(sequences, initial_state, mask, training) * 0.0 + 7.0

    layer = kcells.Bidirectional(Sevens(4), merge_mode="sum")
    np.testing.assert_allclose(numpy(layer(X)), 14.0)
    with pytest.raises(DispatchError, match="the layer has no call of its own"):
        kcells.to_builtin(Sevens(4))


def test_explain_of_a_model_that_is_not_built():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = kcells.build("gru", 3, return_sequences=True, stateful=True)
            self.second = kcells.Bidirectional(kcells.build("lstm", 3))

        def call(self, x):
            return self.second(self.first(x))

    model = Model()
    assert len(kcells.explain(model, X)) == 3
    assert not numpy(model.first.states[0]).any()


def test_explain_knows_of_constants():
    class WithConstants(layers.GRUCell):
        def call(self, inputs, states, constants=None, training=False):
            return super().call(inputs + constants, states, training=training)

        def equivalent(self):
            return kcells.Equivalence("gru", (), {"units": self.units})

    inputs = keras.Input((6, 3))
    outputs = kcells.RNN(WithConstants(4), dispatch="auto")(inputs, constants=inputs[:, 0])
    (explanation,) = kcells.explain(keras.Model(inputs, outputs), X)
    assert explanation.path == "loop"


def test_to_builtin_keeps_what_other_layers_have_learnt():
    values = layers.Normalization()
    values.adapt(X * 5 + 1)
    numbers = layers.IntegerLookup()
    numbers.adapt(np.array([3, 5, 5, 9]))
    first, second = keras.Input((6, 3)), keras.Input((6,), dtype="int64")
    both = layers.Concatenate()([values(first), layers.Embedding(10, 2)(numbers(second))])
    model = keras.Model([first, second], kcells.build("gru", 4)(both))
    tokens = np.array([[3, 5, 9, 1, 3, 3], [9, 9, 5, 5, 3, 2]])
    plain = kcells.to_builtin(model)
    np.testing.assert_allclose(
        plain.predict([X, tokens], verbose=0), model.predict([X, tokens], verbose=0), atol=1e-6
    )


def test_to_builtin_says_what_it_takes():
    class Model(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ArgumentError, match="subclass with a call of its own"):
        kcells.to_builtin(Model())
    frozen = kcells.Bidirectional(kcells.build("gru", 4), trainable=False)
    frozen.build(X.shape)
    assert kcells.to_builtin(frozen).trainable_weights == []


# -- PyTorch

torch_only = pytest.mark.skipif(keras.backend.backend() != "torch", reason="about PyTorch")


@torch_only
@pytest.mark.parametrize("name", ["gru"])
def test_gradients_of_gradients(name, float64):
    import torch

    layer, loop = kcells.build(name, 4), None
    layer.build(X.shape)
    loop = kcells.RNN(layer.cell)
    results = []
    for one in (layer, loop):
        x = torch.tensor(X.astype("float64"), requires_grad=True)
        (g,) = torch.autograd.grad(one(x).sum(), x, create_graph=True)
        sources = [x, *(v.value for v in layer.trainable_variables)]
        found = torch.autograd.grad((g**2).sum(), sources, allow_unused=True)
        results.append([numpy(f) for f in found])
    for ours, theirs in zip(*results, strict=True):
        assert np.abs(theirs).max() > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@torch_only
@pytest.mark.parametrize("name", BUILTINS)
def test_outputs_may_be_changed_in_place(name):
    import torch

    layer = kcells.build(name, 4, return_sequences=True, return_state=True)
    x = torch.tensor(X, requires_grad=True)
    if name == "gru":  # oneDNN keeps the outputs of an LSTM; torch.nn.LSTM fails here too
        outputs, *_ = layer(x)
        torch.nn.functional.relu(outputs, inplace=True).sum().backward()
    with torch.no_grad():
        outputs, h, *_ = layer(x)
        before = h.clone()
        outputs.zero_()
        assert torch.equal(h, before)


@torch_only
def test_autocast():
    import torch

    layer = kcells.build("gru", 4)
    plain = layer(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(X)
    np.testing.assert_allclose(numpy(found), numpy(plain), atol=1e-2)


@torch_only
def test_a_layer_that_was_moved_to_another_dtype():
    import torch

    layer = kcells.build("gru", 4)
    plain = layer(X)
    layer.to(torch.float64)
    np.testing.assert_allclose(numpy(layer(X)), numpy(plain), atol=1e-6)
