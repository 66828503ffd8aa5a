"""Everything that can be wrong is said at once, by name, before anything is computed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import CellError, ConfigurationError, KCellsError, StructureError


class CountingCell(keras.layers.Layer):
    """A cell for `{"pen": {"xy", "speed"}, "pressure"}` that counts its steps."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name="counting", **kwargs)
        self.state_size = {"slow": (2, 3), "fast": 4}
        self.steps = 0

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, states: Any) -> Any:
        self.steps += 1
        return states["fast"], states


def inputs(**changed: tuple[int, ...]) -> dict[str, Any]:
    shapes = {"xy": (8, 12, 2), "speed": (8, 12, 1), "pressure": (8, 12, 1), **changed}
    arrays = {key: np.ones(shape, "float32") for key, shape in shapes.items()}
    return {
        "pen": {"xy": arrays["xy"], "speed": arrays["speed"]},
        "pressure": arrays["pressure"],
    }


def fails(error: type[KCellsError], *texts: str, **options: Any) -> Any:
    """The call fails with `error` and all `texts`, and no step has been made."""
    cell = CountingCell()
    layer = kcells.RNN(cell, name="rnn_2", **options)

    def call(*args: Any, **kwargs: Any) -> None:
        with pytest.raises(error) as caught:
            layer(*args, **kwargs)
        for text in texts:
            assert text in str(caught.value), str(caught.value)
        assert cell.steps == 0

    return call


def test_leaves_that_disagree_on_time():
    fails(
        StructureError,
        'CountingCell (layer "rnn_2"): input leaves disagree on time.',
        'inputs["pen"]["xy"]      (8, 12, 2)   time 12',
        'inputs["pressure"]       (8, 10, 1)   time 10',
        "Pad or cut them to one length",
    )(inputs(pressure=(8, 10, 1)))


def test_leaves_that_disagree_on_batch():
    fails(
        StructureError,
        "input leaves disagree on batch.",
        'inputs["pen"]["speed"]   (7, 12, 1)   batch 7',
        "one entry for each sample",
    )(inputs(speed=(7, 12, 1)))


def test_a_leaf_without_a_time_axis():
    fails(
        StructureError,
        'inputs["pen"]["xy"] must have the axes (batch, time, ...)',
        "its shape is (8,)",
    )(inputs(xy=(8,)))


def _not_dense() -> list[tuple[Any, str]]:
    """Tensors of the backend that hold no number for every place, and what to do with them."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        ragged = tf.ragged.constant([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], ragged_rank=1)
        dense = tf.ones((2, 3, 2))
        return [(ragged, "x.row_lengths()"), (tf.sparse.from_dense(dense), "tf.sparse.to_dense(x)")]
    if keras.backend.backend() == "torch":
        import torch

        return [(torch.ones(2, 3, 2).to_sparse(), "x.to_dense()")]
    from jax.experimental import sparse

    return [(sparse.BCOO.fromdense(np.ones((2, 3, 2))), "x.todense()")]


@pytest.mark.parametrize("cell", ["lstm", "min_gru", "ln_gru"])
@pytest.mark.parametrize(("given", "remedy"), _not_dense())
def test_tensors_that_are_not_dense(cell, given, remedy):
    layer = kcells.build(cell, 4)
    layer.build((2, None, 2))
    with pytest.raises(StructureError, match="inputs is no dense tensor, but a") as caught:
        layer(given)
    assert remedy in str(caught.value)


def test_inputs_that_will_not_be_dense():
    """Keras itself refuses them on PyTorch."""
    with pytest.raises(ValueError, match="sparse=") as caught:
        kcells.build("lstm", 4)(keras.Input((3, 2), sparse=True))
    assert isinstance(caught.value, StructureError) or keras.backend.backend() == "torch"


def test_the_same_is_said_of_symbolic_inputs():
    with pytest.raises(StructureError, match="disagree on time"):
        kcells.RNN(CountingCell())([keras.Input((12, 2)), keras.Input((10, 2))])


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"slow": np.ones((8, 2, 3))}, 'a dict with the keys "fast", "slow"'),
        ([np.ones((8, 2, 3)), np.ones((8, 4))], "received a list of 2"),
        (np.ones((8, 4)), "received a single tensor"),
        ({"slow": [np.ones((8, 2, 3))], "fast": np.ones((8, 4))}, 'initial_state["slow"]'),
    ],
)
def test_an_initial_state_of_another_structure(state, text):
    call = fails(
        StructureError,
        "initial_state",
        'needed:   {"fast": (4,), "slow": (2, 3)}',
        text,
    )
    call(inputs(), initial_state=state)


def test_an_initial_state_of_another_shape():
    fails(
        StructureError,
        'initial_state["slow"]   needed (8, 2, 3)   received (8, 3, 2)',
        'CountingCell.state_size: {"fast": (4,), "slow": (2, 3)}',
    )(inputs(), initial_state={"slow": np.ones((8, 3, 2)), "fast": np.ones((8, 4))})


def test_an_initial_state_of_another_batch_does_not_broadcast():
    fails(StructureError, 'initial_state["fast"]   needed (8, 4)', "received (1, 4)")(
        inputs(), initial_state={"slow": np.ones((8, 2, 3)), "fast": np.ones((1, 4))}
    )


@pytest.mark.parametrize("shape", [(8, 11), (7, 12), (8,), (8, 12, 1)])
def test_a_mask_of_another_shape(shape):
    fails(StructureError, "mask must have the shape (batch, time)", "(8, 12)", str(shape))(
        inputs(), mask=np.ones(shape, bool)
    )


def test_a_mask_of_another_structure():
    mask = np.ones((8, 12), bool)
    fails(StructureError, "mask has another structure", "received a list of 2")(
        inputs(), mask=[mask, mask]
    )
    fails(StructureError, 'mask["pen"]["xy"] must have the shape', "(8, 3)")(
        inputs(), mask={"pen": {"xy": mask[:, :3], "speed": None}, "pressure": mask}
    )


def test_unroll_without_a_length():
    layer = kcells.RNN(keras.layers.GRUCell(3), unroll=True, name="short")
    with pytest.raises(ConfigurationError, match="unroll=True needs the number of time steps"):
        layer(keras.Input((None, 2)))


def test_stateful_without_a_batch_size():
    layer = kcells.RNN(keras.layers.GRUCell(3), stateful=True)
    with pytest.raises(ConfigurationError, match=r"fixed batch size.*\n.*batch_shape"):
        layer(keras.Input((5, 2)))


def test_a_stateful_layer_and_another_batch_size():
    layer = kcells.RNN(keras.layers.GRUCell(3), stateful=True)
    layer(np.ones((4, 5, 2), "float32"))
    with pytest.raises(StructureError, match=r"batch size of the remembered states: 4\n.*3"):
        layer(np.ones((3, 5, 2), "float32"))


def test_reset_state_that_has_nothing_to_reset():
    layer = kcells.RNN(keras.layers.GRUCell(3), name="plain")
    layer.reset_state()
    with pytest.raises(ConfigurationError, match="needs a stateful layer that is built"):
        layer.reset_state(np.ones((4, 3)))


def test_reset_state_of_another_shape():
    layer = kcells.RNN(keras.layers.GRUCell(3), stateful=True)
    layer(np.ones((4, 5, 2), "float32"))
    with pytest.raises(StructureError, match=r"states\[0\]   needed \(4, 3\)   received \(4, 2\)"):
        layer.reset_state(np.ones((4, 2), "float32"))


def test_constants_for_a_cell_that_takes_none():
    layer = kcells.RNN(keras.layers.GRUCell(3))
    with pytest.raises(ConfigurationError, match=r"GRUCell.call has no\n?.*parameter"):
        layer(np.ones((4, 5, 2), "float32"), constants=np.ones((4, 2), "float32"))


class Stateless(keras.layers.Layer):
    def call(self, inputs: Any, states: Any) -> Any:
        return inputs, states


def test_a_cell_without_state_size():
    with pytest.raises(CellError, match=r"Stateless has no state_size.\n  Set it in __init__"):
        kcells.RNN(Stateless())


@pytest.mark.parametrize("cell", [3, None, object()])
def test_something_that_is_no_cell(cell):
    with pytest.raises(CellError, match=r"is no recurrent cell.*call\(inputs, states\)"):
        kcells.RNN(cell)


@pytest.mark.parametrize(
    ("size", "path"),
    [
        ("ten", "state_size is 'ten'"),
        ([3, "x"], "state_size[1] is 'x'"),
        ({"a": {"b": 2.5}}, 'state_size["a"]["b"] is 2.5'),
        ([(3, None)], "state_size[0] is (3, None)"),
        ([-1], "state_size[0] is -1"),
        ([True], "state_size[0] is True"),
    ],
)
def test_a_state_size_that_is_no_structure_of_shapes(size, path):
    cell = Stateless()
    cell.state_size = size
    with pytest.raises(StructureError) as caught:
        kcells.RNN(cell)
    assert "Stateless: state_size is not a structure of shapes." in str(caught.value)
    assert path in str(caught.value)


class Forgetful(Stateless):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.state_size = [3, 4]
        self.result = result

    def call(self, inputs: Any, states: Any) -> Any:
        return self.result(inputs, states)


def test_a_cell_that_returns_one_thing():
    with pytest.raises(CellError, match=r"must return \(outputs, new_states\)"):
        kcells.RNN(Forgetful(lambda x, s: x))(np.ones((2, 5, 3), "float32"))


def test_a_cell_that_returns_too_few_states():
    with pytest.raises(StructureError, match="the new states of Forgetful"):
        kcells.RNN(Forgetful(lambda x, s: (x, [s[0]])))(np.ones((2, 5, 3), "float32"))


def test_a_cell_that_returns_states_of_another_shape():
    with pytest.raises(StructureError, match="states that do not have the shapes of state_size"):
        kcells.RNN(Forgetful(lambda x, s: (x, [s[1], s[0]])))(np.ones((2, 5, 3), "float32"))


class WrongStart(keras.layers.GRUCell):
    def get_initial_state(self, batch_size: Any = None) -> Any:
        return [keras.ops.zeros((batch_size, self.units + 1))]


def test_a_cell_whose_initial_state_does_not_fit():
    with pytest.raises(StructureError, match=r"get_initial_state\(\) and state_size do not agree"):
        kcells.RNN(WrongStart(3))(np.ones((2, 5, 3), "float32"))


def test_no_cells_to_stack():
    with pytest.raises(CellError, match="at least one cell"):
        kcells.RNN([])


def test_bidirectional_merge_modes_that_do_not_fit():
    layer = kcells.RNN(keras.layers.GRUCell(3))
    with pytest.raises(ConfigurationError, match=r"merge_mode\['?\"?a\"?'?\] is 'max'"):
        kcells.Bidirectional(layer, merge_mode={"a": "max"})
    with pytest.raises(StructureError, match="there is one tensor"):
        kcells.Bidirectional(layer, merge_mode={"a": "sum"})(np.ones((2, 5, 3), "float32"))
    nested = kcells.RNN(CountingTwo())
    with pytest.raises(StructureError, match="merge_mode does not fit the outputs"):
        kcells.Bidirectional(nested, merge_mode={"x": "sum"})(np.ones((2, 5, 3), "float32"))


@keras.saving.register_keras_serializable(package="kcells-tests")
class CountingTwo(keras.layers.Layer):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = 3

    def call(self, inputs: Any, states: Any) -> Any:
        return {"x": inputs, "y": states[0]}, [states[0] + inputs]


def test_bidirectional_states_that_do_not_fit():
    layer = kcells.Bidirectional(kcells.RNN(keras.layers.LSTMCell(3)))
    with pytest.raises(StructureError, match="states of both directions"):
        layer(np.ones((2, 5, 3), "float32"), initial_state=[np.ones((2, 3), "float32")] * 3)
    with pytest.raises(ConfigurationError, match="reset_state needs a stateful layer"):
        layer.reset_state()
