"""Layers of one time step, each around a layer that has run over sequences."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.engine.masks import as_wide, combine
from kcells.layers.dtypes import cast_floats
from kcells.layers.rnn import RNN
from kcells.structure import map_leaves, plain
from kcells.types import Structure, Tensor

__all__ = ["ConvolutionStep", "RecurrentStep"]


@keras.saving.register_keras_serializable(package="kcells")
class RecurrentStep(keras.layers.Layer):
    """One time step of a `kcells.RNN`, whose states come in and go out.

    Args:
        layer: the layer, which is built; its weights are used.
        is_masked: whether a mask reaches it. What a masked step gives is the last output that
            counts, so that one is then a state too.
        **kwargs: `name`, `dtype`.

    Call arguments:
        sequences: a structure of `(batch, 1, ...)`.
        states: a dict: `"cell"`, a structure like the cell's `state_size`, and `"last"`, the
            last output, where there is a mask.
        mask: all masks in one, `(batch, 1)`.
        constants: as for the layer.
        reset: `(batch, 1)` bool, as for the layer.

    Returns:
        The outputs `(batch, 1, ...)`, or `(batch, ...)` where the layer does not return sequences,
        and the new states.
    """

    def __init__(self, layer: RNN, is_masked: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer
        self.is_masked = is_masked
        self.supports_masking = True

    def build(self, sequences_shape: Structure, **shapes: Any) -> None:
        """Builds the layer, where a file has not."""
        if not self.layer.built:
            self.layer.build(sequences_shape, constants_shape=shapes.get("constants_shape"))

    def call(
        self,
        sequences: Structure,
        states: Structure,
        mask: Tensor | None = None,
        training: bool = False,
        constants: Structure = None,
        reset: Tensor | None = None,
    ) -> tuple[Structure, Structure]:
        outputs, cell = self.layer._step(
            sequences, states["cell"], mask, training, constants, reset
        )
        new = {"cell": cell}
        if self.is_masked:
            if not self.layer.zero_output_for_mask:
                outputs = self._or_last(outputs, mask, states["last"])
            new["last"] = outputs
        self._shapes = (
            tree.map_structure(lambda _: 0, outputs),
            tree.map_structure(lambda _: 0, new),
        )
        if self.layer.return_sequences:
            outputs = tree.map_structure(lambda y: ops.expand_dims(y, 1), outputs)
        return outputs, new

    def _or_last(self, outputs: Structure, mask: Tensor, last: Structure) -> Structure:
        """`outputs` where the step counts; else the last ones that counted."""
        valid = ops.cast(mask[:, 0], "bool")
        return tree.map_structure(lambda y, z: ops.where(as_wide(valid, y), y, z), outputs, last)

    def first_states(self, batch_size: Tensor) -> Structure:
        """What the cell starts from."""
        states = self.layer.get_initial_state(batch_size)
        return {"cell": cast_floats(states, self.layer.compute_dtype)}

    def compute_mask(self, sequences: Structure, previous_mask: Structure = None) -> Structure:
        """The mask of the outputs, where they are sequences; the states have none."""
        outputs = self.layer._traces.latest
        states = {"cell": self.layer._bound.sizes} | ({"last": outputs} if self.is_masked else {})
        mask = combine(previous_mask, plain(sequences), self.name)
        kept = mask if self.layer.return_sequences else None
        of_outputs = map_leaves(lambda _, path: kept, outputs)
        return of_outputs, map_leaves(lambda _, path: None, states)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "is_masked": self.is_masked}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RecurrentStep:
        """The layer of a configuration."""
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


@keras.saving.register_keras_serializable(package="kcells")
class ConvolutionStep(keras.layers.Layer):
    """One time step of a causal `keras.layers.Conv1D`, which remembers its last inputs.

    Args:
        layer: the layer, which is built; its weights are used.
        **kwargs: `name`, `dtype`.

    Call arguments:
        sequences: `(batch, 1, channels)`.
        states: a dict: `"inputs"`, `(batch, (kernel_size - 1) * dilation_rate, channels)`, the
            last of them, with zeros before the first.

    Returns:
        The outputs `(batch, 1, filters)` and the new states.
    """

    def __init__(self, layer: keras.layers.Conv1D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    @property
    def remembered(self) -> int:
        """How many inputs there are in the state."""
        return int((self.layer.kernel_size[0] - 1) * self.layer.dilation_rate[0])

    def build(self, sequences_shape: Structure, states_shape: Structure = None) -> None:
        """Builds the layer, where a file has not."""
        if not self.layer.built:
            self.layer.build(sequences_shape)

    def call(self, sequences: Tensor, states: Structure) -> tuple[Tensor, Structure]:
        window = ops.concatenate([states["inputs"], sequences], axis=1)
        outputs = ops.conv(
            window, self.layer.kernel, 1, "valid", "channels_last", self.layer.dilation_rate
        )
        if self.layer.use_bias:
            outputs = outputs + self.layer.bias
        if self.layer.activation is not None:
            outputs = self.layer.activation(outputs)
        return outputs, {"inputs": window[:, 1:]}

    def first_states(self, batch_size: Tensor) -> Structure:
        """Zeros, as the layer pads with."""
        channels = self.layer.kernel.shape[1] * self.layer.groups
        zeros = ops.zeros((batch_size, self.remembered, channels), dtype=self.compute_dtype)
        return {"inputs": zeros}

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConvolutionStep:
        """The layer of a configuration."""
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)
