"""`model.export` on TensorFlow and JAX: the runtime of each format computes what the model does.

No option is set. What cannot be in a file is an error before there is one.
`benchmarks/export.py` looks at every cell; `test_torch_traces.py` at PyTorch.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree
from linear_cells import FEATURES, KINDS, Gated
from mixing_cell import COLUMNS, ROWS, VECTOR, MixingCell, pack

import kcells
from kcells import _keras_private
from kcells.errors import ConfigurationError
from kcells.files import SUFFIXES, run_file

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    pytest.skip("PyTorch has its own tests", allow_module_level=True)

BATCH, TIME = 4, 6

litert = pytest.param("litert", marks=pytest.mark.newest_keras)
FORMATS = ["onnx", litert] if BACKEND == "tensorflow" else ["tf_saved_model"]
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")


def of_vectors(layer, length=None, masked=False):
    before = [layers.Masking()] if masked else []
    return keras.Sequential([keras.Input((length, FEATURES)), *before, layer])


def of_a_structure(layout):
    shapes = pack(layout, (None, VECTOR), (None, ROWS, COLUMNS))
    names = iter(["zeta", "alpha"])  # Sorted otherwise than the leaves are.
    inputs = tree.map_structure_up_to(
        pack(layout, 0, 0), lambda shape: keras.Input(shape, name=next(names)), shapes
    )
    if layout == "dict":
        inputs = {key: keras.Input(shape, name=key) for key, shape in shapes.items()}
    outputs = kcells.RNN(MixingCell(layout), return_sequences=True, return_state=True)(inputs)
    return keras.Model(inputs, tree.flatten(outputs))


def of_tokens():
    embedding = layers.Embedding(9, FEATURES, mask_zero=True)
    return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, kcells.RNN(Gated())])


def in_both_directions():
    one = kcells.Bidirectional(kcells.build("gru", 3, return_sequences=True))
    return keras.Sequential([keras.Input((None, FEATURES)), one, layers.Dense(2)])


STACK = [layers.LSTMCell(FEATURES), Gated(), layers.GRUCell(2)]
MODELS = {
    "a kernel, its last output": lambda: of_vectors(kcells.build("lstm", 3), TIME),
    "a kernel, masked": lambda: of_vectors(kcells.build("gru", 3, return_state=True), masked=True),
    "a loop": lambda: of_vectors(kcells.RNN(layers.SimpleRNNCell(3), return_sequences=True)),
    "a loop, masked": lambda: of_vectors(kcells.RNN(layers.LSTMCell(3)), TIME, masked=True),
    "all steps at once": lambda: of_vectors(kcells.RNN(Gated(), return_sequences=True), TIME),
    "complex numbers, masked": lambda: of_vectors(kcells.RNN(KINDS["turning"]()), masked=True),
    "blocks that are repeated": lambda: of_vectors(kcells.RNN(layers.GRUCell(3), checkpoint=2)),
    "a stack": lambda: of_vectors(kcells.RNN(STACK, dispatch="auto"), TIME),
    "a dict": lambda: of_a_structure("dict"),
    "a list": lambda: of_a_structure("list"),
    "a tuple": lambda: of_a_structure("tuple"),
    "tokens": of_tokens,
    "both directions": in_both_directions,
}


def drawn(rng, model, batch=BATCH, time=TIME):
    def leaf(spec):
        if spec.dtype == "int32":
            return np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1], [0] * 6, [3] * 6], "int32")
        array = rng.normal(size=(batch, time, *spec.shape[2:])).astype("float32")
        array[0, 3:] = 0.0
        array[1:2] = 0.0
        return array

    is_flat = isinstance(model, keras.Sequential)
    return tree.map_structure(leaf, model.inputs[0] if is_flat else model.input)


def exported(model, folder, form, arrays):
    """The path of a file; Keras asks for a call before it writes some formats."""
    model(tree.map_structure(ops.convert_to_tensor, arrays))
    folder.mkdir(exist_ok=True)
    path = folder / f"model{SUFFIXES[form]}"
    model.export(str(path), format=form, verbose=False)
    return path


def assert_runs(model, path, form, arrays):
    wanted = tree.flatten(model(tree.map_structure(ops.convert_to_tensor, arrays)))
    wanted = map(ops.convert_to_numpy, wanted)
    found = run_file(form, path, arrays, [one.name for one in model.inputs])
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_file_computes_what_the_model_does(rng, tmp_path, kind, form):
    model = MODELS[kind]()
    arrays = drawn(rng, model)
    path = exported(model, tmp_path, form, arrays)
    assert_runs(model, path, form, arrays)


@on_tensorflow
def test_after_fit_and_from_a_file_of_keras(rng, tmp_path):
    """And the model goes on as it was."""
    model = of_vectors(kcells.RNN(layers.SimpleRNNCell(3), return_sequences=True))
    arrays = drawn(rng, model)
    model.compile("sgd", "mse")
    model.fit(arrays, np.ones((BATCH, TIME, 3)), verbose=0)
    before = model.predict(arrays, verbose=0)
    for form in ("onnx", "tf_saved_model"):
        path = exported(model, tmp_path, form, arrays)
        assert_runs(model, path, form, drawn(rng, model, 1, TIME + 2))
    layer = model.layers[-1]
    assert (layer._plan.compiles, layer._met.obstacle) == (True, "")
    np.testing.assert_array_equal(model.predict(arrays, verbose=0), before)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    path = exported(loaded, tmp_path / "loaded", "onnx", arrays)
    assert_runs(loaded, path, "onnx", arrays)


@on_tensorflow
@pytest.mark.parametrize("form", FORMATS)
def test_no_steps(rng, tmp_path, form):
    model = of_vectors(kcells.RNN(layers.SimpleRNNCell(3), return_sequences=True))
    path = exported(model, tmp_path, form, drawn(rng, model))
    (found,) = run_file(form, path, np.zeros((2, 0, FEATURES), "float32"), ["x"])
    assert found.shape == (2, 0, 3)


# -- Memory


def remembering():
    layer = kcells.build("gru", 3, stateful=True)
    return keras.Sequential([keras.Input(batch_shape=(BATCH, TIME, FEATURES)), layer])


NO_MEMORY = "onnx" if BACKEND == "tensorflow" else "tf_saved_model"


def test_no_file_that_would_forget(rng, tmp_path):
    model = remembering()
    with pytest.raises(ConfigurationError, match=r"stateful=True remembers .* has no memory"):
        exported(model, tmp_path, NO_MEMORY, drawn(rng, model))
    assert not list(tmp_path.iterdir())


@on_tensorflow
@pytest.mark.newest_keras
def test_litert_remembers(rng, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = remembering()
    first = drawn(rng, model)
    path = exported(model, tmp_path, "litert", first)
    interpreter = Interpreter(str(path))
    run = interpreter.get_signature_runner()
    (name,) = run.get_input_details()
    for _ in range(2):
        arrays = drawn(rng, model)
        (found,) = run(**{name: arrays}).values()
        np.testing.assert_allclose(found, model(arrays), rtol=0, atol=1e-5)


# -- ONNX of TensorFlow


def operators(path):
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]


@on_tensorflow
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_one_operator_for_a_kernel(rng, tmp_path, name):
    model = of_vectors(kcells.build(name, 3, return_sequences=True))
    found = operators(exported(model, tmp_path, "onnx", drawn(rng, model)))
    assert name.upper() in found
    assert "Loop" not in found


class ForgetsFirst(layers.Layer):
    """An LSTM without a bias, whose gates are in another order than those of Keras."""

    state_size, output_size = [3, 3], 3

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 12))
        self.recurrent_kernel = self.add_weight(shape=(3, 12))

    def call(self, inputs, states):
        h, c = states
        gates = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel)
        f, i, candidate, o = ops.split(gates, 4, axis=1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(candidate)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]


@on_tensorflow
def test_what_looks_like_an_lstm_is_none(rng, tmp_path):
    """tf2onnx takes it for one under Keras' own RNN, and writes other numbers."""
    model = of_vectors(kcells.RNN(ForgetsFirst(), return_sequences=True), TIME)
    arrays = drawn(rng, model)
    assert_runs(model, exported(model, tmp_path, "onnx", arrays), "onnx", arrays)


@on_tensorflow
def test_tf2onnx_by_itself(rng, tmp_path):
    import tensorflow as tf
    import tf2onnx

    model = of_vectors(kcells.RNN(layers.SimpleRNNCell(3)), TIME)
    spec = [tf.TensorSpec((None, TIME, FEATURES), tf.float32)]
    path = tmp_path / "model.onnx"
    tf2onnx.convert.from_function(tf.function(model), spec, output_path=str(path))
    assert_runs(model, path, "onnx", drawn(rng, model))


# -- What tells that a file is written


class Watching(layers.Layer):
    """Notes the format that each call is traced for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        self.seen.append(_keras_private.exported_format())
        return inputs


@pytest.mark.parametrize(
    "form", [*FORMATS, "tf_saved_model"] if BACKEND == "tensorflow" else FORMATS
)
def test_a_call_knows_its_file(tmp_path, form):
    layer = Watching()
    model = keras.Sequential([keras.Input((2,)), layer])
    model.predict(np.ones((1, 2)), verbose=0)
    assert set(layer.seen) == {""}
    exported(model, tmp_path, form, np.ones((1, 2), "float32"))
    assert set(layer.seen) == {"", form}
