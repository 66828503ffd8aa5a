"""What the NumPy program does not know of attention: masks, nests, files, errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells.cells import sizes_are_made_up
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells_plugin_wrappers import Bahdanau, Location, Luong, Monotonic, Score

BATCH, TIME, FEATURES, UNITS, POSITIONS = 4, 3, 3, 4, 6
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool
)
SCORES = ("bahdanau", "luong", "location", "monotonic")


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def made(*args, **options):
    options = {"return_sequences": True, **options}
    return kcells.build("attention", *(args or ("lstm", UNITS)), **options)


@pytest.fixture
def x(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")


@pytest.fixture
def memory(rng):
    return rng.normal(size=(BATCH, POSITIONS, 5)).astype("float32")


# -- Masks


@pytest.mark.parametrize("score", SCORES)
def test_masked_positions_have_no_weight_and_no_gradient(score, x, memory, gradients):
    layer = made(score=score, return_alignment=True, attention_units=3)
    layer(x, constants=memory)

    def loss(arrays):
        y, alignment = layer(x, constants={"memory": arrays[0], "mask": MASK})
        return ops.sum(ops.sin(y)) + ops.sum(ops.sin(3 * alignment))

    of_weights, (of_memory,) = gradients(loss, layer.trainable_variables, [memory])
    assert not of_memory[~MASK].any()
    assert of_memory[MASK].any(axis=-1).all()
    spoilt = np.where(MASK[..., None], memory, np.float32(np.nan))
    found, (of_spoilt,) = gradients(loss, layer.trainable_variables, [spoilt])
    for one, other in zip([*found, of_spoilt], [*of_weights, of_memory], strict=True):
        np.testing.assert_array_equal(one, other)
    y, alignment = layer(x, constants={"memory": spoilt, "mask": MASK})
    assert np.isfinite(numbers(y)).all()
    alignment = numbers(alignment)
    assert (alignment >= 0).all()
    assert not alignment[np.broadcast_to(~MASK[:, None], alignment.shape)].any()
    if score != "monotonic":
        np.testing.assert_allclose(alignment[:3].sum(-1), 1.0, rtol=1e-5)


def test_where_no_position_counts_the_context_is_zero(x, memory):
    y = numbers(made()(x, constants={"memory": memory, "mask": MASK}))
    assert not y[3].any()
    assert y[:3].any()


# -- Constants


def test_keys_are_made_once_a_call(x, memory, monkeypatch):
    made_of = []

    def keys(self, weights, memory):
        made_of.append(tuple(memory.shape))
        return memory

    monkeypatch.setattr(Luong, "keys", keys)
    layer = made(score="luong", unroll=True)
    layer(x, constants=memory[..., :4])  # a trace too
    made_of.clear()
    layer(x, constants=memory[..., :4])
    assert made_of == [(BATCH, POSITIONS, 4)]
    made_of.clear()
    stack = kcells.build([made(score="luong").cell, made(score="luong").cell], unroll=True)
    stack(x, constants=memory[..., :4])
    made_of.clear()
    stack(x, constants=memory[..., :4])
    assert len(made_of) == 2


@pytest.mark.parametrize("score", SCORES)
def test_a_cell_alone_takes_constants_as_they_are(score, x, memory):
    constants = {"memory": memory, "mask": MASK}
    layer = made(score=score)
    expected = numbers(layer(x, constants=constants))
    cell, states = layer.cell, layer.cell.get_initial_state(BATCH)
    prepared = cell.prepare_constants(constants)
    for t in range(TIME):
        y, after = cell(x[:, t], states, constants=constants)
        same, _ = cell(x[:, t], states, constants=prepared)
        np.testing.assert_allclose(numbers(y), expected[:, t], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(numbers(same), numbers(y), rtol=1e-5, atol=1e-6)
        states = after


def test_a_learned_memory(x, memory):
    layer = made(learned_memory=(7, 5), return_alignment=True)
    y, alignment = layer(x)
    assert y.shape == (BATCH, TIME, 5)
    assert alignment.shape == (BATCH, TIME, 7)
    as_constants = ops.broadcast_to(ops.convert_to_tensor(layer.cell.memory), (BATCH, 7, 5))
    np.testing.assert_allclose(
        numbers(layer(x, constants=as_constants)[0]), numbers(y), rtol=1e-5, atol=1e-6
    )


def test_memories_of_any_structure(x, memory):
    given = {"text": [memory, memory[:, :2]], "image": memory[..., :2]}
    layer = made(score={"text": ["luong", "bahdanau"], "image": "location"}, return_alignment=True)
    y, alignment = layer(x, constants={"memory": given, "mask": {"text": [MASK, MASK[:, :2]]}})
    assert y.shape == (BATCH, TIME, 12)
    assert tree.map_structure(lambda a: tuple(a.shape), alignment) == {
        "image": (4, 3, 6), "text": [(4, 3, 6), (4, 3, 2)]
    }  # fmt: skip
    bare = layer(x, constants=given)[0]
    np.testing.assert_allclose(numbers(bare)[0], numbers(y)[0], rtol=1e-4, atol=1e-6)
    y = numbers(y)[3]  # first of the image, all of which counts
    assert y[:, :2].any()
    assert not y[:, 2:].any()


def test_attention_nests(x, memory):
    inner = kcells.cell("attention", "gru", UNITS, score="luong")
    around = kcells.cell("residual", kcells.cell("attention", inner, score="location"))
    for cell in (around, [around, kcells.cell("attention", "lstm", UNITS)]):
        layer = kcells.build(cell, return_sequences=True)
        constants = {"memory": memory, "mask": MASK}
        expected = numbers(layer(x, constants=constants))
        written_out = kcells.build(cell, return_sequences=True, unroll=True, compile="never")
        np.testing.assert_allclose(
            numbers(written_out(x, constants=constants)), expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("score", SCORES)
def test_checkpoints_and_half_precision(score, x, memory, gradients):
    constants = {"memory": memory, "mask": MASK}
    layer = made(score=score)
    layer(x, constants=constants)

    def loss(arrays):
        return ops.sum(ops.sin(layer(x, constants={"memory": arrays[0], "mask": MASK})))

    expected = tree.flatten(gradients(loss, layer.trainable_variables, [memory]))
    layer.checkpoint = 2
    found = tree.flatten(gradients(loss, layer.trainable_variables, [memory]))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    half = made(score=score, dtype="mixed_bfloat16")
    y = half(x, constants=constants)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    half.set_weights(layer.get_weights())
    exact = numbers(layer(x, constants=constants))
    y = numbers(ops.cast(half(x, constants=constants), "float32"))
    np.testing.assert_allclose(y, exact, atol=0.1)


# -- Monotonic


def test_noise_is_in_training_alone(x, memory):
    layer = made(score=Monotonic(noise=2.0), seed=1)
    once, twice = (numbers(layer(x, constants=memory)) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    once, twice = (numbers(layer(x, constants=memory, training=True)) for _ in range(2))
    assert not np.allclose(once, twice)


def test_extreme_energies_stay_finite(x, memory, gradients):
    layer = made(score=Monotonic(Luong(), noise=0.0), positions=POSITIONS)
    memory = 1000 * memory
    layer(x, constants=memory)

    def loss(arrays):
        return ops.sum(layer(x, constants=arrays[0]))

    for gradient in tree.flatten(gradients(loss, layer.trainable_variables, [memory])):
        assert np.isfinite(gradient).all()


# -- Models and files


def test_a_model_is_saved_and_loaded(tmp_path, x, memory):
    given = keras.Input((None, FEATURES), name="x")
    seen = keras.Input((POSITIONS, 5), name="memory")
    counts = keras.Input((POSITIONS,), dtype="bool", name="counts")
    score = Monotonic(Bahdanau(3, normalize=True), noise=0.5)
    layer = made(score=score, return_alignment=True, attention_units=4, activation="tanh")
    y, alignment = layer(given, constants={"memory": seen, "mask": counts})
    inputs = {"x": given, "memory": seen, "counts": counts}
    model = keras.Model(inputs, {"y": y, "alignment": alignment})
    arrays = {"x": x, "memory": memory, "counts": MASK}
    expected = model.predict(arrays, verbose=0)
    assert expected["y"].shape == (BATCH, TIME, 4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    found = again.predict(arrays, verbose=0)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)
    cell = next(one for one in again.layers if isinstance(one, kcells.RNN)).cell
    assert cell.score == score
    model.compile("sgd", loss={"y": "mse", "alignment": "mse"})
    model.fit(arrays, expected, epochs=1, verbose=0)


def test_any_number_of_positions(x, memory):
    given, seen = keras.Input((None, FEATURES)), keras.Input((None, 5))
    model = keras.Model([given, seen], made()(given, constants=seen))
    for count in (2, POSITIONS):
        y = model.predict([x, memory[:, :count]], verbose=0)
        assert y.shape == (BATCH, TIME, 5)
    fixed = made(score="location", positions=POSITIONS, return_alignment=True)
    model = keras.Model([given, seen], fixed(given, constants=seen))
    y, alignment = model.predict([x, memory], verbose=0)
    assert alignment.shape == (BATCH, TIME, POSITIONS)


@pytest.mark.parametrize(
    "score", [Bahdanau(3, True), Luong("dot"), Location(2, 3, 5), Monotonic(Luong(), hard=True)]
)
def test_scores_are_saved(score):
    config = keras.saving.serialize_keras_object(score)
    assert keras.saving.deserialize_keras_object(config) == score


def test_a_score_of_ones_own(x, memory):
    class Nearest(Score):
        """Minus the squared distance."""

        def energies(self, weights, query, keys, last):
            return -ops.sum(ops.square(keys - ops.expand_dims(query, 1)), axis=-1)

    layer = made("gru", 5, score=Nearest(), return_alignment=True, output_attention=False)
    q, alignment = layer(x, constants=memory)
    far = ((memory[:, None] - numbers(q)[:, :, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(numbers(alignment).argmax(-1), far.argmin(-1))


# -- Errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"score": "best"}, 'score must be "bahdanau", "luong", "location", "monotonic", or an'),
        ({"attention_units": 0}, "attention_units must be a positive int"),
        ({"positions": 2.5}, "positions must be a positive int"),
        ({"learned_memory": (5, 0)}, "learned_memory must be a positive int"),
    ],
)
def test_what_cannot_be_made(options, text):
    with pytest.raises(ConfigurationError, match=text):
        made(**options)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Bahdanau(0), "Bahdanau: units must be a positive int; received 0"),
        (lambda: Location(filters=0), "Location: filters must be a positive int"),
        (lambda: Location(width=None), "Location: width must be a positive int"),
        (lambda: Luong("cosine"), 'kind must be "dot", "general" or "scaled"; received \'cosine\''),
        (lambda: Monotonic("location"), "one that does not need the shares of the step before"),
        (lambda: Monotonic(noise=-1.0), "and noise at least 0; received .* and -1.0"),
    ],
)
def test_scores_that_cannot_be_made(make, text):
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_a_score_without_energies_cannot_be_made():
    class NothingScore(Score):
        """Says nothing."""

    with pytest.raises(TypeError, match="energies"):
        NothingScore()


def test_sizes_of_numpy_are_plain_numbers():
    score = Location(np.int64(8), filters=np.int32(4))
    assert score == Location(8, 4)
    assert {type(value) for value in score.get_config().values()} == {int}


def wide(*shape):
    return np.zeros((BATCH, *shape), "float32")


@pytest.mark.parametrize(
    ("options", "constants", "error", "text"),
    [
        ({}, None, ConfigurationError, r"nothing to attend to.\n  Call the layer with constants=m"),
        ({}, wide(5), StructureError, r"memory must be \(batch, positions, features\); rec.* 5\)"),
        (
            {},
            {"memory": wide(6, 5), "masks": MASK},
            StructureError,
            "besides it there may be a mask.\n  received: 'masks'",
        ),
        (
            {},
            {"memory": wide(6, 5), "mask": MASK[:, :2]},
            StructureError,
            r"mask of a memory must be .*\n  needed:   \(4, 6\)\n  received: \(4, 2\)",
        ),
        (
            {},
            {"memory": {"a": wide(6, 5)}, "mask": MASK},
            StructureError,
            "masks of several memories come in their structure",
        ),
        ({"score": Luong("dot")}, wide(6, 5), ConfigurationError, 'of the memory: 5\n  Use "gen'),
        ({"score": ["luong"]}, wide(6, 5), StructureError, "score has another structure"),
        (
            {"positions": 7},
            wide(6, 5),
            StructureError,
            "needed:   7\n  received: 6\n  Pad it, with a mask",
        ),
    ],
)
def test_memories_that_do_not_fit(options, constants, error, text, x):
    with pytest.raises(error, match=text):
        made(**options)(x, constants=constants)


def test_another_memory_than_it_was_built_for(x, memory):
    layer = made(score="location")
    layer(x, constants=memory)
    with pytest.raises(StructureError, match="needed:   6\n  received: 5"):
        layer(x, constants=memory[:, :5])
    with pytest.raises(StructureError, match="memory has another structure"):
        layer(x, constants=[memory, memory])


def test_positions_that_nobody_knows():
    given, seen = keras.Input((None, FEATURES)), keras.Input((None, 5))
    with pytest.raises(ConfigurationError, match="shares of Location are a state, and the mem"):
        made(score="location")(given, constants=seen)
    with pytest.raises(ConfigurationError, match="return_alignment=True, and the memory has no f"):
        made(return_alignment=True)(given, constants=seen)


def test_inputs_and_outputs_that_are_no_vectors(memory):
    with pytest.raises(StructureError, match=r"must be one vector a step.* are \(3, 2\)\.\n"):
        made()(wide(TIME, 3, 2), constants=memory)
    both = kcells.cell("parallel", {"a": keras.layers.GRUCell(2), "b": keras.layers.GRUCell(3)})
    with pytest.raises(StructureError, match="the inputs must be one vector a step"):
        made(both)({"a": wide(TIME, 2), "b": wide(TIME, 3)}, constants=memory)


def test_state_size_is_not_set():
    with pytest.raises(AttributeError, match="follows from its cell and its memory"):
        made().cell.state_size = 3


# -- Decoding


@pytest.mark.parametrize("score", SCORES)
def test_generate_gives_a_cell_its_constants(score, memory, monkeypatch):
    cell = kcells.cell("attention", "gru", UNITS, score=score, return_alignment=True)
    made_of = []
    prepare = type(cell).prepare_constants

    def noted(self, constants):
        made_of.append(sizes_are_made_up())
        return prepare(self, constants)

    constants = {"memory": memory[..., :4], "mask": MASK}
    layer = kcells.RNN(cell, return_sequences=True)
    start = np.zeros((BATCH, 4), "float32")
    layer(start[:, None], constants=constants)

    def chosen(outputs):
        return ops.tanh(outputs[0])

    monkeypatch.setattr(type(cell), "prepare_constants", noted)
    kcells.generate(cell, None, start, 5, choose=chosen, constants=constants)
    assert made_of.count(False) <= 2  # JAX traces a program twice; there are five steps
    found = numbers(
        kcells.generate(cell, None, start, 5, choose=chosen, constants=constants).outputs
    )
    shifted = np.concatenate([start[:, None], found[:, :-1]], axis=1)
    np.testing.assert_allclose(
        numbers(ops.tanh(layer(shifted, constants=constants)[0])), found, rtol=1e-4, atol=1e-5
    )


def test_a_beam_attends(rng, memory):
    cell = kcells.cell("output_projection", kcells.cell("attention", "gru", UNITS), size=6)
    table = rng.normal(size=(6, FEATURES)).astype("float32")

    def feed(ids):
        return ops.take(ops.convert_to_tensor(table), ids, axis=0)

    constants = {"memory": memory}
    ids = np.zeros(BATCH, "int32")
    with pytest.raises(CellError, match=r"no state_size before it is built\.\n  Call the layer"):
        kcells.generate(cell, None, ids, 5, constants=constants, feed=feed)
    kcells.RNN(cell)(np.zeros((BATCH, 1, FEATURES), "float32"), constants=constants)
    one, greedy = (
        kcells.generate(cell, None, ids, 5, end=5, choose=way, constants=constants, feed=feed)
        for way in (kcells.decoding.Beam(1), "greedy")
    )
    np.testing.assert_array_equal(numbers(one.outputs), numbers(greedy.outputs))
    best = kcells.generate(
        cell, None, ids, 5, end=5, choose=kcells.decoding.Beam(4), constants=constants, feed=feed
    )
    assert (numbers(best.scores) >= numbers(greedy.scores) - 1e-5).all()
