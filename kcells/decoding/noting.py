"""Which variables a function reads, and which it updates."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["Noting"]


class Noting(keras.StatelessScope):
    """A scope that notes what happens to variables in it; no update leaves it.

    Attributes:
        read: the variables that are read, by their ids.
        updated: those that are updated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[int, Any] = {}
        self.updated: dict[int, Any] = {}

    def get_current_value(self, variable: Any) -> Any:
        """The value in this scope; None if it has none."""
        self.read[id(variable)] = variable
        return super().get_current_value(variable)

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Takes a variable and its new value."""
        self.updated[id(update[0])] = update[0]
        super().add_update(update)
