"""`Bidirectional`: a layer forwards and a layer backwards, merged leaf by leaf."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops, tree

from kcells import stock
from kcells._keras_private import get_mask
from kcells.cells.freezing import freeze_inside
from kcells.engine.both import conditions, execute_both
from kcells.engine.conditions import all_hold
from kcells.engine.masks import combine, flags, with_lengths
from kcells.engine.rows import ends_from
from kcells.engine.run import has_steps
from kcells.errors import ConfigurationError, StructureError
from kcells.layers.dtypes import cast_floats, computed_dtype
from kcells.layers.merging import MERGES, check_merge_mode, merged
from kcells.layers.rnn import RNN
from kcells.registry import provenance
from kcells.structure import map_leaves, outline, plain
from kcells.types import Structure, Tensor

__all__ = ["Bidirectional"]


def _of_both(name: str) -> property:
    """An attribute of the layer that is forward's, and that is set on both."""

    def get(self: Bidirectional) -> Any:
        return getattr(self.forward_layer, name)

    def set_on_both(self: Bidirectional, value: Any) -> None:
        for layer in self._layers_in_order:
            if getattr(layer, name) != value:
                setattr(layer, name, value)

    return property(get, set_on_both, doc=f"`{name}` of both layers.")


@keras.saving.register_keras_serializable(package="kcells")
class Bidirectional(stock.Bidirectional):
    """Runs a recurrent layer in both directions of time.

    Args:
        layer: a recurrent layer, such as `kcells.RNN` or `keras.layers.LSTM`. Its
            configuration is copied; its weights are not used.
        merge_mode: how the outputs of both directions become one: `"concat"` (last
            axis), `"sum"`, `"ave"`, `"mul"`, or None to return both. Or a structure of
            these, like the outputs or the upper part of them.
        backward_layer: the layer for the other direction, with `go_backwards` set
            otherwise; by default a copy of `layer`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences, mask, training, constants, lengths: as the wrapped layer takes them.
        reset: `(batch, time)` bool, true where a piece begins; the backward layer starts anew
            at the end of each.
        initial_state: the states of both directions: the list that `states` returns (the
            forward states, then the backward ones), or a pair of structures.

    Returns:
        The merged outputs, in the structure of the wrapped layer's. Where `merge_mode` is
        None, a pair `(forward, backward)`; as a whole, two entries of the result. With
        `return_state`, the states of the forward layer and of the backward layer follow.
        At masked steps outputs are zero, as in Keras, if sequences are returned.

    Raises:
        ConfigurationError: for an unknown `merge_mode`, or layers that do not match.
        StructureError: if `merge_mode` or `initial_state` have another structure.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> layer = kcells.Bidirectional(kcells.RNN(keras.layers.GRUCell(4)), merge_mode="sum")
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        merge_mode: Structure = "concat",
        weights: Any = None,
        backward_layer: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        check_merge_mode(merge_mode)
        # The base class knows the plain modes only.
        super().__init__(layer, "concat", weights, backward_layer, **kwargs)
        self.merge_mode = merge_mode
        # Keras from 3.16 on has it False, and would lose the mask.
        self.supports_masking = True
        freeze_inside(self)

    # -- What is set on both layers

    stateful = _of_both("stateful")
    return_sequences = _of_both("return_sequences")
    return_state = _of_both("return_state")

    # -- Building and shapes

    def build(
        self,
        sequences_shape: Structure,
        initial_state_shape: Structure = None,
        constants_shape: Structure = None,
    ) -> None:
        for layer in (self.forward_layer, self.backward_layer):
            if layer.built:
                continue
            if constants_shape is not None and isinstance(layer, RNN):
                layer.build(sequences_shape, constants_shape=constants_shape)
            else:
                layer.build(sequences_shape)
        self.built = True

    def compute_output_spec(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool | None = None,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Structure:
        """The shapes and dtypes of what `call` would return."""
        arguments = self._arguments(
            sequences, initial_state, mask, training, constants, reset, lengths
        )
        forward, backward = (
            layer.compute_output_spec(sequences, **given)
            for layer, given in zip(self._layers_in_order, arguments, strict=True)
        )
        forward, backward = (self._map_outputs(self._computed, r) for r in (forward, backward))
        return self._merged(forward, backward, self._merge_specs)

    def _computed(self, spec: Any) -> keras.KerasTensor:
        return keras.KerasTensor(spec.shape, dtype=computed_dtype(spec, self.compute_dtype))

    def compute_output_shape(
        self,
        sequences_shape: Structure,
        initial_state_shape: Structure = None,
        constants_shape: Structure = None,
    ) -> Structure:
        """The shapes of what `call` would return."""
        forward, backward = (
            _shapes_to_specs(layer.compute_output_shape(sequences_shape))
            for layer in self._layers_in_order
        )
        merged = self._merged(forward, backward, self._merge_specs)
        return tree.map_structure(lambda spec: tuple(spec.shape), merged)

    def compute_mask(self, sequences: Structure, previous_mask: Structure = None) -> Structure:
        """The mask of the outputs, in the structure of what `call` returns."""
        mask = combine(previous_mask, plain(sequences), self.name)
        # The backward outputs are turned round, so that both have the mask of the inputs.
        one_way = self.forward_layer.compute_mask(sequences, mask)
        return self._merged(one_way, one_way, lambda mode, forward, backward: forward)

    # -- Calling

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool | None = None,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Structure:
        if mask is None:
            mask = combine(map_leaves(lambda leaf, _: get_mask(leaf), sequences), sequences, "")
        arguments = self._arguments(
            sequences, initial_state, mask, training, constants, reset, lengths
        )
        results = self._at_once(sequences, arguments)
        if results is None:
            results = [
                layer(sequences, **given)
                for layer, given in zip(self._layers_in_order, arguments, strict=True)
            ]
        forward, backward = (
            self._map_outputs(lambda leaf: cast_floats(leaf, self.compute_dtype), result)
            for result in results
        )
        # Back into the order of the forward layer.
        if self.return_sequences:
            backward = self._map_outputs(_turned, backward)
        if self.return_state and getattr(self.backward_layer, "return_all_states", False):
            backward = (backward[0], *tree.map_structure(_turned, backward[1:]))

        def merge(mode: str, a: Tensor, b: Tensor) -> Tensor:
            self._check_axes(mode, a)
            return MERGES[mode](a, b)

        return self._merged(forward, backward, merge)

    def _at_once(
        self, sequences: Structure, arguments: list[dict[str, Any]]
    ) -> list[Structure] | None:
        """What both layers return, from one call of a kernel; None where none may run."""
        if not all(map(self._runs_alone, self._layers_in_order)):
            return None
        calls = [
            layer._begin(sequences, **given)
            for layer, given in zip(self._layers_in_order, arguments, strict=True)
        ]
        if not (has_steps(calls[0].first) and all_hold(conditions(*calls))):
            return None
        return [
            layer._finish(call, ran)
            for layer, call, ran in zip(
                self._layers_in_order, calls, execute_both(*calls), strict=True
            )
        ]

    def _runs_alone(self, layer: Any) -> bool:
        """Whether nothing hangs on the call of a layer but what a kernel gives.

        First whether there is a kernel: few machines have one, and the rest costs more.
        """
        return (
            isinstance(layer, RNN)
            and layer._plan.both_directions
            and type(layer).call is RNN.call
            and layer.activity_regularizer is None
            and layer.dtype_policy.name == self.dtype_policy.name
        )

    def _arguments(
        self,
        sequences: Structure,
        initial_state: Structure,
        mask: Structure,
        training: bool | None,
        constants: Structure,
        reset: Tensor | None,
        lengths: Tensor | None,
    ) -> list[dict[str, Any]]:
        """The call arguments of the forward and of the backward layer."""
        pairs = (None, None) if initial_state is None else self._split_states(initial_state)
        shared: dict[str, Any] = {"mask": mask, "training": training}
        if constants is not None:
            shared["constants"] = constants
        if lengths is not None:
            shared["mask"] = with_lengths(
                combine(mask, sequences, self.name), lengths, sequences, self.name
            )
        own = [{"initial_state": state, **shared} for state in pairs]
        if reset is not None:
            begins = flags(reset, sequences, "reset", self.name)
            own[0]["reset"] = begins
            own[1]["reset"] = ends_from(begins, combine(shared["mask"], sequences, self.name))
        return own

    @property
    def _layers_in_order(self) -> tuple[Any, Any]:
        return self.forward_layer, self.backward_layer

    def _map_outputs(self, function: Callable[[Tensor], Tensor], result: Structure) -> Structure:
        if not self.return_state:
            return tree.map_structure(function, result)
        return (tree.map_structure(function, result[0]), *result[1:])

    def _merged(
        self, forward: Structure, backward: Structure, merge: Callable[..., Any]
    ) -> Structure:
        """Both results in one, as `return_state` and `merge_mode` say."""
        states: tuple[Structure, ...] = ()
        if self.return_state:
            states = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        if self.merge_mode is None:
            return (forward, backward, *states)
        output = merged(plain(self.merge_mode), forward, backward, merge, "merge_mode", self.name)
        return (output, *states) if self.return_state else output

    def _merge_specs(self, mode: str, forward: Any, backward: Any) -> keras.KerasTensor:
        self._check_axes(mode, forward)
        shape = tuple(forward.shape)
        if mode == "concat":
            shape = (*shape[:-1], shape[-1] + backward.shape[-1])
        return keras.KerasTensor(shape, dtype=forward.dtype)

    def _check_axes(self, mode: str, output: Any) -> None:
        leading = 2 if self.return_sequences else 1
        if mode == "concat" and len(output.shape) <= leading:
            raise StructureError(
                f'Bidirectional (layer "{self.name}"): an output of one number a sample has no'
                ' axis to "concat".\n'
                '  Choose "sum", "ave", "mul" or None for it.'
            )

    # -- States

    @property
    def states(self) -> tuple[Structure, ...] | None:
        """What both layers remember: the forward states, then the backward ones."""
        forward, backward = self.forward_layer.states, self.backward_layer.states
        if forward is None or backward is None:
            return None
        if isinstance(forward, (list, tuple)):
            return (*forward, *backward)
        return (forward, backward)

    def reset_state(self, states: Structure = None) -> None:
        """Sets what both layers remember.

        Args:
            states: as for `initial_state`; left out, the initial states of the cells.

        Raises:
            ConfigurationError: if the layer is not stateful.
        """
        if not self.stateful:
            raise ConfigurationError(
                f'Bidirectional (layer "{self.name}"): reset_state needs a stateful layer.'
                " Pass stateful=True to the wrapped layer."
            )
        if states is None:
            for layer in self._layers_in_order:
                layer.reset_state()
            return
        for layer, state in zip(self._layers_in_order, self._split_states(states), strict=True):
            layer.reset_state(state)

    def reset_states(self, states: Structure = None) -> None:
        """Another name of `reset_state`, as in Keras."""
        self.reset_state(states)

    def _split_states(self, states: Structure) -> tuple[Structure, Structure]:
        """The states of the forward and of the backward layer."""
        size = plain(self.forward_layer.state_size)
        count = len(size) if isinstance(size, (list, tuple)) else 1
        states = plain(states)
        if isinstance(states, (list, tuple)):
            if len(states) == 2 * count:
                halves = states[:count], states[count:]
                is_dict = isinstance(size, Mapping)
                return (halves[0][0], halves[1][0]) if is_dict else halves
            if len(states) == 2:
                return states[0], states[1]
        raise StructureError(
            f'Bidirectional (layer "{self.name}"): initial_state must hold the states of both'
            " directions.\n"
            f"  needed:   a list of {2 * count} (forward, then backward), or a pair of"
            f" structures like {size!r}\n"
            f"  received: {outline(states)}"
        )

    # -- Saving

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Bidirectional:
        """The layer of a configuration; loads the plugins that its cells come from."""
        provenance.ensure_loaded(config, custom_objects)
        return super().from_config(copy.deepcopy(config), custom_objects=custom_objects)  # type: ignore[no-any-return]


def _turned(leaf: Tensor) -> Tensor:
    return ops.flip(leaf, axis=1)


def _shapes_to_specs(shapes: Structure) -> Structure:
    return tree.map_shape_structure(lambda shape: keras.KerasTensor(tuple(shape)), shapes)
