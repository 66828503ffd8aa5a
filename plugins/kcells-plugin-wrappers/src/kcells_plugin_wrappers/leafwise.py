"""A cell for structures, with which the cards of the wrappers check these."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells.structure import plain, shape_leaves
from kcells.types import Structure

__all__ = ["LeafwiseCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class LeafwiseCell(kcells.Cell):
    """h_t = tanh(x_t W + u * h_{t-1}) for each leaf of a structure; the output is h.

    Args:
        sizes: a structure of ints, the sizes of the states.
        **kwargs: `name`, `dtype`, `trainable`.
    """

    def __init__(self, sizes: Structure, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = plain(sizes)
        self.state_size = self.output_size = self.sizes

    def build(self, input_shape: Structure) -> None:
        leaves = zip(tree.flatten(shape_leaves(input_shape)), tree.flatten(self.sizes), strict=True)
        self.kernels, self.decays = [], []
        for k, (leaf, size) in enumerate(leaves):
            self.kernels.append(self.add_weight(shape=(leaf.shape[-1], size), name=f"kernel_{k}"))
            self.decays.append(
                self.add_weight(shape=(size,), initializer="ones", name=f"recurrent_{k}")
            )

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        inputs = plain(inputs)
        leaves = zip(tree.flatten(inputs), self.kernels, strict=True)
        return tree.pack_sequence_as(inputs, [ops.matmul(x, kernel) for x, kernel in leaves])

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        leaves = zip(*map(tree.flatten, (projected, states)), self.decays, strict=True)
        new = tree.pack_sequence_as(projected, [ops.tanh(x + u * h) for x, h, u in leaves])
        return new, new

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes}
