"""A cell on a device of its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

import kcells
from kcells import Card, Case
from kcells.errors import ConfigurationError
from kcells.structure import map_leaves
from kcells.types import Structure
from kcells_plugin_wrappers.leafwise import LeafwiseCell

__all__ = ["DeviceCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class DeviceCell(kcells.Wrapper):
    """Runs a cell on a device.

        y_t, s_t = cell(x_t, s_{t-1})             on the device

    Weights are made there, inputs are moved there, and the results stay there. It is what
    `keras.device` does on the backend: TensorFlow places each operation; PyTorch makes tensors
    there; JAX does so where no program is compiled around. The cell keeps its own path, by the
    kernels of that device.

    Source: TensorFlow 1.x 2016, `DeviceWrapper` of tf.nn; there is no equation beyond the one
    above.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        device: its name, as `keras.device` takes it: `"cpu:0"`, `"gpu:1"`.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: those of the cell.

    Raises:
        ConfigurationError: if `device` is no such name.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("device", "lstm", 4, device="cpu:0")
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    """

    def __init__(self, cell: Any, *args: Any, device: str, **kwargs: Any) -> None:
        super().__init__(cell, *args, **kwargs)
        kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
        if not kind.isalpha() or (number and not number.isdigit()):
            raise ConfigurationError(
                f'{type(self).__name__}: device must be a name such as "cpu:0" or "gpu:1";'
                f" received {device!r}."
            )
        self.device = device

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        return map_leaves(lambda leaf, _: ops.convert_to_tensor(leaf), inputs)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        both = LeafwiseCell({"a": 2, "b": 4})
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(4), "device": "cpu:0"}, name="lstm"),
                Case(
                    {"cell": both, "device": "cpu:0"},
                    inputs={"a": (2,), "b": (3,)},
                    name="structure",
                ),
            ],
            others={"device": "cpu"},
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units), "device": "cpu:0"},
            gates="",
            note="around an LSTM",
        )
