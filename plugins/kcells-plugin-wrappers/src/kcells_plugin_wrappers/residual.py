"""The residual connection around a cell."""

from __future__ import annotations

import keras
from keras import tree

import kcells
from kcells import Card, Case
from kcells.types import Structure
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import Skip

__all__ = ["ResidualCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class ResidualCell(Skip):
    """Adds the inputs of a cell to its outputs.

        y_t, s_t = cell(x_t, s_{t-1})
        o_t = y_t + x_t             where both have one shape
        o_t = y_t + x_t W           where the number of features differs

    Inputs and outputs may be structures, which have to be the same: each leaf is added to the one
    at its place. The cell keeps its own path: around an LSTM its kernel runs.

    Paper: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition",
    arXiv:1512.03385, equations 1 and 2; around recurrent cells Wu et al. 2016, "Google's neural
    machine translation system", arXiv:1609.08144, section 3.1. It is `ResidualWrapper` of
    tf.nn, without the function of one's own there.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        project: whether inputs of another size are projected. Default: True; otherwise they are
            an error.
        kernel_initializer: for W. Default: `"glorot_uniform"`.
        kernel_regularizer, kernel_constraint: for W. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs and outputs alike but for the last axis; states those of the cell; `W`
    `(features, features of the output)`.

    Raises:
        StructureError: if inputs and outputs are different structures, or if the shapes of two
            leaves differ in more than the number of features.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("residual", "lstm", 4, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 5, 4)
    True
    >>> kcells.explain(layer).path
    'fused'
    """

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        past = self.past_the_cell(inputs, outputs)
        sums = [x + y for x, y in zip(past, tree.flatten(outputs), strict=True)]
        return tree.pack_sequence_as(outputs, sums)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        same = keras.layers.LSTMCell(3)
        stack = kcells.StackedCells([keras.layers.GRUCell(5), keras.layers.LSTMCell(4)])
        both = LeafwiseCell({"a": 2, "b": 4})
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4)}, name="projected"),
                Case({"cell": same, "project": False}, name="same size"),
                Case({"cell": stack}, name="stack"),
                Case({"cell": both}, inputs={"a": (2,), "b": (3,)}, name="structure"),
            ],
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="",
            note="around an LSTM",
        )
