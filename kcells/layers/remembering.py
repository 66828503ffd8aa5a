"""What a recurrent layer remembers from one batch to the next, as its users see it."""

from __future__ import annotations

from typing import Any

from kcells import stock
from kcells.cells.protocol import BoundCell
from kcells.errors import ConfigurationError
from kcells.layers.memory import Memory
from kcells.types import Structure, Tensor

__all__ = ["Remembering"]


class Remembering(stock.RNN):
    """The part of `kcells.RNN` that is about states; see there."""

    _bound: BoundCell
    built: bool
    variable_dtype: str
    _memory: Memory | None
    _batch: int | None
    _stateful: bool

    @property
    def stateful(self) -> bool:
        """Whether each batch starts from the states in which the last one ended.

        Set later on, it counts from the next call that is no compiled one of before.

        Raises:
            ConfigurationError: if it is set on a layer that was built for any batch size.
        """
        return self._stateful

    @stateful.setter
    def stateful(self, stateful: bool) -> None:
        if stateful and self.built and self._memory is None:
            self._build_memory(self._batch)
        self._stateful = bool(stateful)

    @property
    def states(self) -> Structure | None:
        """The variables that a stateful layer remembers; None before the first batch."""
        return None if self._memory is None else self._memory.states

    @property
    def variables(self) -> list[Any]:
        """All variables, the remembered states too, which are no weights."""
        remembered = [] if self._memory is None else self._memory.variables
        return list(super().variables) + remembered

    @property
    def _who(self) -> str:
        return f'{self._bound.name} (layer "{self.name}")'

    def _build_memory(self, batch: int | None) -> None:
        if self._memory is not None:
            self.reset_state()
            return
        self._memory = Memory.of(self._bound, batch, self.variable_dtype, self._who)

    def get_initial_state(self, batch_size: Tensor) -> Structure:
        """The states that a sequence starts from, if nothing else is said."""
        return self._bound.initial_state(batch_size)

    def reset_state(self, states: Structure = None) -> None:
        """Sets what a stateful layer remembers.

        Args:
            states: a structure like the state, of `(batch, ...)`; left out, the cell's
                own initial state.

        Raises:
            ConfigurationError: if states are given and there is nothing to set.
            StructureError: if they do not fit.
        """
        if self._memory is None:
            if states is not None:
                raise ConfigurationError(
                    f"{self._who}: reset_state(states) needs a stateful layer that is built."
                    f" This one has stateful={self.stateful}, built={self.built}.\n"
                    "  Pass stateful=True, and call or build the layer first."
                )
            return
        self._memory.reset(self._bound, states, self._who)

    def reset_states(self, states: Structure = None) -> None:
        """Another name of `reset_state`, as in Keras."""
        self.reset_state(states)
