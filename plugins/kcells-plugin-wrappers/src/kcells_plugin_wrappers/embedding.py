"""A table of vectors before a cell."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops, tree

import kcells
from kcells import Card, Case, Learning
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import each, numbered

__all__ = ["EmbeddingCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class EmbeddingCell(kcells.Wrapper):
    """Looks the inputs of a cell up in a table.

        y_t, s_t = cell(E[x_t], s_{t-1})

    where x_t are whole numbers. Each leaf of a structure has a table of its own. The cell keeps
    its own path. It is for cells that get tokens step by step, as in decoding; in a model
    `keras.layers.Embedding` before the layer does the same.

    Source: TensorFlow 1.x 2016, `EmbeddingWrapper` of tf.contrib.rnn.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        classes: how many numbers there are, from 0: an int, or a structure of ints like the inputs.
        size: the length of a vector: an int, or a structure of ints like the inputs.
        embeddings_initializer: for E. Default: `"uniform"`.
        embeddings_regularizer, embeddings_constraint: for E. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs a structure of `(batch, ...)` ints, so that a sequence is `(batch, time)`; the
    cell gets `(batch, ..., size)`; outputs and states those of the cell; `E` `(classes, size)`.
    What a number outside of the table gives, the backend decides.

    Raises:
        ConfigurationError: if `classes` or `size` hold something else than positive ints.
        StructureError: if `classes` or `size` are another structure than the inputs.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("embedding", "lstm", 4, classes=10, size=3)
    >>> layer(np.array([[1, 5, 9], [0, 0, 2]])).shape == (2, 4)
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        classes: Structure,
        size: Structure,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        for name, value in (("classes", classes), ("size", size)):
            for number in tree.flatten(plain(value)):
                self.positive(name, number)
        self.classes, self.size = plain(classes), plain(size)
        self.keep_part(
            "embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint
        )

    def build_before(self, inputs: Structure) -> None:
        who = type(self).__name__
        count = len(tree.flatten(inputs))
        shapes = zip(
            each(self.classes, inputs, "classes", who),
            each(self.size, inputs, "size", who),
            strict=True,
        )
        self.tables = [
            self.add(numbered("embeddings", position, count), shape)
            for position, shape in enumerate(shapes)
        ]

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        inputs = plain(inputs)
        found = zip(tree.flatten(inputs), self.tables, strict=True)
        return tree.pack_sequence_as(inputs, [_looked_up(x, table) for x, table in found])

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        sizes = {"classes": {"a": 5, "b": 7}, "size": {"a": 2, "b": 3}}
        return Card(
            [
                Case(
                    {"cell": keras.layers.LSTMCell(4), "classes": 6, "size": 3},
                    inputs=(),
                    sample=lambda rng, batch, time: _drawn(rng, 6, batch, time),
                    name="one",
                ),
                Case(
                    {"cell": both, **sizes},
                    inputs={"a": (), "b": ()},
                    sample=lambda rng, batch, time: {
                        "a": _drawn(rng, 5, batch, time),
                        "b": _drawn(rng, 7, batch, time),
                    },
                    name="structure",
                ),
            ],
            others={"classes": 9, "size": 7},
            arguments=lambda at: {
                "cell": kcells.cell("lstm", at.units),
                "classes": 10,
                "size": at.units,
            },
            inputs=lambda at: (),
            gates="",
            note="around an LSTM; 10 classes",
            learning=Learning(
                arguments=lambda at: {"classes": at.features},
                adapt=lambda vectors: ops.argmax(vectors, axis=-1),
            ),
        )


def _looked_up(numbers: Tensor, table: Any) -> Tensor:
    return ops.take(table, ops.cast(numbers, "int32"), axis=0)


def _drawn(rng: np.random.Generator, classes: int, batch: int, time: int) -> Any:
    return rng.integers(classes, size=(batch, time), dtype="int32")
