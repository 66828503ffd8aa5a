"""Layer normalization around a cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.errors import ConfigurationError
from kcells.structure import plain
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import numbered, vectors

__all__ = ["LayerNormCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class LayerNormCell(kcells.Wrapper):
    """Normalizes what goes into a cell, or what comes out of it.

        y_t, s_t = cell(x_t, s_{t-1})             or cell(LN(x_t), s_{t-1})
        o_t = LN(y_t)                             or y_t
        LN(v) = gamma * (v - mean(v)) / sqrt(variance(v) + epsilon) + beta

    with mean and variance over the features of one step of one sample. Each leaf of a structure
    has a gain and a bias of its own. The cell keeps its own path; what is normalized inside of
    the gates is another cell, `ln_lstm` of kcells-plugin-layernorm and the like.

    Paper: Ba, Kiros and Hinton 2016, "Layer normalization", arXiv:1607.06450, equation 4.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        normalize_inputs: whether the inputs are normalized. Default: False.
        normalize_outputs: whether the outputs are. Default: True.
        epsilon: added to the variance, a positive float. Default: 1e-5.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: what is normalized has features, `(batch, ..., features)`; all shapes are those of the
    cell; gain and bias `(features,)`.

    Raises:
        ConfigurationError: if nothing is normalized, or if `epsilon` is out of range.
        StructureError: if what is normalized has no features.

    Examples:

    >>> import kcells, numpy as np
    >>> import keras
    >>> layer = kcells.build("layer_norm", "lstm", 4)
    >>> y = keras.ops.convert_to_numpy(layer(np.random.normal(size=(2, 5, 3))))
    >>> bool(np.allclose(y.mean(axis=-1), 0, atol=1e-5))
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        normalize_inputs: bool = False,
        normalize_outputs: bool = True,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        who = type(self).__name__
        if not isinstance(epsilon, float) or not epsilon > 0:
            raise ConfigurationError(
                f"{who}: epsilon must be a positive float; received {epsilon!r}."
            )
        if not (normalize_inputs or normalize_outputs):
            raise ConfigurationError(
                f"{who}: nothing is normalized.\n"
                "  Set normalize_inputs or normalize_outputs, or use the cell without a wrapper."
            )
        self.normalize_inputs, self.normalize_outputs = normalize_inputs, normalize_outputs
        self.epsilon = epsilon

    def build_before(self, inputs: Structure) -> None:
        self.of_inputs = self._weights(inputs, "inputs") if self.normalize_inputs else []

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        self.of_outputs = self._weights(outputs, "outputs") if self.normalize_outputs else []

    def _weights(self, specs: Structure, root: str) -> list[Any]:
        """Gain and bias of every leaf."""
        leaves = vectors(specs, root, type(self).__name__)
        return [
            self.add_weight(
                shape=leaf.shape[-1:],
                initializer=initializer,
                name=numbered(f"{root}_{what}", position, len(leaves)),
            )
            for position, leaf in enumerate(leaves)
            for what, initializer in (("gain", "ones"), ("bias", "zeros"))
        ]

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        return self._normalized(inputs, self.of_inputs) if self.normalize_inputs else inputs

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        return self._normalized(outputs, self.of_outputs) if self.normalize_outputs else outputs

    def _normalized(self, structure: Structure, weights: list[Any]) -> Structure:
        structure = plain(structure)
        flat = [
            self._of_leaf(leaf, weights[2 * position], weights[2 * position + 1])
            for position, leaf in enumerate(tree.flatten(structure))
        ]
        return tree.pack_sequence_as(structure, flat)

    def _of_leaf(self, v: Tensor, gain: Any, bias: Any) -> Tensor:
        # A sum of squares is nothing for half precision.
        dtype = keras.backend.standardize_dtype(v.dtype)
        wide = v if dtype == "float64" else ops.cast(v, "float32")
        centered = wide - ops.mean(wide, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        return gain * ops.cast(centered * ops.rsqrt(variance + self.epsilon), dtype) + bias

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        # Of two numbers nothing but their order would be left.
        both = LeafwiseCell({"a": 5, "b": 4})
        first = {"normalize_inputs": True, "normalize_outputs": False}
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4)}, name="outputs"),
                Case({"cell": keras.layers.GRUCell(4), **first}, name="inputs"),
                Case(
                    {"cell": both, "normalize_inputs": True},
                    inputs={"a": (4,), "b": (5,)},
                    name="structure",
                ),
            ],
            others={"epsilon": 1e-3},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="",
            note="around an LSTM",
        )
