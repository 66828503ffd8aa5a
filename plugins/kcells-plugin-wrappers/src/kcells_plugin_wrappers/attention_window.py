"""Attention to the last outputs, around a cell."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.cells import built_outputs
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leaves import the_vector

__all__ = ["AttentionWindowCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class AttentionWindowCell(kcells.Wrapper):
    """Lets a cell look back, at every step, at the last outputs.

        y_t, s_t = cell([x_t, c_{t-1}] W_x + b_x, s_{t-1})
        e_tj = v . tanh(o_j W_w + s_t W_q + b_q)      for j = t - length ... t - 1
        c_t = sum_j a_tj o_j, with a_t = softmax(e_t)
        o_t = [y_t, c_t] W_o + b_o

    with `c` and all `o` zero before the first step; the zeros among the last outputs have their
    shares too, as long as there are some. Of several states, or of matrices, all numbers stand one
    after the other in s_t, in the order of the cell's `state_size`.

    Papers: Cheng, Dong and Lapata 2016, "Long short-term memory-networks for machine reading",
    arXiv:1601.06733, for a cell that attends to its own past; Bahdanau, Cho and Bengio 2015,
    "Neural machine translation by jointly learning to align and translate", arXiv:1409.0473, for
    e_tj. `AttentionCellWrapper` of tf.contrib.rnn has these equations.

    Differences: Cheng et al. look at the whole past, at the states h and c, and before the step,
    in which what they find takes the place of h_{t-1} and c_{t-1}. Where tf.contrib.rnn has the
    states of an LSTM as c, h, Keras has h, c: the rows of W_q stand in this order.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack. Its output
            must be one vector.
        *args: for the constructor of the cell, where it is not made yet.
        length: how many outputs the cell looks back at.
        attention_size: the size of c and o. Default: None, that of y.
        score_size: the size of v. Default: None, that of c.
        input_size: how many features the cell gets. Default: None, as many as x has.
        kernel_initializer: for all matrices and v. Default: `"glorot_uniform"`.
        bias_initializer: for b_x, b_q and b_o. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: for the same.
            Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs `(batch, features)`; states `{"attention": c, "cell": s, "window": o}`, the
    window `(batch, length, attention_size)` with the last output at its end; outputs
    `(batch, attention_size)`; `W_x` `(features + attention_size, input_size)`; `W_w`
    `(attention_size, score_size)`; `W_q` `(numbers in s, score_size)`; `v` `(score_size,)`; `W_o`
    `(features of y + attention_size, attention_size)`.

    Raises:
        ConfigurationError: if `length` or a size is no positive int.
        StructureError: if the inputs or the output of the cell are not one vector.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("attention_window", "lstm", 4, length=8, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 5, 4)
    True
    >>> sorted(layer.cell.state_size.items())
    [('attention', 4), ('cell', [4, 4]), ('window', (8, 4))]
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        length: int,
        attention_size: int | None = None,
        score_size: int | None = None,
        input_size: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.length = self.positive("length", length)
        self.attention_size, self.score_size = attention_size, score_size
        self.input_size = input_size
        for name in ("attention_size", "score_size", "input_size"):
            if getattr(self, name) is not None:
                self.positive(name, getattr(self, name))
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.keep_part("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._attended: int | None = None

    # -- States

    @property
    def state_size(self) -> Any:
        """The last attention, the states of the cell, and the last outputs; None until built."""
        if self._attended is None or self.cell.state_size is None:
            return None
        return {
            "attention": self._attended,
            "cell": self.bound.entry_size,
            "window": (self.length, self._attended),
        }

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError("state_size of AttentionWindowCell follows from its cell and sizes.")

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        batch = 1 if batch_size is None else batch_size
        return {
            "attention": ops.zeros((batch, self._attended), self.compute_dtype),
            "cell": self.bound.initial_entry(batch),
            "window": ops.zeros((batch, self.length, self._attended), self.compute_dtype),
        }

    # -- Weights

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds the cell for what it will get, and the weights around it."""
        inputs = the_vector(self._specs(input_shape), "the inputs", "AttentionWindowCell")
        seen = self.input_size or inputs.shape[-1]
        of_cell = keras.KerasTensor((inputs.shape[0], seen), self.compute_dtype)
        outputs = built_outputs(self.bound, of_cell, constants_shape)
        where = f"the output of {self.bound.name}"
        given = the_vector(outputs, where, "AttentionWindowCell").shape[-1]
        attended = self.attention_size or given
        score = self.score_size or attended
        states = sum(math.prod(size.dims) for size in tree.flatten(self.bound.sizes))
        self.input_kernel = self._kernel("input", inputs.shape[-1] + attended, seen)
        self.input_bias = self._bias("input", seen)
        self.window_kernel = self._kernel("window", attended, score)
        self.query_kernel = self._kernel("query", states, score)
        self.query_bias = self._bias("query", score)
        self.score_kernel = self._kernel("score", score)
        self.output_kernel = self._kernel("output", given + attended, attended)
        self.output_bias = self._bias("output", attended)
        self._attended = attended
        self.built = True

    def _kernel(self, name: str, *shape: int) -> Any:
        return self.add(f"{name}_kernel", shape, part="kernel")

    def _bias(self, name: str, size: int) -> Any:
        return self.add(f"{name}_bias", (size,), part="bias")

    # -- A step

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        joined = self._joined(inputs, states["attention"])
        seen = ops.matmul(joined, self.input_kernel) + self.input_bias
        outputs, entry = self.bound.step_entry(seen, states["cell"], training, constants)
        attention = self._looked_back(entry, states["window"])
        joined = self._joined(outputs, attention)
        y = ops.matmul(joined, self.output_kernel) + self.output_bias
        window = ops.concatenate([states["window"][:, 1:], ops.expand_dims(y, 1)], axis=1)
        return y, {"attention": attention, "cell": entry, "window": window}

    def _joined(self, *structures: Structure) -> Tensor:
        """All numbers of one sample after each other, `(batch, numbers)`."""
        leaves = [leaf for one in structures for leaf in tree.flatten(plain(one))]
        flat = [ops.reshape(leaf, (-1, math.prod(leaf.shape[1:]))) for leaf in leaves]
        return ops.concatenate([ops.cast(leaf, self.compute_dtype) for leaf in flat], axis=-1)

    def _looked_back(self, entry: Structure, window: Tensor) -> Tensor:
        """The sum of the last outputs, each times its share."""
        query = ops.matmul(self._joined(entry), self.query_kernel) + self.query_bias
        hidden = ops.tanh(ops.matmul(window, self.window_kernel) + ops.expand_dims(query, 1))
        shares = ops.softmax(ops.sum(self.score_kernel * hidden, axis=-1), axis=-1)
        return ops.sum(ops.expand_dims(shares, -1) * window, axis=1)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        lstm, gru = keras.layers.LSTMCell, keras.layers.GRUCell
        sizes = {"attention_size": 5, "score_size": 2, "input_size": 6}
        stack = kcells.StackedCells([gru(3), lstm(4)])
        return Card(
            [
                Case({"cell": lstm(4), "length": 3}, name="lstm"),
                Case({"cell": gru(4), "length": 2, **sizes}, name="sizes"),
                Case({"cell": stack, "length": 2}, name="stack"),
            ],
            others={"length": 5, "attention_size": 6, "score_size": 3, "input_size": 2},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units), "length": 8},
            gates="",
            note="around an LSTM",
        )
