"""How a cell takes part: as its card says, for a stranger's as for ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells.cells.card import arguments_for, card_of
from kcells.registry import load
from kcells.structure import map_leaves, size_structure
from kcells.types import Structure

__all__ = ["Adapted", "adapted", "layer_of", "learning_of"]


@keras.saving.register_keras_serializable(package="kcells-benchmarks")
class Adapted(keras.layers.Layer):
    """Turns sequences of vectors into what a cell takes; their mask holds for every leaf.

    Args:
        function: from a tensor to a structure.
    """

    def __init__(self, function: Callable[[Any], Structure], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.supports_masking = True

    def call(self, inputs: Any) -> Structure:
        """What the function gives."""
        return self.function(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Structure:
        """That of the inputs, for every leaf."""
        return tree.map_structure(lambda _: mask, self.compute_output_spec(inputs))


def learning_of(name: str) -> kcells.Learning:
    """What the cell of this id needs in order to learn."""
    return card_of(load(name)).learning


def adapted(name: str, steps: Any, place: kcells.Place) -> Structure:
    """What the cell gets for vectors: as its card says, or one projection a leaf."""
    adapt = learning_of(name).adapt
    if adapt is not None:
        return Adapted(adapt)(steps)
    inputs = card_of(load(name)).inputs(place)
    (sizes,) = size_structure([inputs], "inputs", name)

    def projected(size: Any, _: str) -> Any:
        if size.dims == (steps.shape[-1],):
            return steps
        leaf = keras.layers.Dense(math.prod(size.dims))(steps)
        reshaped = Adapted(lambda x: ops.reshape(x, (-1, *x.shape[1:-1], *size.dims)))
        return reshaped(leaf) if len(size.dims) != 1 else leaf

    return map_leaves(projected, sizes)


def layer_of(name: str, place: kcells.Place, return_sequences: bool) -> Any:
    """The layer of the cell for this place."""
    cls = load(name)
    arguments = arguments_for(cls, place, learning_of(name).arguments(place))
    return kcells.build(name, **arguments, return_sequences=return_sequences)
