"""Dropout whose mask is drawn once a sequence (variational dropout).

Gal and Ghahramani 2016 (arXiv:1512.05287), section 4: the same units are dropped at
every time step. So a mask has to be drawn before the loop and forgotten after it; it
must not be drawn inside, where a traced loop would leak it.

Keras' own cells keep their masks in themselves (`get_dropout_mask` and friends, known
by their names here); kcells' cells own a `VariationalDropout` for each place where
they drop. `sequence_masks` serves both, at any depth of cells inside cells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops, tree

from kcells._keras_private import sublayers
from kcells.errors import ConfigurationError
from kcells.structure import conform, map_leaves, plain, shape_leaves, size_structure
from kcells.types import Structure, Tensor

__all__ = ["VariationalDropout", "sequence_masks"]


@keras.saving.register_keras_serializable(package="kcells")
class VariationalDropout(keras.layers.Layer):
    """Drops the same entries at every step of a sequence.

    A cell owns one for each place where it drops, builds it with the shape of one step
    and calls `drop`. Outside of a sequence each call draws a mask of its own.

    Args:
        rate: the share of entries that are dropped, `0 <= rate < 1`.
        seed: an int, or None for a random one.

    Shapes: a structure of `(batch, ...)`, or with a leading time axis
    `(time, batch, ...)`; the result has the same.

    Raises:
        ConfigurationError: if the rate is outside of `[0, 1)`.

    Source: Gal and Ghahramani 2016, arXiv:1512.05287, section 4.

    Examples:

    >>> import kcells, numpy as np
    >>> dropout = kcells.VariationalDropout(0.5, seed=1)
    >>> dropout.build((None, 4))
    >>> x = np.ones((3, 2, 4), "float32")
    >>> dropout.draw(batch_size=2)
    >>> y = np.asarray(dropout.drop(x, training=True))
    >>> bool((y[0] == y[1]).all() and (y[1] == y[2]).all())
    True
    >>> dropout.forget()
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator: Any = None
        self.rate = rate
        self._masks: Structure = None

    @property
    def rate(self) -> float:
        """The share of entries that are dropped; another one counts from the next sequence on.

        Raises:
            ConfigurationError: if it is outside of `[0, 1)`, or if a layer is to drop that was
                built without.
        """
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise ConfigurationError(
                f"dropout: the rate must be at least 0 and less than 1; received {rate!r}."
            )
        if rate and self.seed_generator is None:
            if self.built:
                raise ConfigurationError(
                    f"dropout: the rate is set to {rate!r} on a layer that was built without"
                    " dropout, and has no seed to draw from.\n"
                    "  Give the rate to the constructor, or set it before the first call."
                )
            self.seed_generator = keras.random.SeedGenerator(self.seed)
        self._rate = rate

    def build(self, input_shape: Structure) -> None:
        """Notes the shape of one step; `input_shape` is a structure of `(batch, ...)`."""
        self._step_specs = shape_leaves(input_shape)
        self.built = True

    def draw(self, batch_size: Tensor) -> None:
        """Draws the masks for the sequences of one batch."""

        def mask(spec: Any, path: str) -> Tensor:
            ones = ops.ones((batch_size, *spec.shape[1:]), dtype=self.compute_dtype)
            return keras.random.dropout(ones, self.rate, seed=self.seed_generator)

        if self.rate:
            self._masks = map_leaves(mask, self._step_specs)

    def forget(self) -> None:
        """Ends the sequence: the next call draws anew."""
        self._masks = None

    def drop(self, inputs: Structure, training: bool = False) -> Structure:
        """`inputs` with the dropped entries zero and the others scaled up."""
        if not training or not self.rate:
            return inputs
        if self._masks is None:
            return map_leaves(
                lambda leaf, _: keras.random.dropout(leaf, self.rate, seed=self.seed_generator),
                inputs,
            )
        inputs = plain(inputs)
        masks = conform(self._masks, inputs, "dropout masks", self.name)

        def drop(leaf: Tensor, mask: Tensor) -> Tensor:
            leaf = ops.convert_to_tensor(leaf)
            return leaf * ops.cast(mask, leaf.dtype)

        return tree.map_structure(drop, inputs, masks)

    def call(self, inputs: Structure, training: bool = False) -> Structure:
        return self.drop(inputs, training)

    def compute_output_shape(self, input_shape: Structure) -> Structure:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@contextlib.contextmanager
def sequence_masks(cell: Any, batch_size: Tensor, training: bool) -> Iterator[list[Tensor]]:
    """Draws every dropout mask in `cell` on entry, gives them, and forgets them on exit."""
    try:
        drawn = [_draw(part, batch_size, training) for part in _parts_that_drop(cell)]
        yield [mask for mask in tree.flatten(drawn) if mask is not None]
    finally:
        forget_masks(cell)


def forget_masks(cell: Any) -> None:
    """Forgets every dropout mask in `cell`."""
    for part in _parts_that_drop(cell):
        _forget(part)


def _parts_that_drop(cell: Any) -> Iterator[Any]:
    return (part for part in sublayers(cell) if _drops(part))


def _drops(part: Any) -> bool:
    if isinstance(part, VariationalDropout):
        return bool(part.rate)
    return hasattr(part, "get_dropout_mask") and bool(part.dropout or part.recurrent_dropout)


def _draw(part: Any, batch_size: Tensor, training: bool) -> Structure:
    if isinstance(part, VariationalDropout):
        if training:
            part.draw(batch_size)
        return part._masks
    # One of Keras' cells. It takes the shape of its masks from a tensor, and some ask for
    # a mask in inference too, which must not be drawn inside of the loop.
    (features,) = part.get_build_config()["input_shape"][1:]
    first_state = tree.flatten(size_structure(part.state_size, "state_size", part.name))[0]
    return [
        part.get_dropout_mask(ops.zeros((batch_size, features), dtype=part.compute_dtype)),
        part.get_recurrent_dropout_mask(
            ops.zeros(first_state.batched(batch_size), dtype=part.compute_dtype)
        ),
    ]


def _forget(part: Any) -> None:
    if isinstance(part, VariationalDropout):
        part.forget()
        return
    part.reset_dropout_mask()
    part.reset_recurrent_dropout_mask()
