"""`StreamingModel`: what `to_streaming` gives."""

from __future__ import annotations

import re
from typing import Any

import keras
from keras import ops, tree

from kcells.files import export_options
from kcells.structure import leaves_with_paths, plain
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
    >>> whole = model.predict(np.ones((2, 5, 3)), verbose=0)
    >>> last = keras.ops.convert_to_numpy(result["outputs"])
    >>> bool(np.allclose(last, whole, atol=1e-6))
    True
    """

    def __call__(self, inputs: Structure, *args: Any, **kwargs: Any) -> Structure:
        """See the class; arrays of NumPy may stand beside tensors, such as states of before."""
        given = tree.map_structure(_as_tensor, _in_order(inputs, self.input))
        return super().__call__(given, *args, **kwargs)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Writes the model for another runtime, as `keras.Model.export` does.

        Files have no nested structures. So in the file each input has a name of its own, and so
        has each output: a state goes in as `<layer>_state`, or `<layer>_state_0` and so on where
        there are several, and comes out as `next_<layer>_state`.

        Args:
            filepath: where to.
            format: see `keras.Model.export`.
            **kwargs: the same.
        """
        flat = self.flat()
        # Keras wants a call before it writes for ONNX.
        flat(tree.map_structure(_one_row, flat.input))
        flat.export(filepath, format=format, **{**export_options(flat, format), **kwargs})

    def flat(self) -> keras.Model:
        """The same model with flat dicts, by the names that a file has, for inputs and outputs.

        Examples:

        >>> import keras, kcells
        >>> layer = kcells.build("lstm", 2, name="lstm")
        >>> stream = kcells.to_streaming(keras.Sequential([keras.Input((None, 3)), layer]))
        >>> sorted(stream.flat().input)
        ['inputs', 'lstm_state_0', 'lstm_state_1']
        >>> sorted(stream.flat().output)
        ['next_lstm_state_0', 'next_lstm_state_1', 'outputs']
        """
        outputs = {
            "_".join(re.findall(r"\w+", path)): leaf
            for path, leaf in leaves_with_paths(plain(self.output["outputs"]), "outputs")
        }
        states = zip(
            tree.flatten(self.input["states"]), tree.flatten(self.output["states"]), strict=True
        )
        return keras.Model(
            {given.name: given for given in self.inputs},
            outputs | {f"next_{given.name}": new for given, new in states},
            name=self.name,
        )

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


def _in_order(given: Structure, wanted: Structure) -> Structure:
    """`given` with the keys of its dicts as they come in `wanted`.

    On PyTorch Keras takes the leaves of nested dicts as they come, whatever their keys.
    """
    if isinstance(given, dict) and isinstance(wanted, dict) and set(given) == set(wanted):
        return {key: _in_order(given[key], wanted[key]) for key in wanted}
    is_row = type(given) in (list, tuple) and isinstance(wanted, (list, tuple))
    if is_row and len(given) == len(wanted):
        return type(given)(map(_in_order, given, wanted))
    return given


def _one_row(spec: Any) -> Any:
    return ops.zeros([1 if size is None else size for size in spec.shape], dtype=spec.dtype)


def _as_tensor(leaf: Any) -> Any:
    is_symbol = isinstance(leaf, keras.KerasTensor)
    return leaf if is_symbol or ops.is_tensor(leaf) else ops.convert_to_tensor(leaf)
