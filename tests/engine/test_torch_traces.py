"""PyTorch writes a call down: torch.jit.trace, torch.export, and files for ONNX that run.

What is written has to compute what the layer does, for other numbers, other batches and, where
there is a kernel, other lengths; or nothing is written, and an error says why.
"""

import warnings

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("about the PyTorch backend", allow_module_level=True)

import torch
from calls_and_gradients import close
from keras import layers, tree
from linear_cells import FEATURES, KINDS, Gated
from mixing_cell import COLUMNS, ROWS, VECTOR, MixingCell

import kcells
from kcells.errors import ConfigurationError

BATCH, TIME = 4, 6

LOOPS = {
    "loop": lambda **options: kcells.RNN(layers.SimpleRNNCell(3), **options),
    "repeated": lambda **options: kcells.RNN(layers.LSTMCell(3), checkpoint=2, **options),
    "gated": lambda **options: kcells.RNN(Gated(), **options),
    "complex": lambda **options: kcells.RNN(KINDS["turning"](), **options),
    "stack": lambda **options: kcells.RNN(
        [layers.LSTMCell(FEATURES), Gated(), layers.GRUCell(2)], dispatch="auto", **options
    ),
}
KERNELS = {
    "lstm": lambda **options: kcells.build("lstm", 3, **options),
    "gru": lambda **options: kcells.build("gru", 3, **options),
    "both": lambda **options: kcells.Bidirectional(kcells.build("gru", 3, **options)),
}
ALL = {**LOOPS, **KERNELS}
with_masks = pytest.mark.parametrize(
    ("kind", "masked"),
    [*((kind, True) for kind in ALL), ("repeated", False), ("complex", False), ("gru", False)],
)


@pytest.fixture(autouse=True)
def _quiet():
    """TorchScript warns of every number that it takes for fixed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def model_of(make, time=TIME, masked=False, **options):
    before = [layers.Masking()] if masked else []
    return keras.Sequential([keras.Input((time, FEATURES)), *before, make(**options)])


def drawn(rng, batch, *shape):
    return torch.tensor(rng.normal(size=(batch, TIME, *shape)), dtype=torch.float32)


def sequences(rng, batch=BATCH, time=TIME, masked=False):
    x = rng.normal(size=(batch, time, FEATURES)).astype("float32")
    if masked:
        x[:: batch - 1 or 1, 1:3], x[-1, time // 2 :] = 0.0, 0.0
        x[1:2] = 0.0
    return torch.tensor(x)


# -- TorchScript


@with_masks
def test_a_script(rng, kind, masked):
    model = model_of(ALL[kind], masked=masked, return_sequences=masked)
    example = sequences(rng, masked=masked)
    # Called before, as TorchScript finds two traces equal only if neither learns anything.
    model(example)
    script = torch.jit.trace(model, (example,))
    for batch in (BATCH, 1, 7):
        x = sequences(rng, batch, masked=masked).requires_grad_()
        close(script(x), model(x), 1e-5)
        pair = (torch.autograd.grad(f(x).sin().sum(), x)[0] for f in (script, model))
        close(*pair, 1e-4)


@pytest.mark.parametrize("kind", ["loop", "gated", "stack", "lstm", "gru"])
def test_another_length_is_right_or_an_error(rng, kind):
    model, example = model_of(ALL[kind], None), sequences(rng)
    model(example)
    script = torch.jit.trace(model, (example,))
    longer = sequences(rng, time=TIME + 3)
    if kind in KERNELS:
        close(script(longer), model(longer), 1e-5)
    else:
        with pytest.raises(RuntimeError):
            script(longer)


def test_a_script_of_structures_and_steps_written_out(rng):
    shapes = {"vector": (VECTOR,), "matrix": (ROWS, COLUMNS)}
    layer = kcells.RNN(MixingCell(), unroll=True)
    layer.build({key: (None, TIME, *shape) for key, shape in shapes.items()})
    one, many = ({k: drawn(rng, n, *s) for k, s in shapes.items()} for n in (1, BATCH))
    wanted = layer(many)
    close(torch.jit.trace(layer, (one,), strict=False)(many), wanted, 1e-5)


# -- torch.export


@pytest.mark.parametrize(
    ("kind", "masked"),
    [("loop", True), ("gated", True), ("lstm", True), ("complex", False), ("gru", False)],
)
def test_a_program_for_any_batch(rng, kind, masked):
    model = model_of(ALL[kind], masked=masked, return_sequences=masked)
    any_batch = [({0: torch.export.Dim.DYNAMIC},)]
    example = sequences(rng, masked=masked)
    program = torch.export.export(model, (example,), dynamic_shapes=any_batch, strict=False)
    for batch in (BATCH, 9):
        x = sequences(rng, batch, masked=masked)
        close(program.module()(x), model(x), 1e-5)


@pytest.mark.parametrize("cell", ["hgru", "on_lstm", "xlstm_mlstm"])
def test_a_program_of_a_plugin(rng, cell):
    model = model_of(lambda: kcells.build(cell, 4), time=2)
    any_batch = [({0: torch.export.Dim.DYNAMIC},)]
    example, x = sequences(rng, time=2), sequences(rng, 9, time=2)
    program = torch.export.export(model, (example,), dynamic_shapes=any_batch, strict=False)
    close(program.module()(x), model(x), 1e-5)


def test_a_program_of_structures_for_any_batch(rng):
    shapes = {"vector": (VECTOR,), "matrix": (ROWS, COLUMNS)}
    inputs = {key: keras.Input((TIME, *shape), name=key) for key, shape in shapes.items()}
    model = keras.Model(inputs, kcells.RNN(MixingCell(), checkpoint=True)(inputs))

    example, x = ({k: drawn(rng, n, *s) for k, s in shapes.items()} for n in (BATCH, 9))
    any_batch = {key: {0: torch.export.Dim.DYNAMIC} for key in shapes}
    program = torch.export.export(model, (example,), dynamic_shapes=[(any_batch,)], strict=False)
    close(program.module()(x), model(x), 1e-5)


# -- ONNX


def exported(model, path, **arguments):
    """A function that runs the file."""
    import onnxruntime

    model.export(path, format="onnx", verbose=False, **arguments)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*arrays):
        given = (np.asarray(array, "float32") for array in arrays)
        return session.run(None, dict(zip(names, given, strict=True)))

    return run


def file_of(model, path, x):
    """As `exported`; Keras asks for a call before it exports."""
    model.predict(x, verbose=0)
    return exported(model, path)


@with_masks
def test_a_file(rng, tmp_path, kind, masked):
    model = model_of(ALL[kind], masked=masked, return_sequences=not masked)
    run = file_of(model, tmp_path / "model.onnx", sequences(rng))
    for batch in (BATCH, 1):
        x = sequences(rng, batch, masked=masked)
        close(run(x), model.predict(x, verbose=0), 1e-5)


@pytest.mark.parametrize("cell", ["qrnn", "lru", "mlstm", "grid_lstm"])
def test_a_file_of_a_plugin(rng, tmp_path, cell):
    model = model_of(lambda: kcells.Bidirectional(kcells.build(cell, 4)))
    run = file_of(model, tmp_path / "model.onnx", sequences(rng))
    x = sequences(rng)
    close(run(x), model.predict(x, verbose=0), 1e-5)


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("kind", KERNELS)
def test_a_file_for_any_length(rng, tmp_path, kind, masked):
    model = model_of(KERNELS[kind], None, masked=masked, return_sequences=True)
    run = file_of(model, tmp_path / "model.onnx", sequences(rng))
    x = sequences(rng, time=TIME + 3, masked=masked)
    close(run(x), model.predict(x, verbose=0), 1e-5)


def test_a_file_of_structures_and_states(rng, tmp_path):
    shapes = {"vector": (VECTOR,), "matrix": (ROWS, COLUMNS)}
    inputs = {key: keras.Input((TIME, *shape), name=key) for key, shape in shapes.items()}
    outputs = kcells.RNN(MixingCell(), return_sequences=True, return_state=True)(inputs)
    model = keras.Model(inputs, outputs)
    x = {k: rng.normal(size=(2, TIME, *shape)).astype("float32") for k, shape in shapes.items()}
    wanted = model.predict(x, verbose=0)
    # In the order in which Keras flattens them.
    found = exported(model, tmp_path / "model.onnx")(*tree.flatten(x))
    close(found, tree.flatten(wanted), 1e-5)


@pytest.mark.parametrize("kind", ["loop", "gated", "stack"])
def test_no_file_of_a_loop_of_unknown_length(rng, tmp_path, kind):
    path = tmp_path / "model.onnx"
    model = model_of(LOOPS[kind], None)
    model.predict(sequences(rng), verbose=0)
    with pytest.raises(ConfigurationError, match="number of time steps is not known"):
        exported(model, path)
    assert not list(tmp_path.iterdir())
    signature = [keras.InputSpec(shape=(None, TIME, FEATURES), dtype="float32", name="x")]
    run, x = exported(model, path, input_signature=signature), sequences(rng)
    close(run(x), model.predict(x, verbose=0), 1e-5)


def test_a_file_of_one_step(rng, tmp_path):
    model = model_of(LOOPS["loop"], 1)
    run = file_of(model, tmp_path / "model.onnx", sequences(rng, time=1))
    x = sequences(rng, time=1)
    close(run(x), model.predict(x, verbose=0), 1e-5)


@pytest.mark.parametrize("kind", ["loop", "lstm"])
def test_no_file_and_no_script_of_a_memory(rng, tmp_path, kind):
    layer = ALL[kind](stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(BATCH, TIME, FEATURES)), layer])
    x = sequences(rng)
    model(x)
    remembered = [np.array(keras.ops.convert_to_numpy(s)) for s in tree.flatten(layer.states)]
    signature = [keras.InputSpec(shape=x.shape, dtype="float32", name="x")]
    with pytest.raises(ConfigurationError, match="stateful=True"):
        exported(model, tmp_path / "model.onnx", input_signature=signature)
    with pytest.raises(ConfigurationError, match="stateful=True"):
        torch.jit.trace(model, (x,))
    assert not list(tmp_path.iterdir())
    close(tree.flatten(layer.states), remembered, 0)
