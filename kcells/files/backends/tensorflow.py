"""SavedModels."""

from __future__ import annotations

from typing import Any

from keras import tree

from kcells.types import Structure

__all__ = ["run"]


def run(path: str, arrays: Structure) -> list[Any]:
    """What the file makes of arrays; see `kcells.files.run.run_file`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    found = loaded.serve(tree.map_structure(tf.constant, arrays))
    return [leaf.numpy() for leaf in tree.flatten(found)]
