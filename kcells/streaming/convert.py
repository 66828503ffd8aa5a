"""`to_streaming`: walks a model's graph once more, with one time step in the place of many."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import re
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from kcells import stock
from kcells._keras_private import get_mask
from kcells.engine.masks import combine
from kcells.errors import ArgumentError, ConfigurationError
from kcells.layers.dtypes import cast_floats
from kcells.layers.rnn import RNN
from kcells.layers.specs import output_specs
from kcells.streaming.model import CALL, StreamingModel
from kcells.streaming.steps import ConvolutionStep, RecurrentStep
from kcells.streaming.stepwise import why_not_stepwise
from kcells.structure import map_leaves, plain, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["to_streaming"]


def to_streaming(layer_or_model: Any, stepwise: tuple[type, ...] = ()) -> StreamingModel:
    """A Keras model of one time step, with the same weights and with its states in and out.

    Fed step by step it gives what the model gives for the sequence as far as it has come: with
    `return_sequences=True` the output of that step, otherwise what the model would say if the
    sequence ended there. It has no loop, so it can be exported to every format of
    `model.export`.

    Args:
        layer_or_model: a `kcells.RNN` that is built, or a sequential or functional model with
            such layers. Layers that act on each step alone may be around them (Dense,
            Embedding, normalization, activations, merging layers, TimeDistributed, nested
            models of these), and causal `Conv1D`, which remembers its last inputs.
        stepwise: further classes of layers that act on each step alone.

    Returns:
        A `kcells.StreamingModel`. It shares the weights: what is trained later counts.

    Raises:
        ConfigurationError: if a layer cannot be stepped, with its name and the reason.
        ArgumentError: for anything that is no layer or model of these kinds, or is not built.

    Examples:

    >>> import keras, kcells
    >>> model = keras.Sequential([keras.Input((None, 3)), kcells.build("ln_gru", 4)])
    >>> stream = kcells.to_streaming(model)
    >>> tuple(stream.input["inputs"].shape)
    (None, 3)
    """
    if not isinstance(layer_or_model, keras.layers.Layer):
        raise ArgumentError(
            f"to_streaming takes a layer or a model; received {type(layer_or_model).__name__}."
        )
    model = _as_model(layer_or_model)
    expected, timed = _expected_by(model), _sequences_among(model)
    given = map_leaves(lambda spec, _: _input_of_a_step(spec, id(spec) in timed), expected)
    if not tree.is_nested(expected):
        given = _input_of_a_step(expected, id(expected) in timed, name="inputs")
    walk = _Walk(stepwise)
    tensors = tree.map_structure(
        lambda spec, x: walk.timed_from(x) if id(spec) in timed else x, expected, given
    )
    outputs = walk.through(model, tensors)
    if not walk.states:
        raise ConfigurationError(
            f"to_streaming: nothing in {model.name} has a state; it can be called on single steps"
            " as it is."
        )
    return StreamingModel(
        inputs={"inputs": given, "states": {name: pair[0] for name, pair in walk.states.items()}},
        outputs={
            "outputs": tree.map_structure(walk.without_time, outputs),
            "states": {name: pair[1] for name, pair in walk.states.items()},
        },
        name=f"{model.name}_streaming",
    )


def _as_model(layer: Any) -> keras.Model:
    """A functional or sequential model whose inputs are known."""
    if isinstance(layer, keras.Model):
        functional = isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
        if not functional:
            raise ArgumentError(
                f"to_streaming takes functional and sequential models; {type(layer).__name__} is a"
                " subclass with a call of its own.\n"
                "  Convert the layers inside, and put them together again."
            )
        if not layer.built:
            raise ArgumentError(
                f"to_streaming: {layer.name} is not built.\n"
                "  Begin it with keras.Input(shape), or call it once."
            )
        return layer
    if not layer.built:
        raise ArgumentError(f'to_streaming: layer "{layer.name}" is not built. Call it once.')
    specs = shape_leaves(layer.get_build_config()["input_shape"])
    inputs = map_leaves(
        lambda spec, path: keras.Input(
            batch_shape=(None, *spec.shape[1:]),
            dtype=layer.compute_dtype,
            name=re.sub(r"\W+", "_", path.removeprefix("inputs")).strip("_") or "inputs",
        ),
        specs,
        "inputs",
    )
    return keras.Model(inputs, layer(inputs), name=layer.name)


def _expected_by(model: keras.Model) -> Structure:
    """The symbolic inputs of a model, in their structure."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else plain(model.input)


def _input_of_a_step(spec: Any, is_timed: bool, name: str | None = None) -> Any:
    shape = (spec.shape[0], *spec.shape[2:]) if is_timed else spec.shape
    return keras.Input(batch_shape=shape, dtype=spec.dtype, name=name or spec.name)


def _sequences_among(model: keras.Model) -> set[int]:
    """The ids of those inputs that a layer with a state runs over, by whatever way."""
    calls: list[tuple[Any, Any, Any]] = []

    def note(operation: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = operation.compute_output_spec(*args, **kwargs)
        calls.append((operation, _by_steps(operation, args, kwargs), outputs))
        return outputs

    _walked(model, _expected_by(model), note)
    reached: set[int] = set()
    for operation, given, outputs in reversed(calls):
        leads_there = any(id(leaf) in reached for leaf in tree.flatten(outputs))
        begins = isinstance(operation, keras.layers.RepeatVector)
        if _has_state(operation) or (leads_there and not begins):
            reached |= {id(leaf) for leaf in tree.flatten(given)}
    return {id(leaf) for leaf in tree.flatten(_expected_by(model))} & reached


def _by_steps(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Structure:
    """Those arguments of a call that hold an entry for each step, if any does."""
    if not _has_state(operation):
        return args, kwargs
    if not isinstance(operation, RNN) or type(operation).call is not RNN.call:
        return args[:1]
    given = inspect.signature(operation.call).bind(*args, **kwargs).arguments
    return [given.get(name) for name in ("sequences", "mask", "reset")]


def _has_state(operation: Any) -> bool:
    if isinstance(operation, keras.Model):
        return any(map(_has_state, operation.layers))
    return isinstance(operation, (stock.RNN, stock.Bidirectional, keras.layers.Conv1D))


class _WalkedError(Exception):
    """Ends a walk that has all it wants; not an error."""


def _walked(model: Any, tensors: Structure, call: Callable[..., Any]) -> Structure:
    """What a model gives for `tensors` if `call(layer, *args, **kwargs)` calls its layers."""
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensors = call(layer, tensors)
        return tensors
    # Keras walks a graph for whoever copies a model. The copy itself is not wanted: what `call`
    # brings in, such as states, is not among its inputs. So the walk ends at the last layer.
    end = keras.layers.Identity()
    found: list[Any] = []

    def until_the_end(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer is not end:
            return call(layer, *args, **kwargs)
        found.append(args[0])
        raise _WalkedError

    whole = keras.Model(model.input, end(model.output))
    with contextlib.suppress(_WalkedError):
        keras.models.clone_model(
            whole,
            input_tensors=tensors,
            clone_function=lambda layer: layer,
            call_function=until_the_end,
        )
    return found[0]


@dataclasses.dataclass
class _Walk:
    """A walk through a model with one time step.

    Attributes:
        stepwise: further classes of layers that act on each step alone.
        states: by name the states that a layer gets and those that it gives.
        steps: by the id of a layer that of one step.
        timed: the tensors that have a time axis, of length one.
    """

    stepwise: tuple[type, ...]
    states: dict[str, tuple[Structure, Structure]] = dataclasses.field(default_factory=dict)
    steps: dict[int, Any] = dataclasses.field(default_factory=dict)
    timed: dict[int, Tensor] = dataclasses.field(default_factory=dict)

    def timed_from(self, step: Tensor) -> Tensor:
        """A sequence of one step."""
        return self._noted(ops.expand_dims(step, 1))

    def without_time(self, tensor: Tensor) -> Tensor:
        """The one step of a sequence; anything else as it is."""
        return ops.squeeze(tensor, axis=1) if id(tensor) in self.timed else tensor

    def through(self, model: Any, tensors: Structure) -> Structure:
        """What the model gives at one step."""
        return _walked(model, tensors, self._call)

    def _noted(self, tensor: Tensor) -> Tensor:
        # The tensor too, or another one could get its id.
        self.timed[id(tensor)] = tensor
        return tensor

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Structure:
        if not any(id(leaf) in self.timed for leaf in tree.flatten((args, kwargs))):
            return layer(*args, **kwargs)
        if isinstance(layer, RNN):
            return self._recurrent(layer, *args, **kwargs)
        if isinstance(layer, keras.layers.Conv1D) and layer.padding == "causal":
            return self._convolution(layer, *args)
        if isinstance(layer, keras.Model):
            return self.through(_as_model(layer), args[0])
        ranks = [len(x.shape) for x in tree.flatten((args, kwargs)) if id(x) in self.timed]
        # What layers compute for their masks stands in the graph; here they compute it once more.
        is_known = isinstance(layer, self.stepwise) or _gives_mask(layer, args, kwargs)
        reason = None if is_known else why_not_stepwise(layer, max(ranks))
        if reason is not None:
            raise _not_stepped(layer, reason)
        return tree.map_structure(self._noted, layer(*args, **kwargs))

    def _recurrent(
        self,
        layer: RNN,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool | None = None,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Structure:
        reason = _why_no_stream(layer, initial_state, lengths)
        if any(id(leaf) in self.timed for leaf in tree.flatten(constants)):
            reason = _OF_CONSTANTS
        if reason is not None:
            raise _not_stepped(layer, reason)
        if mask is None:
            mask = map_leaves(lambda leaf, _: get_mask(leaf), sequences)
        mask = combine(mask, plain(sequences), layer.name)
        name = self._free_name(layer.name)
        step = self._step_of(layer, RecurrentStep, is_masked=mask is not None)
        batch = tree.flatten(sequences)[0].shape[0]
        first = cast_floats(layer.get_initial_state(1), layer.compute_dtype)
        states = {"cell": _inputs_like(first, batch, f"{name}_state")}
        if mask is not None:
            outputs = layer._traces.outputs(layer._bound, plain(sequences), constants)
            last = output_specs(outputs, (1,), layer.compute_dtype)
            states["last"] = _inputs_like(last, batch, f"{name}_last")
        others = {"constants": constants, "reset": reset}
        given = {key: value for key, value in others.items() if value is not None}
        outputs, new = step(sequences, states, mask=mask, **given)
        self.states[name] = (states, new)
        if layer.return_sequences:
            outputs = tree.map_structure(self._noted, outputs)
        if not layer.return_state:
            return outputs
        states = new["cell"]
        if layer.return_all_states:
            states = tree.map_structure(lambda s: self._noted(ops.expand_dims(s, 1)), states)
        return layer._with_states(outputs, states)

    def _convolution(self, layer: Any, sequences: Tensor) -> Tensor:
        if layer.strides != (1,) or layer.data_format != "channels_last":
            raise _not_stepped(layer, "its strides are not 1, or its channels are not last")
        name = self._free_name(layer.name)
        step = self._step_of(layer, ConvolutionStep)
        batch, channels = sequences.shape[0], sequences.shape[-1]
        states = {
            "inputs": keras.Input(
                batch_shape=(batch, step.remembered, channels),
                dtype=step.compute_dtype,
                name=f"{name}_state",
            )
        }
        outputs, new = step(sequences, states)
        self.states[name] = (states, new)
        return self._noted(outputs)

    def _step_of(self, layer: Any, step: type, **options: Any) -> Any:
        """The layer of one step; one and the same where a layer is called several times."""
        found = self.steps.get(id(layer))
        if found is None or getattr(found, "is_masked", None) != options.get("is_masked"):
            found = step(layer, **options, name=layer.name, dtype=layer.dtype_policy)
        self.steps[id(layer)] = found
        return found

    def _free_name(self, name: str) -> str:
        """A layer may be called several times, each time with states of its own."""
        names = (f"{name}{CALL}{count}" for count in itertools.count(2))
        return next(one for one in itertools.chain([name], names) if one not in self.states)


_OF_INITIAL_STATE = (
    "its initial state comes from another layer, and a stream brings its own; make a model of the"
    " layers from here on, and hand the state to its first step"
)
_OF_LENGTHS = (
    "lengths= says of a whole sequence where it ends, and a stream has one step of it; pass mask="
    " in its place, or stop feeding"
)
_OF_CONSTANTS = (
    "its constants are made of what comes step by step, and it has to see all of them; make a"
    " model of the layers from here on, with the constants as an input"
)


def _why_no_stream(layer: RNN, initial_state: Structure, lengths: Tensor | None) -> str | None:
    """Why a call of a layer has no counterpart for single steps; None if it has one."""
    if type(layer).call is not RNN.call:
        return f"{type(layer).__name__} has a call of its own"
    if layer.go_backwards:
        return "go_backwards=True begins at the end"
    if initial_state is not None:
        return _OF_INITIAL_STATE
    return None if lengths is None else _OF_LENGTHS


def _gives_mask(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if isinstance(operation, keras.layers.Layer):
        return False
    outputs = tree.flatten(operation.compute_output_spec(*args, **kwargs))
    return all(keras.backend.standardize_dtype(leaf.dtype) == "bool" for leaf in outputs)


def _inputs_like(states: Structure, batch: int | None, name: str) -> Structure:
    """A `keras.Input` for each leaf."""
    count = len(tree.flatten(states))
    names = iter([name] if count == 1 else [f"{name}_{k}" for k in range(count)])
    return tree.map_structure(
        lambda leaf: keras.Input(
            batch_shape=(batch, *leaf.shape[1:]),
            dtype=keras.backend.standardize_dtype(leaf.dtype),
            name=next(names),
        ),
        plain(states),
    )


def _not_stepped(layer: Any, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f'to_streaming: layer "{layer.name}" ({type(layer).__name__}) cannot be stepped: {reason}.'
    )
