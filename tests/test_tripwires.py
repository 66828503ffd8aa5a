"""What stock Keras gets wrong, and kcells does right: one pair of tests for each fact.

A test named `test_stock_...` reproduces a fact that kcells works around. It fails on the
day Keras mends it, and its message says which workaround in kcells can go then. The test
after it, `test_ours_...`, checks that kcells does the same thing right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from packaging.version import Version

import kcells
from tests.fake_dists import FakeSite, run_python, temporary_site

newest_keras = pytest.mark.newest_keras

ONES = np.ones((2, 3, 2), "float32")
TWO_BATCHES = np.ones((4, 3, 2), "float32")
MASK = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)


@keras.saving.register_keras_serializable(package="tripwires")
class TenfoldCell(layers.Layer):
    """Adds its inputs up, and gives ten times the sum: an output that is no state."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.output_size = 2

    def call(self, inputs: Any, states: Any) -> Any:
        total = states[0] + inputs
        return 10 * total, [total]


class OneBasedCell(TenfoldCell):
    """The same, counting from one."""

    def get_initial_state(self, batch_size: Any = None) -> Any:
        return [ops.ones((batch_size, 2))]


class TwoInputsCell(layers.Layer):
    """As the guide to RNN layers writes cells with nested inputs; sums of a and of b."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = [2, (2, 2)]
        self.output_size = [2, (2, 2)]

    def build(self, input_shape: Any) -> None:
        widths = (input_shape[0][-1], input_shape[1][-1])
        self.factor = self.add_weight(shape=widths, initializer="ones")

    def call(self, inputs: Any, states: Any) -> Any:
        first, second = inputs
        states = [states[0] + first * self.factor[0], states[1] + second * self.factor]
        return tuple(states), states


class DictInputsCell(layers.Layer):
    """a + b, summed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.output_size = 2

    def call(self, inputs: Any, states: Any) -> Any:
        total = states[0] + inputs["a"] + inputs["b"]
        return total, [total]


class SizedCell(layers.Layer):
    """States of any sizes, to which the inputs are added."""

    def __init__(self, state_size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = state_size
        self.output_size = 2

    def call(self, inputs: Any, states: Any) -> Any:
        def add(state: Any) -> Any:
            missing = len(state.shape) - 2
            return state + ops.reshape(inputs, (-1, *([1] * missing), 2))

        return inputs, keras.tree.map_structure(add, states)


class TwoOutputsCell(layers.Layer):
    """The sum, and its first entry."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = 2

    def call(self, inputs: Any, states: Any) -> Any:
        total = states[0] + inputs
        return (total, total[:, :1]), [total]


class ConstantsCell(layers.Layer):
    """Adds a constant at every step."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.output_size = 2

    def call(self, inputs: Any, states: Any, constants: Any = None) -> Any:
        total = states[0] + inputs + constants[0]
        return total, [total]


class MatrixStateCell(layers.Layer):
    """A vector and a matrix that the inputs are added to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Keras takes no shapes here; it does take what get_initial_state says.
        self.state_size = [2, (2, 2)]
        self.output_size = 2

    def get_initial_state(self, batch_size: Any = None) -> Any:
        return [ops.zeros((batch_size, 2)), ops.zeros((batch_size, 2, 2))]

    def call(self, inputs: Any, states: Any) -> Any:
        new = [states[0] + inputs, states[1] + inputs[:, None, :]]
        return new[0], new


def numbers(structure: Any) -> Any:
    """Tensors as nested lists of numbers, which compare with `==`."""
    return keras.tree.map_structure(lambda t: ops.convert_to_numpy(t).tolist(), structure)


def shapes(structure: Any) -> Any:
    return keras.tree.map_structure(lambda t: tuple(t.shape), structure)


def still_raises(
    error: type[Exception] | tuple[type[Exception], ...],
    function: Callable[[], Any],
    mended: str,
    match: str = "",
) -> None:
    """Checks that stock Keras still cannot do this; `mended` says what to do once it can."""
    try:
        result = function()
    except error as raised:
        said = str(raised)
    else:
        pytest.fail(f"{mended}\n(the result was {result!r})")
    assert match in said, f"another error than the known one: {said}"


# -- Structures of inputs, states and outputs


def two_inputs() -> Any:
    return np.ones((2, 3, 2), "float32"), np.ones((2, 3, 2, 2), "float32")


@newest_keras
def test_stock_rnn_builds_for_one_input_only() -> None:
    still_raises(
        IndexError,
        lambda: layers.RNN(TwoInputsCell())(two_inputs()),
        "keras.layers.RNN now takes the guide's cell with two inputs: kcells.layers.rnn could"
        " leave build and the reading of input shapes to it",
    )


def test_ours_takes_two_inputs() -> None:
    outputs = kcells.RNN(TwoInputsCell())(two_inputs())
    assert numbers(outputs) == ([[3, 3]] * 2, [[[3, 3], [3, 3]]] * 2)


@newest_keras
def test_stock_rnn_takes_no_dict_of_inputs() -> None:
    still_raises(
        KeyError,
        lambda: layers.RNN(DictInputsCell())({"a": ONES, "b": ONES}),
        "keras.layers.RNN now takes dict inputs: kcells.layers.rnn could call super().build",
    )


def test_ours_takes_a_dict_of_inputs() -> None:
    assert numbers(kcells.RNN(DictInputsCell())({"a": ONES, "b": ONES})) == [[6, 6]] * 2


@newest_keras
def test_stock_rnn_takes_no_dict_of_states() -> None:
    still_raises(
        ValueError,
        lambda: layers.RNN(SizedCell({"a": 2})),
        "keras.layers.RNN now takes a dict as state_size: kcells.layers.rnn need not go past its"
        " constructor",
        match="state_size must be an integer",
    )


def test_ours_takes_a_dict_of_states() -> None:
    _, states = kcells.RNN(SizedCell({"a": 2, "b": (1, 2)}), return_state=True)(ONES)
    assert numbers(states) == {"a": [[3, 3]] * 2, "b": [[[3, 3]]] * 2}


@newest_keras
def test_stock_rnn_takes_no_shapes_as_sizes() -> None:
    still_raises(
        (TypeError, ValueError),
        lambda: layers.RNN(SizedCell([(2,), (3, 2)]))(ONES),
        "keras.layers.RNN now takes shapes in state_size: kcells.cells.protocol.zero_states could"
        " be left to its get_initial_state",
    )


def test_ours_takes_shapes_as_sizes() -> None:
    _, first, second = kcells.RNN(SizedCell([(2,), (3, 2)]), return_state=True)(ONES)
    assert numbers([first, second]) == [[[3, 3]] * 2, [[[3, 3]] * 3] * 2]


@newest_keras
def test_stock_rnn_has_no_nested_outputs() -> None:
    errors = (ValueError, TypeError, RuntimeError, *_tensorflow_errors())
    mended = (
        "keras.layers.RNN now gives nested outputs: kcells.layers.rnn could leave call and"
        " compute_output_shape to it"
    )
    still_raises(errors, lambda: layers.RNN(TwoOutputsCell())(ONES), mended)
    # Symbolically there is one tensor where there should be two.
    assert shapes(layers.RNN(TwoOutputsCell())(keras.Input((3, 2)))) == (None, 2), mended


def test_ours_has_nested_outputs() -> None:
    assert numbers(kcells.RNN(TwoOutputsCell())(ONES)) == ([[3, 3]] * 2, [[3]] * 2)
    symbolic = kcells.RNN(TwoOutputsCell())(keras.Input((3, 2)))
    assert shapes(symbolic) == ((None, 2), (None, 1))


def _tensorflow_errors() -> tuple[type[Exception], ...]:
    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.InvalidArgumentError,)


# -- Arguments that are documented


@newest_keras
def test_stock_rnn_takes_no_constants() -> None:
    still_raises(
        TypeError,
        lambda: layers.RNN(ConstantsCell())(ONES, constants=[np.ones((2, 2), "float32")]),
        "keras.layers.RNN now takes constants: kcells.layers.rnn should pass them in its way",
        match="constants",
    )


def test_ours_takes_constants() -> None:
    layer = kcells.RNN(ConstantsCell())
    assert numbers(layer(ONES, constants=[np.ones((2, 2), "float32")])) == [[6, 6]] * 2


@newest_keras
def test_stock_rnn_cannot_be_reset_to_states() -> None:
    layer = layers.RNN(TenfoldCell(), stateful=True)
    layer(ONES)
    still_raises(
        TypeError,
        lambda: layer.reset_state(states=[np.ones((2, 2), "float32")]),
        "keras.layers.RNN.reset_state now takes states: compare the structure that it wants with"
        " that of kcells.layers.rnn",
        match="states",
    )


def test_ours_can_be_reset_to_states() -> None:
    layer = kcells.RNN(TenfoldCell(), stateful=True)
    layer(ONES)
    layer.reset_state(states=[np.ones((2, 2), "float32")])
    assert numbers(layer(ONES)) == [[40, 40]] * 2


# -- Stateful layers


@newest_keras
def test_stock_rnn_cannot_reset_a_stack() -> None:
    layer = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)], stateful=True)
    layer(ONES)
    still_raises(
        AttributeError,
        layer.reset_state,
        "keras.layers.RNN.reset_state now reaches the states of a stack: one reason less for"
        " kcells.layers.memory",
        match="assign",
    )


def test_ours_can_reset_a_stack() -> None:
    layer = kcells.RNN([layers.LSTMCell(2), layers.LSTMCell(2)], stateful=True)
    first, second = numbers(layer(ONES)), numbers(layer(ONES))
    layer.reset_state()
    assert second != first
    np.testing.assert_allclose(numbers(layer(ONES)), first, rtol=1e-6)


@newest_keras
def test_stock_rnn_resets_to_zeros() -> None:
    layer = layers.RNN(OneBasedCell(), stateful=True)
    layer(ONES)
    layer.reset_state()
    assert numbers(layer.states[0]) == [[0, 0]] * 2, (
        "keras.layers.RNN.reset_state now asks the cell for its initial state:"
        " kcells.layers.rnn.RNN.reset_state could call super() where no states are given"
    )


def test_ours_resets_to_the_initial_state_of_the_cell() -> None:
    layer = kcells.RNN(OneBasedCell(), stateful=True)
    first = numbers(layer(ONES))
    layer.reset_state()
    assert numbers(layer(ONES)) == first == [[40, 40]] * 2


def stateful_model(rnn: type[layers.RNN]) -> tuple[keras.Model, layers.RNN]:
    layer = rnn(TenfoldCell(), stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 2)), layer])
    return model, layer


@newest_keras
def test_stock_rnn_forgets_between_batches_of_the_jax_trainer(backend: str) -> None:
    model, layer = stateful_model(layers.RNN)
    predicted = model.predict(TWO_BATCHES, batch_size=2, verbose=0)
    if backend == "jax":
        # The states are variables of nobody, so the trainer does not carry them.
        assert predicted.tolist() == [[30, 30]] * 4, (
            "the JAX trainer now carries the states of a stateful keras.layers.RNN: the property"
            " kcells.layers.rnn.RNN.variables can go"
        )
        assert numbers(layer.states[0]) == [[0, 0]] * 2
    else:
        assert predicted.tolist() == [[30, 30]] * 2 + [[60, 60]] * 2


@pytest.mark.parametrize("method", ["predict", "fit", "evaluate", "train_on_batch"])
def test_ours_remembers_between_batches_of_every_trainer(method: str) -> None:
    model, layer = stateful_model(kcells.RNN)
    model.compile("sgd", "mse")
    target = np.zeros((4, 2), "float32")
    if method == "predict":
        predicted = model.predict(TWO_BATCHES, batch_size=2, verbose=0)
        assert predicted.tolist() == [[30, 30]] * 2 + [[60, 60]] * 2
    elif method == "fit":
        model.fit(TWO_BATCHES, target, batch_size=2, shuffle=False, verbose=0)
    elif method == "evaluate":
        model.evaluate(TWO_BATCHES, target, batch_size=2, verbose=0)
    else:
        for half in (slice(0, 2), slice(2, 4)):
            model.train_on_batch(TWO_BATCHES[half], target[half])
    assert numbers(layer.states[0]) == [[6, 6]] * 2
    assert model.count_params() == 0, "what is remembered is no weight"


# -- Masks


@newest_keras
def test_stock_rnn_on_jax_repeats_the_state_at_masked_steps(backend: str) -> None:
    outputs = numbers(layers.RNN(TenfoldCell())(ONES, mask=ops.convert_to_tensor(MASK)))
    if backend == "jax":
        assert outputs == [[2, 2], [1, 1]], (
            "keras.layers.RNN on JAX no longer takes states[0] for the last output: one reason"
            " less for the loop of kcells.engine.run"
        )
    else:
        assert outputs == [[20, 20], [10, 10]]


def test_ours_repeats_the_last_output_at_masked_steps() -> None:
    outputs = kcells.RNN(TenfoldCell())(ONES, mask=ops.convert_to_tensor(MASK))
    assert numbers(outputs) == [[20, 20], [10, 10]]


@newest_keras
def test_stock_rnn_on_jax_broadcasts_the_mask_against_matrix_states(backend: str) -> None:
    layer = layers.RNN(MatrixStateCell(), return_state=True)
    matrix = numbers(layer(ONES, mask=ops.convert_to_tensor(MASK)))[2]
    if backend == "jax":
        # Row 0 of every matrix obeys the mask of sample 0, row 1 that of sample 1.
        assert matrix == [[[2, 2], [1, 1]]] * 2, (
            "keras.layers.RNN on JAX now masks states of higher rank by sample: one reason less"
            " for kcells.engine.masks.select"
        )
    else:
        assert matrix == [[[2, 2], [2, 2]], [[1, 1], [1, 1]]]


def test_ours_masks_matrix_states_by_sample() -> None:
    layer = kcells.RNN(MatrixStateCell(), return_state=True)
    matrix = numbers(layer(ONES, mask=ops.convert_to_tensor(MASK)))[2]
    assert matrix == [[[2, 2], [2, 2]], [[1, 1], [1, 1]]]


def unrolled_outputs(rnn: type[layers.RNN], **options: Any) -> Any:
    layer = rnn(TenfoldCell(), return_sequences=True, unroll=True, **options)
    return numbers(layer(ONES, mask=ops.convert_to_tensor(MASK)))


@newest_keras
def test_stock_rnn_on_jax_ignores_zero_output_for_mask_when_unrolled(backend: str) -> None:
    outputs = unrolled_outputs(layers.RNN, zero_output_for_mask=True)
    if backend == "jax":
        repeated = [[[10, 10], [20, 20], [20, 20]], [[10, 10], [10, 10], [10, 10]]]
        assert outputs == repeated, (
            "keras.layers.RNN on JAX now obeys zero_output_for_mask when unrolled: one reason"
            " less for kcells.engine.run._unrolled"
        )
    else:
        assert outputs == [[[10, 10], [20, 20], [0, 0]], [[10, 10], [0, 0], [0, 0]]]


def test_ours_obeys_zero_output_for_mask_when_unrolled() -> None:
    outputs = unrolled_outputs(kcells.RNN, zero_output_for_mask=True)
    assert outputs == [[[10, 10], [20, 20], [0, 0]], [[10, 10], [0, 0], [0, 0]]]


@newest_keras
def test_stock_rnn_on_torch_cannot_unroll_backwards_with_a_mask(backend: str) -> None:
    if backend != "torch":
        assert unrolled_outputs(layers.RNN, go_backwards=True)
        return
    still_raises(
        AttributeError,
        lambda: unrolled_outputs(layers.RNN, go_backwards=True),
        "keras.layers.RNN on PyTorch now unrolls backwards with a mask: one reason less for"
        " kcells.engine.run._unrolled",
        match="has no attribute",
    )


def test_ours_unrolls_backwards_with_a_mask() -> None:
    outputs = unrolled_outputs(kcells.RNN, go_backwards=True)
    assert outputs == [[[0, 0], [10, 10], [20, 20]], [[0, 0], [0, 0], [10, 10]]]


@newest_keras
def test_stock_mask_of_outputs_that_come_backwards_runs_forwards() -> None:
    layer = layers.RNN(TenfoldCell(), return_sequences=True, go_backwards=True)
    mask = layer.compute_mask(ONES, ops.convert_to_tensor(MASK))
    assert numbers(mask) == MASK.tolist(), (
        "keras.layers.RNN.compute_mask now turns the mask around with go_backwards:"
        " kcells.layers.rnn.RNN.compute_mask must not do it twice where it calls super()"
    )


def test_ours_turns_the_mask_around_with_the_outputs() -> None:
    layer = kcells.RNN(TenfoldCell(), return_sequences=True, go_backwards=True)
    mask = layer.compute_mask(ONES, ops.convert_to_tensor(MASK))
    assert numbers(mask) == MASK[:, ::-1].tolist()


class RecordingLayer(layers.Layer):
    """Notes whether a mask arrives."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.masked: list[bool] = []

    def call(self, inputs: Any, initial_state: Any = None, mask: Any = None) -> Any:
        self.masked.append(mask is not None)
        return inputs


def masked_sequences() -> Any:
    return layers.Masking()(np.array([[[1, 1], [1, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]]], "f4"))


@newest_keras
def test_stock_layers_lose_the_mask_when_an_initial_state_is_passed() -> None:
    layer = RecordingLayer()
    layer(masked_sequences())
    layer(masked_sequences(), initial_state=np.ones((2, 2), "float32"))
    assert layer.masked == [True, False], (
        "Keras now fills in the mask of a layer that is called with two tensor arguments:"
        " kcells._keras_private.get_mask and its callers can go"
    )


@pytest.mark.parametrize("both_directions", [False, True])
def test_ours_keeps_the_mask_when_an_initial_state_is_passed(both_directions: bool) -> None:
    layer = kcells.RNN(TenfoldCell())
    state = [np.ones((2, 2), "float32")]
    expected = [[30, 30], [20, 20]]
    if both_directions:
        layer, state = kcells.Bidirectional(layer, merge_mode="sum"), state * 2
        expected = [[60, 60], [40, 40]]
    assert numbers(layer(masked_sequences(), initial_state=state)) == expected


# -- Lengths


@newest_keras
def test_stock_rnn_fails_on_sequences_without_a_step() -> None:
    still_raises(
        (IndexError, *_tensorflow_errors()),
        lambda: layers.RNN(TenfoldCell())(ONES[:, :0]),
        "keras.layers.RNN now takes sequences of length zero: compare its outputs with those of"
        " kcells.engine.run._nothing",
    )


def test_ours_takes_sequences_without_a_step() -> None:
    outputs, state = kcells.RNN(OneBasedCell(), return_state=True)(ONES[:, :0])
    assert numbers([outputs, state]) == [[[0, 0]] * 2, [[1, 1]] * 2]


# -- Both directions


@newest_keras
def test_stock_bidirectional_tells_a_wrong_shape_for_unequal_directions() -> None:
    layer = layers.Bidirectional(
        layers.LSTM(3), backward_layer=layers.LSTM(2, go_backwards=True), merge_mode="concat"
    )
    assert shapes(layer(ONES)) == (2, 5)
    # Mended in 3.16: when that is the oldest, there is one reason less for that of kcells.
    mended = Version(keras.__version__) >= Version("3.16.dev0")
    assert layer.compute_output_shape((2, 3, 2)) == (2, 5 if mended else 6), (
        "keras.layers.Bidirectional.compute_output_shape is mended in another release"
    )


def test_ours_tells_the_shape_for_unequal_directions() -> None:
    layer = kcells.Bidirectional(
        layers.LSTM(3), backward_layer=layers.LSTM(2, go_backwards=True), merge_mode="concat"
    )
    assert layer.compute_output_shape((2, 3, 2)) == (2, 5)
    assert shapes(layer(ONES)) == (2, 5)


# -- Kernels


@newest_keras
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_stock_layers_do_not_save_use_cudnn(name: str) -> None:
    layer = getattr(layers, name)(2, use_cudnn=False)
    assert "use_cudnn" not in layer.get_config(), (
        f"keras.layers.{name} now saves use_cudnn: code that carries it over to a layer made from"
        " a configuration can go"
    )


@newest_keras
def test_stock_lstm_on_torch_runs_a_python_loop_on_the_cpu(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend != "torch":
        pytest.skip("about the PyTorch backend")
    import torch

    if torch.cuda.is_available():
        pytest.skip("about the CPU")
    called: list[str] = []
    kernel = torch._VF.lstm

    def spy(*arguments: Any) -> Any:
        called.append("lstm")
        return kernel(*arguments)

    monkeypatch.setattr(torch._VF, "lstm", spy)
    torch.nn.LSTM(2, 2)(torch.ones(2, 3, 2))
    assert called == ["lstm"], "the spy is where PyTorch's own layer would call it"
    layers.LSTM(2)(ONES)
    assert called == ["lstm"], (
        "keras.layers.LSTM now runs PyTorch's kernel on the CPU too: a fused path of kcells for"
        " PyTorch on the CPU has nothing to gain"
    )


@newest_keras
@pytest.mark.gpu
def test_stock_lstm_on_tensorflow_fails_on_a_gpu_with_a_mask_that_is_not_right_padded(
    backend: str,
) -> None:
    lstm, mask = _lstm_and_left_padded_mask(backend)
    import tensorflow as tf

    still_raises(
        (ValueError, *_tensorflow_errors()),
        lambda: tf.function(lambda: lstm(ONES, mask=mask))(),
        "keras.layers.LSTM now falls back from cuDNN for masks that are not right-padded: the"
        " dispatcher of kcells may choose it for any mask",
    )


@pytest.mark.gpu
def test_ours_takes_any_mask_on_a_gpu(backend: str) -> None:
    lstm, mask = _lstm_and_left_padded_mask(backend)
    import tensorflow as tf

    layer = kcells.build("lstm", 2)
    layer.build((2, 3, 2))
    layer.set_weights(lstm.get_weights())
    outputs = tf.function(lambda: layer(ONES, mask=mask))()
    lstm.use_cudnn = False
    np.testing.assert_allclose(numbers(outputs), numbers(lstm(ONES, mask=mask)), atol=1e-5)


def _lstm_and_left_padded_mask(backend: str) -> tuple[layers.LSTM, Any]:
    if backend != "tensorflow":
        pytest.skip("about the TensorFlow backend")
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("no GPU")
    layer = layers.LSTM(2)
    layer.build((2, 3, 2))
    return layer, ops.convert_to_tensor(MASK[:, ::-1].copy())


# -- Saving


LOAD_WITH_STOCK = """
import sys
import keras

try:
    keras.models.load_model(sys.argv[1])
    print("loaded")
except Exception as error:
    print(type(error).__name__, error)
"""

LOAD_WITH_OURS = """
import sys
import kcells
import keras

for path in sys.argv[1:]:
    print(float(keras.ops.sum(kcells.load_model(path)(keras.ops.ones((2, 3, 2))))))
print(float(keras.ops.sum(keras.models.load_model(sys.argv[-1])(keras.ops.ones((2, 3, 2))))))
"""


@pytest.fixture
def site(tmp_path: Path) -> Any:
    with temporary_site(tmp_path / "site") as made:
        yield made


def save_model_with(rnn: type[layers.RNN], path: Path) -> float:
    """Saves a model with a cell of an installed plugin; gives the sum of its outputs."""
    model = keras.Sequential([keras.Input((3, 2)), rnn(kcells.cell("tripwire", 2))])
    model.save(path)
    return float(ops.sum(model(ops.ones((2, 3, 2)))))


@pytest.mark.slow
@newest_keras
def test_stock_loading_does_not_find_the_cells_of_others(site: FakeSite, tmp_path: Path) -> None:
    site.plugin("tripwire-cells", {"tripwire": "TripwireCell"})
    save_model_with(layers.RNN, tmp_path / "stock.keras")
    said = run_python(LOAD_WITH_STOCK, tmp_path / "stock.keras", cwd=tmp_path, path=[site.folder])
    assert "Could not locate class 'TripwireCell'" in said, (
        "keras.models.load_model now finds the classes of installed distributions:"
        f" kcells.registry.provenance.ensure_loaded may go\n({said})"
    )


@pytest.mark.slow
def test_ours_finds_the_cells_of_others(site: FakeSite, tmp_path: Path) -> None:
    site.plugin("tripwire-cells", {"tripwire": "TripwireCell"})
    stock, ours = tmp_path / "stock.keras", tmp_path / "ours.keras"
    sums = [save_model_with(layers.RNN, stock), save_model_with(kcells.RNN, ours)]
    said = run_python(LOAD_WITH_OURS, stock, ours, cwd=tmp_path, path=[site.folder])
    loaded = [float(line) for line in said.split()]
    np.testing.assert_allclose(loaded, [*sums, sums[1]], rtol=1e-5)


def save_one_cell_in_two_layers(rnn: type[layers.RNN], path: Path) -> None:
    cell, inputs = layers.GRUCell(2, recurrent_initializer="zeros"), keras.Input((3, 2))
    keras.Model(inputs, [rnn(cell)(inputs), rnn(cell, go_backwards=True)(inputs)]).save(path)


@newest_keras
def test_stock_makes_two_of_one_cell_in_a_file(tmp_path: Path) -> None:
    save_one_cell_in_two_layers(layers.RNN, tmp_path / "model.keras")
    try:
        keras.models.load_model(tmp_path / "model.keras")
        said = ""
    except ValueError as error:
        said = str(error)
    mended = "Keras now marks a shared cell: kcells.cells.sharing.marked may go"
    assert "received 0 variables" in said, mended


def test_ours_makes_one_of_it(tmp_path: Path) -> None:
    save_one_cell_in_two_layers(kcells.RNN, tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[1].cell is again.layers[2].cell
