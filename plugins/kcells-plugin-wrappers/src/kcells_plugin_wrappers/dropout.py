"""Dropout around a cell: of inputs, outputs and states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case, VariationalDropout
from kcells.structure import map_leaves, plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.rates import any_rate, checked_rates, is_float, of_states

__all__ = ["DropoutCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class DropoutCell(kcells.Wrapper):
    """Drops a share of what goes into a cell, comes out of it, and stays in it.

        y_t, s~_t = cell(d_x * x_t, s_{t-1})
        o_t = d_y * y_t
        s_t = d_s * s~_t

    In training the entries of d are 0 with the given rate r and 1 / (1 - r) otherwise, drawn at
    every step or, if `variational`, once a sequence; without training they are 1. While no state
    is dropped the cell keeps its own path.

    Papers: Zaremba, Sutskever and Vinyals 2014, "Recurrent neural network regularization",
    arXiv:1409.2329, for inputs and outputs; Gal and Ghahramani 2016, arXiv:1512.05287, for one
    mask a sequence; Semeniuta, Severyn and Barth 2016, arXiv:1603.05118, for states. It is
    `DropoutWrapper` of tf.nn with rates of what is dropped, where that one has rates of what is
    kept; and it spares no state unless it is told to, where that one spares the memory of an
    LSTM.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        input_dropout: the share of the inputs that is dropped. Default: 0.
        output_dropout: the share of the outputs. Default: 0.
        state_dropout: the share of the states: a number for all that hold floats, or a structure
            like the state, such as `[0.1, 0.0]` for an LSTM whose memory is spared. Default: 0.
        variational: whether one mask serves a whole sequence. Default: False.
        seed: an int for the masks, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: those of the cell.

    Raises:
        ConfigurationError: if a rate is outside of [0, 1).
        StructureError: if `state_dropout` is a structure other than the states.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("dropout", "lstm", 4, input_dropout=0.1, state_dropout=[0.2, 0.0])
    >>> layer(np.ones((2, 5, 3), "float32"), training=True).shape == (2, 4)
    True
    >>> kcells.explain(kcells.build("dropout", "lstm", 4, output_dropout=0.1)).path
    'fused'
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        state_dropout: Structure = 0.0,
        variational: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.input_dropout = self.rate("input_dropout", input_dropout)
        self.output_dropout = self.rate("output_dropout", output_dropout)
        self.state_dropout = checked_rates(self, "state_dropout", state_dropout)
        self.variational, self.seed = variational, seed
        self.of_inputs = self._drop(self.input_dropout, 0)
        self.of_outputs = self._drop(self.output_dropout, 1)
        self.of_states: list[Any] = []

    def _drop(self, rate: float, position: int) -> Any:
        """What drops at one place; with a seed of its own, or all would draw the same."""
        seed = None if self.seed is None else self.seed + position
        kind = VariationalDropout if self.variational else _StepDropout
        return kind(float(rate), seed=seed, dtype=self.dtype_policy)

    @property
    def touches_states(self) -> bool:
        """Whether states are dropped."""
        return any_rate(self.state_dropout)

    @property
    def splits_step(self) -> bool:
        """Not where every step draws: it would draw other numbers for all steps at once."""
        draws = bool(self.input_dropout) and not self.variational
        return super().splits_step and not draws

    def build_before(self, inputs: Structure) -> None:
        self.of_inputs.build(map_leaves(lambda spec, _: tuple(spec.shape), inputs))

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        self.of_outputs.build(map_leaves(lambda spec, _: tuple(spec.shape), outputs))
        rates = of_states(self, self.state_dropout, "state_dropout")
        sizes = tree.flatten(self.bound.sizes)
        self.of_states = [self._drop(rate, 2 + k) for k, rate in enumerate(rates)]
        for drop, size in zip(self.of_states, sizes, strict=True):
            drop.build(size.batched(None))

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        return self.of_inputs.drop(inputs, training) if self.input_dropout else inputs

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        return self.of_outputs.drop(outputs, training) if self.output_dropout else outputs

    def around(
        self,
        step: Callable[[Structure], tuple[Structure, Structure]],
        inputs: Structure,
        states: Structure,
        training: bool = False,
    ) -> tuple[Structure, Structure]:
        outputs, new = step(states)
        if not training or not self.touches_states:
            return outputs, new
        flat = [
            drop.drop(state, training) if is_float(state) else state
            for drop, state in zip(self.of_states, tree.flatten(new), strict=True)
        ]
        return outputs, tree.pack_sequence_as(new, flat)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        all_three = {"input_dropout": 0.3, "output_dropout": 0.2, "state_dropout": 0.1}
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4), "input_dropout": 0.3}, name="inputs"),
                Case({"cell": keras.layers.LSTMCell(4), **all_three}, name="each step"),
                Case(
                    {"cell": both, **all_three, "variational": True},
                    inputs={"a": (2,), "b": (3,)},
                    name="structure",
                ),
            ],
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units), "input_dropout": 0.1},
            gates="",
            note="around an LSTM",
        )


class _StepDropout(keras.layers.Layer):
    """Drops other entries at every step."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def build(self, input_shape: Structure) -> None:
        self.built = True

    def drop(self, inputs: Structure, training: bool = False) -> Structure:
        """`inputs` with the dropped entries zero and the others scaled up."""
        if not training or not self.rate:
            return inputs
        return tree.map_structure(self._of_leaf, plain(inputs))

    def _of_leaf(self, leaf: Tensor) -> Tensor:
        leaf = ops.convert_to_tensor(leaf)
        return keras.random.dropout(leaf, self.rate, seed=self.seed_generator)
