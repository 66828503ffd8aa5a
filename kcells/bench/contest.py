"""One cell at one size: the cell, its data, and a model around a layer."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
from keras import tree

from kcells.bench.sizes import LoopSize
from kcells.build import build, cell
from kcells.cells.card import Card, Place, arguments_for, card_of
from kcells.layers.rnn import RNN
from kcells.registry import load
from kcells.structure import map_leaves, size_structure

__all__ = ["Contest", "is_shape"]


@dataclasses.dataclass(frozen=True)
class Contest:
    """What all sides of one comparison have in common.

    Attributes:
        name: the cell's id, or its qualified id.
        size: batch, length, features and units.
    """

    name: str
    size: LoopSize

    @functools.cached_property
    def card(self) -> Card:
        """What the cell says of itself."""
        return card_of(load(self.name))

    def peer(self, library: str) -> str:
        """The class of another library that is the same layer, as the card has it.

        Raises:
            LookupError: if the card names none.
        """
        peers = self.card.workload.peers
        if library not in peers:
            raise LookupError(f"{library} has no {self.id}")
        return peers[library]

    @property
    def _place(self) -> Place:
        return Place(self.size.units, self.size.features, self.size.length)

    @property
    def _arguments(self) -> dict[str, Any]:
        return arguments_for(load(self.name), self._place)

    @property
    def id(self) -> str:
        """The id without the distribution."""
        return self.name.rpartition(":")[2]

    @property
    def backend(self) -> str:
        """What Keras runs on in this process."""
        return str(keras.backend.backend())

    def cell(self) -> Any:
        """A new cell."""
        return cell(self.name, **self._arguments)

    def build(self, **options: Any) -> Any:
        """A new layer, as `kcells.build` makes it."""
        return build(self.name, **self._arguments, **options)

    @property
    def shapes(self) -> Any:
        """The shapes of the inputs."""
        # In a list, a tuple of ints is a shape and not a structure.
        (sizes,) = size_structure([self.card.inputs(self._place)], "inputs", self.name)
        lead = (self.size.batch, self.size.length)
        return map_leaves(lambda size, _: (*lead, *size.dims), sizes)

    @functools.cached_property
    def arrays(self) -> Any:
        """The inputs, as NumPy arrays."""
        rng = np.random.default_rng(0)
        return _map_shapes(lambda shape: np.asarray(rng.normal(size=shape), "float32"), self.shapes)

    @functools.cached_property
    def inputs(self) -> Any:
        """The inputs, as tensors of the backend."""
        return _tensors(self.arrays)

    def targets(self, model: keras.Model) -> Any:
        """Random numbers of the shapes of a model's outputs."""
        rng = np.random.default_rng(1)
        shapes = [(self.size.batch, *output.shape[1:]) for output in model.outputs]
        arrays = tuple(np.asarray(rng.normal(size=shape), "float32") for shape in shapes)
        return _tensors(arrays if len(arrays) > 1 else arrays[0])

    def model(self, layer: Any, **options: Any) -> keras.Model:
        """A compiled model of the layer and, where the card says so, a Dense(1).

        Args:
            layer: the layer that is measured.
            **options: for `compile`, such as `jit_compile`.
        """
        shapes = self.shapes
        inputs = _map_shapes(lambda shape: keras.Input(shape[1:]), shapes)
        if isinstance(shapes, dict):
            # Keras wants the names of inputs to be the keys.
            inputs = {key: keras.Input(shape[1:], name=key) for key, shape in shapes.items()}
        if self.card.workload.head and is_shape(self.shapes):
            model = keras.Sequential([inputs, layer, keras.layers.Dense(1)])
        else:
            model = keras.Model(inputs, self._outputs(layer(inputs)))
        model.compile(self.card.workload.optimizer, "mse", **options)
        return model

    def _outputs(self, outputs: Any) -> Any:
        if not self.card.workload.head:
            return outputs
        flat = [keras.layers.Flatten()(leaf) for leaf in tree.flatten(outputs)]
        joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
        return keras.layers.Dense(1)(joined)

    def products(self) -> list[tuple[int, int]]:
        """Rows and columns of the matrices by which a step multiplies."""
        layer = RNN(self.cell())
        layer(self.inputs)
        # The GRU of Keras has a bias of two axes.
        weights = [w for w in layer.trainable_weights if "bias" not in w.name]
        found = (_product(tuple(w.shape)) for w in weights)
        return [product for product in found if product is not None]


def _product(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Rows and columns of the matrix that a weight is; None if it is none.

    One of four axes maps two of them to the other two, as `einsum` does; what has three, such
    as the kernel of a convolution, is left out.
    """
    if len(shape) not in (2, 4):
        return None
    middle = len(shape) // 2
    return math.prod(shape[:middle]), math.prod(shape[middle:])


def is_shape(structure: Any) -> bool:
    """Whether this is the shape of one tensor."""
    return isinstance(structure, tuple) and all(isinstance(axis, int) for axis in structure)


def _map_shapes(function: Any, structure: Any) -> Any:
    if is_shape(structure):
        return function(structure)
    if isinstance(structure, dict):
        return {key: _map_shapes(function, part) for key, part in structure.items()}
    return type(structure)(_map_shapes(function, part) for part in structure)


def _tensors(arrays: Any) -> Any:
    return tree.map_structure(keras.ops.convert_to_tensor, arrays)
