"""A model of one time step gives, step by step, what the model gives for the sequence."""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree

import kcells
from kcells.errors import ArgumentError, ConfigurationError

BATCH, TIME, FEATURES = 3, 5, 4


def numbers(structure):
    return tree.map_structure(lambda leaf: np.asarray(ops.convert_to_numpy(leaf)), structure)


def stepped(stream, inputs, states=None):
    """What a stream gives for every step, and its last states."""
    first = tree.flatten(inputs)[0]
    states = stream.initial_states(len(first)) if states is None else states
    outputs = []
    for t in range(first.shape[1]):
        step = tree.map_structure(lambda leaf, t=t: leaf[:, t], inputs)
        result = stream({"inputs": step, "states": states})
        states = result["states"]
        outputs.append(numbers(result["outputs"]))
    return outputs, states


def assert_same(model, inputs, every_step, **options):
    stream = kcells.to_streaming(model, **options)
    steps, _ = stepped(stream, inputs)
    given = numbers(model(tree.map_structure(ops.convert_to_tensor, inputs)))
    if every_step:
        steps = tree.map_structure(lambda *leaves: np.stack(leaves, axis=1), *steps)
    else:
        steps = steps[-1]
    for ours, theirs in zip(tree.flatten(steps), tree.flatten(given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    return stream


@pytest.fixture
def sequences(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")


@pytest.fixture
def padded(sequences):
    """With masked steps before, between and after those that count, and a row without any."""
    sequences[0, 3:] = sequences[1, [0, 2]] = sequences[2] = 0.0
    return sequences


def stack_of(*cells):
    return keras.Sequential([keras.Input((None, FEATURES)), *cells])


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "name", [info.id for info in kcells.list_cells() if info.distribution == "kcells"]
)
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_built_ins(name, is_masked, return_sequences, sequences, padded):
    layer = kcells.build(name, 3, return_sequences=return_sequences)
    model = stack_of(layers.Masking(), layer) if is_masked else stack_of(layer)
    assert_same(model, padded if is_masked else sequences, return_sequences)


OF_EVERY_KIND = ["ln_gru", "mlstm", "min_gru", "lru", "xlstm_mlstm"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OF_EVERY_KIND)
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_cells_under_a_mask(name, zero_output_for_mask, padded):
    layer = kcells.build(name, 4, return_sequences=True, zero_output_for_mask=zero_output_for_mask)
    assert_same(stack_of(layers.Masking(), layer), padded, every_step=True)


def test_several_layers_and_what_acts_on_each_step(sequences):
    model = stack_of(
        layers.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="relu"),
        kcells.build(["lstm", "gru"], 5, return_sequences=True),
        layers.LayerNormalization(),
        keras.Sequential([layers.Dense(4, "tanh"), kcells.build("gru", 3, return_sequences=True)]),
        layers.TimeDistributed(layers.Dense(2)),
    )
    model.build((None, None, FEATURES))
    assert_same(model, sequences, every_step=True)


def test_a_graph_of_nested_inputs_and_outputs(sequences):
    motion = keras.Input((None, FEATURES), name="motion")
    words = keras.Input((None,), name="words", dtype="int32")
    constant = keras.Input((2,), name="constant")
    embedded = layers.Embedding(9, 3, mask_zero=True)(words)
    both = layers.Concatenate()([motion, embedded])
    h = kcells.build("gru", 4, return_sequences=True)(both)
    branches = {"h": h, "motion": motion}
    cell = kcells.cell("parallel", {"h": kcells.cell("gru", 2), "motion": kcells.cell("lstm", 3)})
    found = kcells.RNN(cell, return_sequences=True)(branches)
    outputs = {"sum": layers.Dense(2)(found["h"]) * 0.5 + 1.0, "motion": found["motion"]}
    model = keras.Model({"motion": motion, "words": words}, outputs)
    tokens = np.array([[1, 2, 0, 3, 4], [0, 0, 5, 1, 0], [8, 1, 1, 1, 1]], "int32")
    assert_same(model, {"motion": sequences, "words": tokens}, every_step=True)
    # What does not change over time goes in as it is, at every step.
    shown = layers.Dense(FEATURES)(constant)
    h = kcells.build("gru", 4)(motion)
    static = keras.Model([motion, constant], layers.Concatenate()([h, shown]))
    stream = kcells.to_streaming(static)
    states, fixed = stream.initial_states(BATCH), np.ones((BATCH, 2), "float32")
    for t in range(TIME):
        result = stream({"inputs": [sequences[:, t], fixed], "states": states})
        states = result["states"]
    np.testing.assert_allclose(
        numbers(result["outputs"]), numbers(static([sequences, fixed])), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["ln_gru", "lstm"])
def test_what_goes_in_step_by_step_besides(name, rng, sequences, tmp_path):
    given = {
        "x": keras.Input((None, FEATURES), name="x"),
        "reset": keras.Input((None,), dtype="bool", name="reset"),
        "mask": keras.Input((None,), dtype="bool", name="mask"),
    }
    options = {"return_sequences": True, "train_initial_state": True}
    layer = kcells.build("residual", name, FEATURES, **options)
    model = keras.Model(given, layer(given["x"], reset=given["reset"], mask=given["mask"]))
    for weight in layer.trainable_weights:
        weight.assign_add(np.full(weight.shape, 0.1))
    flags = rng.random((2, BATCH, TIME)) < 0.5
    arrays = {"x": sequences, "reset": flags[0], "mask": flags[1]}
    stream = assert_same(model, arrays, every_step=True)
    stream.save(tmp_path / "stream.keras")
    again = keras.models.load_model(tmp_path / "stream.keras")
    for ours, theirs in zip(stepped(stream, arrays)[0], stepped(again, arrays)[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_memory_is_there_at_every_step(rng, sequences):
    given, memory = keras.Input((None, FEATURES)), keras.Input((6, 3))
    layer = kcells.build("attention", "gru", 4, score="luong", return_sequences=True)
    model = keras.Model([given, memory], layer(given, constants=layers.Dense(2)(memory)))
    seen = rng.normal(size=(BATCH, 6, 3)).astype("float32")
    stream = kcells.to_streaming(model)
    states = stream.initial_states(BATCH)
    for t in range(TIME):
        result = stream({"inputs": [sequences[:, t], seen], "states": states})
        states = result["states"]
    whole = numbers(model([sequences, seen]))[:, -1]
    np.testing.assert_allclose(numbers(result["outputs"]), whole, rtol=1e-4, atol=1e-5)


def test_what_a_stream_has_one_step_of():
    given, lengths = keras.Input((None, FEATURES)), keras.Input((), dtype="int32")
    model = keras.Model([given, lengths], kcells.build("gru", 3)(given, lengths=lengths))
    with pytest.raises(ConfigurationError, match="lengths= says of a whole sequence"):
        kcells.to_streaming(model)
    layer = kcells.build("attention", "gru", 3)
    encoded = kcells.build("gru", 3, return_sequences=True)(given)
    with pytest.raises(ConfigurationError, match="its constants are made of what comes step by"):
        kcells.to_streaming(keras.Model(given, layer(given, constants=encoded)))


def test_one_layer_called_twice(sequences):
    layer = kcells.build("gru", FEATURES, return_sequences=True)
    given = keras.Input((None, FEATURES))
    model = keras.Model(given, layer(layer(given)))
    stream = assert_same(model, sequences, every_step=True)
    assert list(stream.initial_states(1)) == [layer.name, f"{layer.name}_call_2"]
    assert len(stream.weights) == len(model.weights)


def test_a_layer_of_its_own_and_shared_weights(sequences):
    layer = kcells.build("ln_gru", 3, return_sequences=True)
    layer(sequences)
    stream = assert_same(layer, sequences, every_step=True)
    layer.cell.kernel.assign(2.0 * layer.cell.kernel)
    before = numbers(layer(sequences))[:, -1]
    np.testing.assert_allclose(stepped(stream, sequences)[0][-1], before, rtol=1e-4, atol=1e-5)


def test_a_stateful_layer_and_dropout(sequences):
    layer = kcells.build("mlstm", 3, return_sequences=True, stateful=True, dropout=0.4)
    model = keras.Sequential([keras.Input(batch_shape=(BATCH, TIME, FEATURES)), layer])
    stream = kcells.to_streaming(model)
    steps, _ = stepped(stream, sequences)
    assert not any(numbers(state).any() for state in tree.flatten(layer.states))
    np.testing.assert_allclose(
        np.stack(steps, axis=1), numbers(model(sequences)), rtol=1e-4, atol=1e-5
    )


def test_it_is_saved(tmp_path, padded):
    model = stack_of(
        layers.Conv1D(3, 2, padding="causal", activation="relu"),
        layers.Masking(),
        kcells.build("min_gru", 3, return_sequences=True),
    )
    stream = kcells.to_streaming(model)
    stream.save(tmp_path / "stream.keras")
    again = kcells.load_model(tmp_path / "stream.keras")
    assert isinstance(again, kcells.StreamingModel)
    for ours, theirs in zip(
        *(tree.flatten(stepped(one, padded)) for one in (stream, again)), strict=True
    ):
        np.testing.assert_array_equal(numbers(ours), numbers(theirs))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: kcells.Bidirectional(kcells.build("gru", 2)), "its backward layer begins at"),
        (lambda: kcells.build("gru", 2, go_backwards=True), "go_backwards=True begins at the end"),
        (lambda: layers.LSTM(2), "the states of Keras' own layer cannot be handed on"),
        (lambda: layers.GlobalAveragePooling1D(), "it looks at other steps"),
        (lambda: layers.Conv1D(2, 3), "it looks at other steps"),
        (lambda: layers.Conv1D(2, 3, 2, padding="causal"), "its strides are not 1"),
        (lambda: layers.Softmax(axis=1), "axis=1 is the time"),
        (lambda: layers.UnitNormalization(axis=[1, 2]), "is the time"),
        (lambda: layers.Lambda(lambda x: x), "it looks at other steps"),
    ],
)
def test_a_layer_that_cannot_be_stepped_is_named(layer, reason):
    made = layer()
    made.name = "culprit"
    model = stack_of(kcells.build("gru", 4, return_sequences=True), made)
    with pytest.raises(ConfigurationError, match=f'layer "culprit".*cannot be stepped: .*{reason}'):
        kcells.to_streaming(model)


def test_operations_that_take_the_time_along():
    given = keras.Input((None, FEATURES))
    h = kcells.build("gru", 4, return_sequences=True)(given)
    for outputs, reason in (
        (ops.mean(h, axis=1), "axis=.1. is the time"),
        (ops.sum(h), "it takes all axes"),
        (ops.flip(h, axis=1), "an operation that may look at other steps"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            kcells.to_streaming(keras.Model(given, outputs))
    model = keras.Model(given, ops.tanh(ops.max(h, axis=-1)))
    assert kcells.to_streaming(model).input["inputs"].shape == (None, FEATURES)


def test_a_class_of_the_user(sequences):
    class Double(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    model = stack_of(kcells.build("gru", 4, return_sequences=True), Double())
    with pytest.raises(ConfigurationError, match=r"pass stepwise=\(Double,\)"):
        kcells.to_streaming(model)
    assert_same(model, sequences, every_step=True, stepwise=(Double,))


def test_what_is_no_such_model():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ArgumentError, match="a call of its own"):
        kcells.to_streaming(Own())
    with pytest.raises(ArgumentError, match="takes a layer or a model; received str"):
        kcells.to_streaming("gru")
    with pytest.raises(ArgumentError, match=r"is not built"):
        kcells.to_streaming(keras.Sequential([kcells.build("gru", 3)]))
    with pytest.raises(ArgumentError, match=r'layer "gru.*" is not built'):
        kcells.to_streaming(kcells.build("gru", 3))
    with pytest.raises(ConfigurationError, match=r"nothing in .* has a state"):
        kcells.to_streaming(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
    encoder, decoder = kcells.build("gru", 3, return_state=True), kcells.build("gru", 3)
    given = keras.Input((None, 2))
    _, h = encoder(given)
    with pytest.raises(ConfigurationError, match="its initial state comes from another layer"):
        kcells.to_streaming(keras.Model(given, decoder(given, initial_state=[h])))
