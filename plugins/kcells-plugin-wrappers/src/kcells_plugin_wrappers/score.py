"""What a score is: how well each position of a memory fits a query, and what share it gets.

A score is a plain object: it says which weights it needs, and is given them at every step. So one
object serves any number of memories, and its arguments are all that a file holds of it.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

from keras import ops

from kcells.cells import positive
from kcells.types import Tensor

__all__ = ["FARTHER_THAN_ANY", "Score", "share"]

FARTHER_THAN_ANY = -1e30


@dataclasses.dataclass(frozen=True)
class Score(abc.ABC):
    """Base class of scores.

        e_tj = score(q_t, m_j)                    q_t: the query, m_j: position j of the memory
        a_t = softmax of e_t over all positions that count

    A subclass overrides `add_weights`, `keys` and `energies`; and `alignments` where the shares
    are no softmax. With `recalls` the shares of the step before are handed in, and are a state;
    `noise` is the standard deviation of what is added to the energies in training.

    Shapes: memory `(batch, positions, features)`, query `(batch, features of the query)`, energies
    and shares `(batch, positions)`. The keys may have any shape, with the batch in front.

    Raises:
        ConfigurationError: as the subclass says.

    Examples:

    >>> from kcells_plugin_wrappers import Bahdanau
    >>> Bahdanau(units=8).get_config()
    {'units': 8, 'normalize': False}
    """

    # Without annotations, since these are no arguments here.
    recalls = False
    noise = 0.0

    def keep_positive(self, *names: str) -> None:
        """Raises `ConfigurationError` if one of these arguments is no positive int."""
        for name in names:
            value = positive(type(self).__name__, name, getattr(self, name))
            object.__setattr__(self, name, value)

    def add_weights(
        self, add: Callable[..., Any], features: int, query_features: int
    ) -> dict[str, Any]:
        """The weights by name, each made by `add(name, shape, initializer)`."""
        return {}

    def keys(self, weights: dict[str, Any], memory: Tensor) -> Tensor:
        """What the energies need of the memory, for all steps alike."""
        return memory

    @abc.abstractmethod
    def energies(
        self, weights: dict[str, Any], query: Tensor, keys: Tensor, last: Tensor | None
    ) -> Tensor:
        """e_t."""

    def alignments(
        self, energies: Tensor, mask: Tensor, last: Tensor | None, training: bool
    ) -> Tensor:
        """a_t, from energies in single precision or better."""
        return share(energies, mask)

    def first(self, batch: Tensor, positions: int, dtype: str) -> Tensor:
        """a_0, for a score that `recalls`."""
        return ops.zeros((batch, positions), dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Score:
        """The score with these arguments."""
        return cls(**config)


def share(energies: Tensor, mask: Tensor) -> Tensor:
    """The softmax over the positions where `mask` is true; zeros where there are none."""
    energies = ops.where(mask, energies, ops.full_like(energies, FARTHER_THAN_ANY))
    highest = ops.stop_gradient(ops.max(energies, axis=-1, keepdims=True))
    parts = ops.where(mask, ops.exp(energies - highest), ops.zeros_like(energies))
    total = ops.sum(parts, axis=-1, keepdims=True)
    return parts / ops.where(total > 0, total, ops.ones_like(total))
