"""A small model that goes from ids to scores."""

import keras
import numpy as np
from keras import layers, ops, tree

import kcells

__all__ = ["WORDS", "numbers", "writer"]

WORDS = 7


def numbers(structure):
    return tree.map_structure(lambda leaf: np.asarray(ops.convert_to_numpy(leaf)), structure)


def writer(dtype=None, name="gru"):
    """From ids to scores."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(WORDS, 4, embeddings_initializer="normal", dtype=dtype),
            kcells.build(name, 5, return_sequences=True, dtype=dtype),
            layers.Dense(WORDS, kernel_initializer=keras.initializers.RandomNormal(stddev=2.0)),
        ]
    )
