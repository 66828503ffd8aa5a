"""Zoneout around a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.rates import any_rate, checked_rates, is_float, of_states, uniform

__all__ = ["ZoneoutCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class ZoneoutCell(kcells.Wrapper):
    """Keeps a share of the entries of a state as they were, at every step others.

        y_t, s~_t = cell(x_t, s_{t-1})
        s_t = d_t * s_{t-1} + (1 - d_t) * s~_t          in training, d_t 0 or 1
        s_t = z * s_{t-1} + (1 - z) * s~_t              otherwise: the expectation

    where the entries of d_t are 1 with the rate z, and drawn at every step. An output that is one
    of the new states, as `h` is in an LSTM or GRU, is that of s_t, not of s~_t; any other stays
    y_t.

    Paper: Krueger et al. 2016, "Zoneout: regularizing RNNs by randomly preserving hidden
    activations", arXiv:1606.01305, equation 1 and section 3.2.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        rates: z: a number, at least 0 and less than 1, for all states that hold floats, or a
            structure like the state, such as `[0.05, 0.5]` for `h` and `c` of an LSTM. Default:
            0.1.
        seed: an int for what is drawn, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: those of the cell.

    Raises:
        ConfigurationError: if a rate is outside of [0, 1).
        StructureError: if `rates` is a structure other than the states.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("zoneout", "lstm", 4, rates=[0.05, 0.5], return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32"), training=True).shape == (2, 5, 4)
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        rates: Structure = 0.1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.rates = checked_rates(self, "rates", rates)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if any_rate(self.rates) else None

    @property
    def touches_states(self) -> bool:
        """Whether there is any zoneout."""
        return any_rate(self.rates)

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        of_states(self, self.rates, "rates")  # raises

    def around(
        self,
        step: Callable[[Structure], tuple[Structure, Structure]],
        inputs: Structure,
        states: Structure,
        training: bool = False,
    ) -> tuple[Structure, Structure]:
        outputs, new = step(states)
        old_new = list(zip(tree.flatten(states), tree.flatten(new), strict=True))
        rates = of_states(self, self.rates, "rates")
        mixed = [
            self._mixed(*pair, rate, training) for pair, rate in zip(old_new, rates, strict=True)
        ]
        # By identity: what is the new state is meant to be what becomes of it.
        instead = {id(own): found for (_, own), found in zip(old_new, mixed, strict=True)}
        outputs = tree.map_structure(lambda y: instead.get(id(y), y), plain(outputs))
        return outputs, tree.pack_sequence_as(new, mixed)

    def _mixed(self, old: Tensor, new: Tensor, rate: float, training: bool) -> Tensor:
        if not rate or not is_float(old):
            return new
        old = ops.cast(old, new.dtype)
        if training:
            return ops.where(uniform(new, self.seed_generator) < rate, old, new)
        return rate * old + (1.0 - rate) * new

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4), "rates": [0.1, 0.4]}, name="lstm"),
                Case({"cell": keras.layers.GRUCell(3)}, name="gru"),
                Case(
                    {"cell": both, "rates": {"a": 0.5, "b": 0.0}},
                    inputs={"a": (2,), "b": (3,)},
                    name="structure",
                ),
            ],
            others={"rates": 0.3},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="",
            note="around an LSTM",
        )
