"""Dense layers before and after a cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops, tree

import kcells
from kcells import Card, Case, Place
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import each, numbered, vectors

__all__ = ["InputProjectionCell", "OutputProjectionCell"]


class _Projection(kcells.Wrapper):
    """A product with a matrix for each leaf of a structure."""

    def __init__(
        self,
        cell: Any,
        *args: Any,
        size: Structure,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        for number in tree.flatten(plain(size)):
            self.positive("size", number)
        self.size = plain(size)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.keep_part("bias", bias_initializer, bias_regularizer, bias_constraint)

    def make_maps(self, specs: Structure, root: str) -> None:
        """A matrix for each leaf, and a bias."""
        who = type(self).__name__
        leaves = vectors(specs, root, who)
        self.kernels: list[Any] = []
        self.biases: list[Any] = []
        for position, (leaf, size) in enumerate(
            zip(leaves, each(self.size, specs, "size", who), strict=True)
        ):
            kernel, bias = (
                numbered(f"projection_{what}", position, len(leaves)) for what in ("kernel", "bias")
            )
            self.kernels.append(self.add(kernel, (leaf.shape[-1], size), part="kernel"))
            self.biases.append(self.add(bias, (size,), part="bias"))

    def mapped(self, structure: Structure) -> Structure:
        """Every leaf times its matrix."""
        structure = plain(structure)
        known = zip(tree.flatten(structure), self.kernels, self.biases, strict=True)
        return tree.pack_sequence_as(structure, [self._map(*of_leaf) for of_leaf in known])

    def _map(self, x: Tensor, kernel: Any, bias: Any) -> Tensor:
        product = ops.matmul(x, kernel)
        return self.activation(product if bias is None else product + bias)


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class InputProjectionCell(_Projection):
    """Projects the inputs of a cell.

        y_t, s_t = cell(f(x_t W + b), s_{t-1})

    Each leaf of a structure has a matrix of its own. The cell keeps its own path, and the
    projection of all steps is one product.

    Source: TensorFlow 1.x 2016, `InputProjectionWrapper` of tf.contrib.rnn, which has no option
    for the bias.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        size: how many features the cell gets: an int, or a structure of ints like the inputs.
        activation: f. Default: None, which is linear.
        use_bias: whether there is `b`. Default: True.
        kernel_initializer: for W. Default: `"glorot_uniform"`.
        bias_initializer: for b. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: for the same.
            Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs a structure of `(batch, ..., features)`; outputs and states those of the cell;
    `W` `(features, size)`.

    Raises:
        ConfigurationError: if `size` holds something else than positive ints.
        StructureError: if an input has no features, or if `size` is another structure.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("input_projection", "lstm", 4, size=8, activation="relu")
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    >>> layer.cell.cell.kernel.shape == (8, 16)
    True
    """

    def build_before(self, inputs: Structure) -> None:
        self.make_maps(inputs, "inputs")

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        return self.mapped(inputs)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        size = {"a": 3, "b": 2}
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4), "size": 5}),
                Case(
                    {"cell": both, "size": size, "activation": "tanh", "use_bias": False},
                    inputs={"a": (2,), "b": (3,)},
                    name="structure",
                ),
            ],
            others={"size": 7},
            arguments=_with_size,
            gates="",
            note="around an LSTM",
        )


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class OutputProjectionCell(_Projection):
    """Projects the outputs of a cell.

        y_t, s_t = cell(x_t, s_{t-1})
        o_t = f(y_t W + b)

    Each leaf of a structure has a matrix of its own. The cell keeps its own path, and what is not
    returned is not projected.

    Source: TensorFlow 1.x 2016, `OutputProjectionWrapper` of tf.contrib.rnn, which has no option
    for the bias.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        size: how many features come out: an int, or a structure of ints like the outputs.
        activation: f. Default: None, which is linear.
        use_bias: whether there is `b`. Default: True.
        kernel_initializer: for W. Default: `"glorot_uniform"`.
        bias_initializer: for b. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: for the same.
            Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: outputs a structure of `(batch, ..., size)`; inputs and states those of the cell; `W`
    `(features of the cell's output, size)`.

    Raises:
        ConfigurationError: if `size` holds something else than positive ints.
        StructureError: if an output has no features, or if `size` is another structure.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("output_projection", ["gru", "lstm"], 4, size=10)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 10)
    True
    """

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        self.make_maps(outputs, "outputs")

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        return self.mapped(outputs)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        size = {"a": 3, "b": 2}
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4), "size": 5, "activation": "tanh"}),
                Case(
                    {"cell": both, "size": size, "use_bias": False},
                    inputs={"a": (2,), "b": (3,)},
                    name="structure",
                ),
            ],
            others={"size": 7},
            arguments=_with_size,
            gates="",
            note="around an LSTM",
        )


def _with_size(at: Place) -> dict[str, Any]:
    return {"cell": kcells.cell("lstm", at.units), "size": at.units}
