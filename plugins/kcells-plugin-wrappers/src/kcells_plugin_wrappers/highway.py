"""The highway connection around a cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, ops, tree

import kcells
from kcells import Card, Case
from kcells.types import Structure
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import Skip, numbered, pairs, vectors

__all__ = ["HighwayCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class HighwayCell(Skip):
    """Mixes the inputs of a cell with its outputs, as gates say.

        y_t, s_t = cell(x_t, s_{t-1})
        c_t = sigmoid(x_t W_c + b_c)                          the carry gate
        g_t = 1 - c_t, or sigmoid(x_t W_g + b_g)              the transform gate
        o_t = c_t * p_t + g_t * y_t
        p_t = x_t, or x_t W where the number of features differs

    Inputs and outputs may be structures, which have to be the same: each leaf is mixed with the
    one at its place, by gates of its own. The cell keeps its own path.

    Paper: Srivastava, Greff and Schmidhuber 2015, "Highway networks", arXiv:1505.00387,
    equations 2 and 3; around recurrent cells, with the carry gate as here, `HighwayWrapper` of
    tf.contrib.rnn. The projection is an addition.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        coupled: whether the transform gate is one less the carry gate. Default: True.
        carry_bias: what `b_c` starts as, and `b_g` as its negative. Default: 1.0.
        project: whether inputs of another size are projected. Default: True; otherwise they are
            an error.
        kernel_initializer: for the matrices. Default: `"glorot_uniform"`.
        kernel_regularizer, kernel_constraint: for the same. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs and outputs alike but for the last axis; states those of the cell; each
    matrix `(features, features of the output)`.

    Raises:
        StructureError: if inputs and outputs are different structures, or if the shapes of two
            leaves differ in more than the number of features.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("highway", "gru", 4, coupled=False)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    >>> [weight.name for weight in layer.cell.weights if weight.name.startswith("carry")]
    ['carry_kernel', 'carry_bias']
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        coupled: bool = True,
        carry_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.coupled, self.carry_bias = coupled, carry_bias

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        super().build_after(inputs, outputs)
        who = type(self).__name__
        vectors(inputs, "inputs", who)
        found = pairs(inputs, outputs, who)
        self.carry: list[Any] = []
        self.transform: list[Any] = []
        for position, (_, x, y) in enumerate(found):
            shape = (x.shape[-1], y.shape[-1])
            for name, gates, start in (
                ("carry", self.carry, self.carry_bias),
                ("transform", self.transform, -self.carry_bias),
            ):
                if gates is self.transform and self.coupled:
                    continue
                kernel, bias = (
                    numbered(f"{name}_{what}", position, len(found)) for what in ("kernel", "bias")
                )
                gates.append(self.add(kernel, shape, part="kernel"))
                gates.append(
                    self.add_weight(
                        shape=shape[1:], initializer=initializers.Constant(start), name=bias
                    )
                )

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        past = self.past_the_cell(inputs, outputs)
        mixed = []
        for position, (_, x, y) in enumerate(pairs(inputs, outputs, type(self).__name__)):
            x = ops.cast(x, y.dtype)
            carry = self._gate(self.carry, position, x)
            transform = 1.0 - carry if self.coupled else self._gate(self.transform, position, x)
            mixed.append(carry * past[position] + transform * y)
        return tree.pack_sequence_as(outputs, mixed)

    @staticmethod
    def _gate(weights: list[Any], position: int, x: Any) -> Any:
        kernel, bias = weights[2 * position], weights[2 * position + 1]
        return ops.sigmoid(ops.matmul(x, kernel) + bias)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4)}, name="projected"),
                Case({"cell": keras.layers.GRUCell(3), "coupled": False}, name="two gates"),
                Case({"cell": both}, inputs={"a": (2,), "b": (3,)}, name="structure"),
            ],
            others={"carry_bias": -0.5},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="carry, transform",
            note="around an LSTM",
        )
