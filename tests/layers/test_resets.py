"""Resets, lengths, all states and a trained initial state, against running pieces alone."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops, tree

import kcells
from kcells.errors import DispatchError, StructureError
from kcells.testing import Differentiated

BATCH, TIME, FEATURES, UNITS = 3, 7, 2, 4
CELLS = {
    "a kernel": "lstm",
    "a loop": "ln_gru",
    "all steps at once": "min_gru",
    "complex numbers": "lru",
    "a stack": ["gru", "min_gru", "mlstm"],
}


def numbers(leaf):
    return np.asarray(ops.convert_to_numpy(leaf))


def make(kind, rng=None, **options):
    layer = kcells.build(CELLS[kind], UNITS, return_sequences=True, **options)
    layer.build((BATCH, TIME, FEATURES))
    if rng is not None:
        for weight in layer.weights:
            weight.assign(rng.normal(0.0, 0.5, weight.shape))
    return layer


def pieces(begins):
    """Where each piece of a row begins and ends."""
    edges = [0, *(t for t in range(1, TIME) if begins[t]), TIME]
    return itertools.pairwise(edges)


@pytest.fixture
def sequences(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES))


@pytest.fixture
def begins():
    flags = np.zeros((BATCH, TIME), bool)
    flags[0, 3] = flags[1, [0, 2, 6]] = True
    return flags


@pytest.mark.usefixtures("float64")
@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "options", [{}, {"train_initial_state": True}, {"checkpoint": 2}, {"tbptt": 2}], ids=str
)
@pytest.mark.parametrize("kind", CELLS)
def test_results_and_gradients_are_those_of_the_pieces_alone(kind, options, rng, sequences, begins):
    layer = make(kind, rng, **options)
    cotangent = rng.normal(size=(BATCH, TIME, UNITS))
    whole = Differentiated(layer, lambda leaves: [layer(leaves[0], reset=begins)])
    (outputs,), gradients = whole([sequences], [cotangent])
    total = None
    for row in range(BATCH):
        for start, end in pieces(begins[row]):
            alone = Differentiated(layer, lambda leaves: [layer(leaves[0])])
            place = (slice(row, row + 1), slice(start, end))
            (found,), parts = alone([sequences[place]], [cotangent[place]])
            np.testing.assert_allclose(outputs[place], found, rtol=1e-9, atol=1e-11)
            parts = [np.array(part) for part in parts]
            np.testing.assert_allclose(gradients[-1][place], parts[-1], rtol=1e-8, atol=1e-10)
            total = (
                parts[:-1] if total is None else [a + b for a, b in zip(total, parts, strict=False)]
            )
    for ours, theirs in zip(gradients[:-1], total, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("is_both", [False, True])
def test_masked_steps_ignore_their_flag(kind, is_both, rng, sequences, begins):
    layer = make(kind, rng)
    if is_both:
        layer = kcells.Bidirectional(layer)
    mask = rng.random((BATCH, TIME)) < 0.7
    mask[0, 3] = mask[1, 2] = False
    mask[2] = False
    x = sequences.astype("float32")
    whole = numbers(layer(x, reset=begins, mask=mask))
    for row in range(BATCH):
        for start, end in pieces(begins[row] & mask[row]):
            place = (slice(row, row + 1), slice(start, end))
            alone = numbers(layer(x[place], mask=mask[place]))
            counts = mask[place]
            np.testing.assert_allclose(whole[place][counts], alone[counts], rtol=1e-4, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.booleans(), min_size=TIME, max_size=TIME), st.integers(0, TIME))
def test_where_pieces_begin_and_end_is_any(flags, length):
    rng = np.random.default_rng(7)
    layer = kcells.Bidirectional(make("a loop", rng), merge_mode=None)
    x = rng.normal(size=(1, TIME, FEATURES)).astype("float32")
    begins = np.array([flags])
    found = [numbers(y) for y in layer(x, reset=begins, lengths=np.array([length]))]
    for start, end in pieces(begins[0] & (np.arange(TIME) < length)):
        end = min(end, length)
        if start < end:
            alone = layer(x[:, start:end])
            for ours, theirs in zip(found, alone, strict=True):
                np.testing.assert_allclose(
                    ours[:, start:end], numbers(theirs), rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("kind", CELLS)
def test_the_initial_state_of_the_call_is_the_carry_of_the_first_piece(kind, sequences, begins):
    x = sequences.astype("float32")
    layer = make(kind)
    states = tree.map_structure(lambda s: ops.ones_like(s), layer.get_initial_state(BATCH))
    outputs = numbers(layer(x, initial_state=states, reset=begins))
    np.testing.assert_allclose(outputs[0, 3:], numbers(layer(x[:1, 3:]))[0], rtol=1e-4, atol=1e-5)
    first = numbers(layer(x[:, :2], initial_state=states))
    np.testing.assert_allclose(outputs[0, :2], first[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["a kernel", "all steps at once"])
def test_lengths_are_a_mask(kind, sequences):
    layer, x, lengths = make(kind), sequences.astype("float32"), np.array([0, 3, TIME])
    short = np.arange(TIME) < lengths[:, None]
    np.testing.assert_allclose(numbers(layer(x, lengths=lengths)), numbers(layer(x, mask=short)))
    holes = np.ones((BATCH, TIME), bool)
    holes[:, 1] = False
    both = numbers(layer(x, lengths=lengths, mask=holes))
    np.testing.assert_allclose(both, numbers(layer(x, mask=short & holes)))


@pytest.mark.parametrize("kind", CELLS)
def test_all_states(kind, sequences):
    x = sequences.astype("float32")
    layer = make(kind, return_all_states=True)
    mask = np.ones((BATCH, TIME), bool)
    mask[1, 2:4] = False
    outputs, *states = layer(x, mask=mask)
    last = kcells.RNN(layer.cell, return_state=True)
    for t in range(TIME):
        _, *until = last(x[:, : t + 1], mask=mask[:, : t + 1])
        for ours, theirs in zip(tree.flatten(states), tree.flatten(until), strict=True):
            np.testing.assert_allclose(numbers(ours)[:, t], numbers(theirs), rtol=1e-4, atol=1e-5)
    specs = tree.flatten(layer.compute_output_spec(keras.KerasTensor((BATCH, None, FEATURES))))
    for spec, found in zip(specs, [outputs, *tree.flatten(states)], strict=True):
        assert spec.shape == (BATCH, None, *found.shape[2:])
    _, *none = layer(x[:, :0])
    assert [leaf.shape[1] for leaf in tree.flatten(none)] == [0] * len(tree.flatten(none))


def test_all_states_of_both_directions_are_where_they_belong(sequences):
    x = sequences.astype("float32")
    both = kcells.Bidirectional(
        kcells.build("gru", UNITS, return_sequences=True, return_all_states=True)
    )
    outputs, forward, backward = both(x)
    np.testing.assert_allclose(
        numbers(outputs), np.concatenate([numbers(forward), numbers(backward)], axis=-1), rtol=1e-5
    )


@pytest.mark.parametrize("kind", CELLS)
def test_a_trained_initial_state(kind, rng, sequences, tmp_path):
    x = sequences.astype("float32")
    layer = make(kind, train_initial_state=True)
    trained = [w for w in layer.trainable_weights if "initial_state" in w.name]
    assert len(trained) == len(tree.flatten(layer.get_initial_state(1)))
    plain = make(kind)
    others = [w for w in layer.weights if "initial_state" not in w.name]
    for ours, theirs in zip(others, plain.weights, strict=True):
        theirs.assign(ours)
    np.testing.assert_allclose(numbers(layer(x)), numbers(plain(x)), rtol=1e-5, atol=1e-6)
    for weight in trained:
        weight.assign(rng.normal(size=weight.shape))
    start = layer.get_initial_state(BATCH)
    np.testing.assert_allclose(
        numbers(layer(x)), numbers(plain(x, initial_state=start)), rtol=1e-5, atol=1e-6
    )
    assert kcells.explain(layer).path == kcells.explain(plain).path
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer, keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numbers(again(x)), numbers(model(x)), rtol=1e-5, atol=1e-6)


def test_fit_moves_the_initial_state(sequences):
    layer = make("a loop", train_initial_state=True)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.compile("sgd", "mse")
    (before,) = (numbers(w) for w in layer.weights if "initial_state" in w.name)
    model.fit(sequences, np.ones((BATCH, TIME, UNITS)), verbose=0)
    (after,) = (numbers(w) for w in layer.weights if "initial_state" in w.name)
    assert before.shape == (1, UNITS)
    assert np.abs(after - before).max() > 0


def test_a_stateful_layer_begins_and_resets_to_what_is_trained(sequences):
    x = sequences.astype("float32")
    layer = kcells.build("gru", UNITS, stateful=True, train_initial_state=True)
    model = keras.Sequential([keras.Input(batch_shape=x.shape), layer])
    (weight,) = (w for w in layer.weights if "initial_state" in w.name)
    weight.assign(np.ones(weight.shape))
    layer.reset_state()
    np.testing.assert_allclose(numbers(layer.states[0]), np.ones((BATCH, UNITS)))
    first = numbers(model(x))
    layer.reset_state()
    np.testing.assert_allclose(numbers(model(x)), first, rtol=1e-5, atol=1e-6)


def test_it_is_said_why_no_kernel_runs(begins, sequences):
    layer = make("a kernel")
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model(sequences)

    class Reset(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def call(self, x):
            return self.inner(x, reset=begins)

    (explained,) = kcells.explain(Reset(), sequences)
    reasons = {reason.condition: reason.holds for reason in explained.reasons}
    assert explained.path == "fused"
    assert explained.kernel == "loop"
    assert reasons["no step starts anew"] is False
    explained = kcells.explain(make("a kernel", return_all_states=True))
    assert "the last states alone are wanted" in [r.condition for r in explained.reasons]
    assert explained.kernel == "loop"


@pytest.mark.parametrize("length", [TIME, None])
@pytest.mark.parametrize("around", [lambda layer: layer, kcells.Bidirectional], ids=["one", "both"])
def test_symbols_and_functional_models(sequences, begins, around, length):
    x, flags = keras.Input((length, FEATURES)), keras.Input((length,), dtype="bool")
    lengths = keras.Input((), dtype="int32")
    layer = around(kcells.build("mlstm", UNITS, return_sequences=True))
    model = keras.Model([x, flags, lengths], layer(x, reset=flags, lengths=lengths))
    given = [sequences.astype("float32"), begins, np.array([3, 7, 5], "int32")]
    found = model.predict(given, verbose=0)
    direct = layer(given[0], reset=given[1], lengths=given[2])
    np.testing.assert_allclose(found, numbers(direct), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"tbptt": 2}], ids=str)
def test_a_file_of_which_the_exporter_knows_less(rng, sequences, begins, monkeypatch, options):
    """The exporter for ONNX from JAX sorts no unknown number of steps, nor divides with a rest.

    Its file needs no `tbptt`, as it has no gradient.
    """
    if keras.backend.backend() != "jax":
        pytest.skip("about the JAX backend")
    import jax

    from kcells.engine.backends import jax as backend

    layer = kcells.Bidirectional(make("a loop", rng, **options))
    given = sequences.astype("float32"), begins, rng.random((BATCH, TIME)) < 0.7

    def run(x, flags, mask):
        return layer(x, reset=flags, mask=mask)

    def unknown_to_the_exporter():
        program = str(jax.make_jaxpr(lambda *given: run(*given))(*given))
        return {name for name in ("sort[", " rem ") if name in program}

    assert unknown_to_the_exporter() == {"sort[", " rem "}
    wanted = numbers(run(*given))
    monkeypatch.setattr(backend, "writes", lambda: "onnx")
    assert unknown_to_the_exporter() == set()
    np.testing.assert_allclose(numbers(run(*given)), wanted, rtol=1e-6, atol=1e-7)


def test_options_are_in_the_configuration():
    layer = make("a loop", return_all_states=True, train_initial_state=True)
    config = layer.get_config()
    names = ("return_all_states", "train_initial_state", "return_state")
    assert [config[name] for name in names] == [True] * 3
    again = kcells.RNN.from_config(config)
    assert [getattr(again, name) for name in names] == [True] * 3
    built_in = kcells.build("gru", 3, train_initial_state=True)
    assert type(built_in).from_config(built_in.get_config()).train_initial_state
    with pytest.raises(DispatchError, match="train_initial_state=True"):
        kcells.to_builtin(built_in)


def test_what_does_not_fit(sequences):
    layer = make("a loop")
    x = sequences.astype("float32")
    with pytest.raises(StructureError, match=r"reset must have the shape \(batch, time\)"):
        layer(x, reset=np.zeros((BATCH, TIME + 1), bool))
    with pytest.raises(StructureError, match="lengths must be ints, one a row"):
        layer(x, lengths=np.ones(BATCH + 1, "int32"))
    with pytest.raises(StructureError, match="lengths must be ints, one a row"):
        layer(x, lengths=np.ones(BATCH, "float32"))
