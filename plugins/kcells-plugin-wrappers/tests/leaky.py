"""A cell without weights, for inputs, outputs and states of any structure."""

from __future__ import annotations

import keras
from keras import ops, tree

from kcells.structure import plain

__all__ = ["LeakyCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers-tests")
class LeakyCell(keras.layers.Layer):
    """s_t = s_{t-1} / 2 + sin(x_t), and the output 3 s_t - x_t, leaf by leaf."""

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.sizes = sizes

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states):
        new = tree.map_structure(lambda x, s: s / 2 + ops.sin(x), plain(inputs), plain(states))
        return tree.map_structure(lambda x, s: 3 * s - x, plain(inputs), new), new

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes}
