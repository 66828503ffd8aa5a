"""The multiplicative recurrent product, around a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leaves import numbered, vectors

__all__ = ["MultiplicativeCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class MultiplicativeCell(kcells.Wrapper):
    """Lets the inputs choose the recurrent product of a cell.

        m_t = (W_mx x_t) * (W_mh h_{t-1})
        y_t, s_t = cell(x_t, s_{t-1} with m_t in the place of h_{t-1})

    So W_hh h_{t-1} in the cell becomes W_hh diag(W_mx x_t) W_mh h_{t-1}: another matrix for each
    input. Around an LSTM it is the multiplicative LSTM, around a simple RNN the multiplicative RNN.
    It is for cells that meet h in products alone. One that also carries it on, as a GRU does in
    z_t * h_{t-1}, would carry m_t on, and h_{t-1} were lost: a GRU is refused (`mgru` of
    kcells-plugin-mlstm is one), and of other cells their author knows.

    Papers: Krause, Lu, Murray and Renals 2016, "Multiplicative LSTM for sequence modelling",
    arXiv:1609.07959, equations 14 and 15; Sutskever, Martens and Hinton 2011, "Generating text
    with recurrent neural networks" (ICML), for the simple RNN.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        state: which leaf of the state h is, from 0. Default: 0.
        kernel_initializer: for W_mx, one for each leaf of the inputs, whose products are added up.
            Default: `"glorot_uniform"`.
        recurrent_initializer: for W_mh. Default: `"orthogonal"`.
        kernel_regularizer, recurrent_regularizer, kernel_constraint, recurrent_constraint: for the
            same. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs a structure of `(batch, features)`; h `(batch, units)`; `W_mx`
    `(features, units)`; `W_mh` `(units, units)`; all others those of the cell.

    Raises:
        CellError: around a GRU.
        ConfigurationError: if the cell has no such state.
        StructureError: if h or an input is no vector.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("multiplicative", "lstm", 4)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        state: int = 0,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.state = state
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.keep_part(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        if self.bound.equivalence.builtin == "gru":
            raise CellError(
                f"{type(self).__name__}: {type(self.cell).__name__} is a GRU, which carries its"
                " state on besides its products: with another one in its place it would forget"
                " it.\n  Use an LSTM or a simple RNN inside, or the cell `mgru` of"
                " kcells-plugin-mlstm."
            )

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        who = type(self).__name__
        sizes = tree.flatten(self.bound.sizes)
        if not isinstance(self.state, int) or not 0 <= self.state < len(sizes):
            raise ConfigurationError(
                f"{who}: state must say which of the {len(sizes)} leaves of the state h is, from 0;"
                f" received {self.state!r}."
            )
        dims = sizes[self.state].dims
        leaves = vectors(inputs, "inputs", who)
        if len(dims) != 1 or any(len(leaf.shape) != 2 for leaf in leaves):
            shapes = ", ".join(str(tuple(leaf.shape[1:])) for leaf in leaves)
            raise StructureError(
                f"{who}: h and the inputs must be vectors.\n"
                f"  state {self.state}: {dims}\n  inputs: {shapes}\n"
                "  Choose another state=, or another cell."
            )
        self.input_kernels = [
            self.add(
                numbered("multiplicative_input_kernel", position, len(leaves)),
                (leaf.shape[-1], dims[0]),
                part="kernel",
            )
            for position, leaf in enumerate(leaves)
        ]
        self.state_kernel = self.add(
            "multiplicative_recurrent_kernel", (dims[0], dims[0]), part="recurrent"
        )

    def around(
        self,
        step: Callable[[Structure], tuple[Structure, Structure]],
        inputs: Structure,
        states: Structure,
        training: bool = False,
    ) -> tuple[Structure, Structure]:
        flat = list(tree.flatten(states))
        chosen = ops.matmul(flat[self.state], self.state_kernel)
        flat[self.state] = self._factors(inputs) * chosen
        return step(tree.pack_sequence_as(states, flat))

    def _factors(self, inputs: Structure) -> Tensor:
        pairs = zip(tree.flatten(plain(inputs)), self.input_kernels, strict=True)
        first, *others = [ops.matmul(x, kernel) for x, kernel in pairs]
        return sum(others, first)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = kcells.cell(
            "parallel", {"a": keras.layers.LSTMCell(2), "b": keras.layers.SimpleRNNCell(4)}
        )
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4)}, name="lstm"),
                Case({"cell": keras.layers.SimpleRNNCell(3)}, name="simple_rnn"),
                Case({"cell": both, "state": 2}, inputs={"a": (2,), "b": (3,)}, name="structure"),
            ],
            others={"state": 3},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="",
            note="around an LSTM",
        )
