"""`StreamingModel`: what `to_streaming` gives."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.types import Structure

__all__ = ["CALL", "StreamingModel"]

CALL = "_call_"
"""What stands between the name of a layer and a number, where it is called several times."""


@keras.saving.register_keras_serializable(package="kcells")
class StreamingModel(keras.Model):
    """A model of one time step; `kcells.to_streaming` makes it.

    Call arguments:
        inputs: a dict: `"inputs"`, what the model takes, without the time axis, and `"states"`,
            a dict with the states of each layer that has some, by its name.

    Returns:
        A dict: `"outputs"`, what the model gives, without the time axis, and `"states"`, what to
        hand to the next step.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> model = keras.Sequential([keras.Input((None, 3)), kcells.build("gru", 4)])
    >>> stream = kcells.to_streaming(model)
    >>> states = stream.initial_states(batch_size=2)
    >>> for step in np.ones((5, 2, 3), "float32"):
    ...     result = stream({"inputs": step, "states": states})
    ...     states = result["states"]
    >>> bool(np.allclose(result["outputs"], model(np.ones((2, 5, 3))), atol=1e-6))
    True
    """

    def __call__(self, inputs: Structure, *args: Any, **kwargs: Any) -> Structure:
        """See the class; arrays of NumPy may stand beside tensors, such as states of before."""
        return super().__call__(tree.map_structure(_as_tensor, inputs), *args, **kwargs)

    def initial_states(self, batch_size: int = 1) -> Structure:
        """What a stream starts from.

        Args:
            batch_size: how many streams go along in one batch.

        Returns:
            What goes in as `"states"` at the first step.
        """
        states: dict[str, Any] = {}
        for name, entry in self.input["states"].items():
            states[name] = tree.map_structure(
                lambda spec: ops.zeros((batch_size, *spec.shape[1:]), dtype=spec.dtype), entry
            )
            known = {layer.name: layer for layer in self.layers}
            layer = known.get(name) or known[name.rpartition(CALL)[0]]
            states[name] |= layer.first_states(batch_size)
        return states


def _as_tensor(leaf: Any) -> Any:
    is_symbol = isinstance(leaf, keras.KerasTensor)
    return leaf if is_symbol or ops.is_tensor(leaf) else ops.convert_to_tensor(leaf)
