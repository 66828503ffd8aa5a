"""Cells as the engine sees them: one way to build, start, project and step any cell.

Keras-style cells differ in small ways: an int or a structure for `state_size`, a bare
tensor or a list for the new state, `training` and `constants` taken or not, layers and
plain objects. `BoundCell` settles these once.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

import keras
from keras import ops, tree

from kcells.cells.checks import check_builtin_input, check_cell
from kcells.cells.equivalence import BuiltinName, Equivalence, equivalence_of, is_keras_cell
from kcells.cells.freezing import freeze_inside
from kcells.cells.linear import LinearRecurrence, checked
from kcells.cells.sharing import owners_of
from kcells.cells.splits import Split, split_of
from kcells.errors import CellError
from kcells.reasons import Reason
from kcells.structure import Size, conform, map_leaves, size_structure
from kcells.types import Step, Structure, Tensor

__all__ = ["BoundCell", "takes", "zero_states"]


def takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether `function` can be called with a keyword argument of this name."""
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def zero_states(state_size: Any, batch_size: Any, dtype: str, who: str) -> Structure:
    """Zeros for every state that `state_size` declares."""
    sizes = size_structure(state_size, "state_size", who)
    batch = 1 if batch_size is None else batch_size
    return map_leaves(lambda size, _: ops.zeros(size.batched(batch), dtype=dtype), sizes)


class BoundCell:
    """A cell together with what the engine needs to know about it.

    Attributes:
        cell: the cell itself.
        sizes: its `state_size` as a structure of `Size`; a list of one for a single
            state.
        single_state: whether `state_size` was one shape rather than a structure.
        hoists: whether `project` and `step` may be used in place of `call`.
        owner: the layer or the stack that it belongs to.
        adds_losses: whether a step is known to add losses.
        trained: variables `(1, ...)` in the place of the cell's initial state, None for one
            that is not trained; None if none is.
    """

    def __init__(self, cell: Any, owner: keras.layers.Layer) -> None:
        check_cell(cell)
        self.cell = cell
        self.name = type(cell).__name__
        self._taken = {name: takes(cell.call, name) for name in ("training", "constants")}
        self.owner = owner
        self.adds_losses = False
        self.trained: Structure = None
        self.owners = owners_of(cell, owner)
        if isinstance(cell, keras.layers.Layer) and not owner.trainable:
            cell.trainable = False
        freeze_inside(cell)

    # The sizes are read when they are first needed, and again after `build`, which may
    # be what settles them.

    @functools.cached_property
    def declared_sizes(self) -> Structure:
        if self.cell.state_size is None:
            raise CellError(f"{self.name} has no state_size even though it is built.")
        return size_structure(self.cell.state_size, "state_size", self.name)

    @functools.cached_property
    def single_state(self) -> bool:
        return isinstance(self.declared_sizes, Size)

    @functools.cached_property
    def sizes(self) -> Structure:
        declared = self.declared_sizes
        return [declared] if isinstance(declared, Size) else declared

    @property
    def compute_dtype(self) -> str:
        """The dtype that the cell computes in: that of its own policy, or of its layer."""
        policy = self.cell if isinstance(self.cell, keras.layers.Layer) else self.owner
        return str(policy.compute_dtype)

    @property
    def hoists(self) -> bool:
        """Whether the cell splits its step, in the dtype policy that the owner has set up.

        `project` and `step` go past `Layer.__call__`, which would switch to the cell's
        own policy; so they are used only if there is nothing to switch.
        """
        return self._split is not None and self._shares_policy

    @property
    def members(self) -> tuple[BoundCell, ...]:
        """The cells of a stack, if each sees nothing but what the one below it gives."""
        return getattr(self.cell, "members", ()) if self._shares_policy else ()

    @property
    def wrapped(self) -> BoundCell | None:
        """The cell inside of a wrapper, if all that the wrapper does is before and after it."""
        found = getattr(self.cell, "wrapped", None) if self._shares_policy else None
        return found if isinstance(found, BoundCell) else None

    @property
    def is_linear(self) -> bool:
        """Whether `linear_recurrence` may be used."""
        return self.hoists and bool(getattr(self.cell, "is_linear", False))

    def linear_recurrence(self, projected: Structure) -> LinearRecurrence:
        """The coefficients for what `project` gave; only if the cell `is_linear`."""
        return checked(self.cell.linear_recurrence(projected), self.sizes, self.name)

    @property
    def returns_first_state(self) -> bool:
        """Whether the output of a step is the first leaf of its new state."""
        return self.hoists and getattr(self._split, "returns_first_state", False)

    @property
    def equivalence(self) -> Equivalence:
        """The built-in layer that computes the same, if there is one.

        Its kernels too go past the cell's own policy. A cell of Keras is asked each time,
        since its attributes may be set; an author's cell is asked once.
        """
        declared = equivalence_of(self.cell) if is_keras_cell(self.cell) else self._declared
        if declared.builtin is None or self._shares_policy:
            return declared
        policies = f"{self.cell.dtype_policy.name} in {self.owner.dtype_policy.name}"
        reason = Reason("cell and layer have one dtype policy", False, policies)
        return dataclasses.replace(declared, conditions=(*declared.conditions, reason))

    @property
    def builtin(self) -> BuiltinName:
        """The built-in layer that computes the same; only where the equivalence holds."""
        return cast(BuiltinName, self.equivalence.builtin)

    def in_builtin_order(self, states: Structure) -> list[Tensor]:
        """The states as the built-in has them."""
        flat = tree.flatten(states)
        order = self.equivalence.states
        return flat if order is None else [flat[position] for position in order]

    def in_cell_order(self, states: list[Tensor]) -> Structure:
        """The states of the built-in, in the structure of `sizes`."""
        order = self.equivalence.states
        if order is not None:
            placed = dict(zip(order, states, strict=True))
            states = [placed[position] for position in range(len(placed))]
        return tree.pack_sequence_as(self.sizes, states)

    @functools.cached_property
    def _declared(self) -> Equivalence:
        return equivalence_of(self.cell)

    @property
    def _split(self) -> Split | None:
        return split_of(self.cell)

    @property
    def _shares_policy(self) -> bool:
        policy = getattr(self.cell, "dtype_policy", self.owner.dtype_policy)
        return bool(policy.name == self.owner.dtype_policy.name)

    def takes(self, argument: str) -> bool:
        """Whether the cell's `call` has a parameter of this name."""
        return self._taken[argument]

    def add_loss(self, loss: Tensor) -> None:
        """Adds a loss in the name of the cell."""
        layer = self.cell if isinstance(self.cell, keras.layers.Layer) else self.owner
        layer.add_loss(loss)

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds the cell for inputs of `input_shape`, unless it is built.

        A cell whose `build` takes `constants_shape` gets the shapes of the constants too.
        """
        cell = self.cell
        if not isinstance(cell, keras.layers.Layer) or cell.built:
            return
        # Without a build method of its own, a layer's weights come with its first call:
        # the trace that finds out its outputs.
        if type(cell).build is not keras.layers.Layer.build:
            check_builtin_input(cell, input_shape)
            if constants_shape is not None and takes(cell.build, "constants_shape"):
                cell.build(input_shape, constants_shape=constants_shape)
            else:
                cell.build(input_shape)
            cell.built = True
            freeze_inside(cell)
            for name in ("declared_sizes", "single_state", "sizes"):
                self.__dict__.pop(name, None)

    def initial_state(self, batch_size: Tensor, training: bool = False) -> Structure:
        """The trained initial state, the cell's own, or zeros, in the structure of `sizes`."""
        own = self._own_initial_state(batch_size, training)
        if self.trained is None:
            return own
        flat = [
            state if weight is None else _for_batch(_as(weight, state.dtype), batch_size)
            for state, weight in zip(tree.flatten(own), tree.flatten(self.trained), strict=True)
        ]
        return tree.pack_sequence_as(own, flat)

    def _own_initial_state(self, batch_size: Tensor, training: bool) -> Structure:
        function = getattr(self.cell, "get_initial_state", None)
        if function is None or is_keras_cell(self.cell):
            return zero_states(self.sizes, batch_size, self.compute_dtype, self.name)
        # Cells written for Keras 2 take a dtype as well; a few want to know `training`.
        known = {"batch_size": batch_size, "dtype": self.compute_dtype, "training": training}
        state = function(**{key: known[key] for key in self._initial_arguments})
        state = self.conform_states(state, f"{self.name}.get_initial_state()")
        return map_leaves(lambda leaf, _: _for_batch(leaf, batch_size), state)

    @functools.cached_property
    def _initial_arguments(self) -> tuple[str, ...]:
        known = ("batch_size", "dtype", "training")
        return tuple(key for key in known if takes(self.cell.get_initial_state, key))

    def conform_states(self, states: Structure, root: str) -> Structure:
        """`states` in the structure of `sizes`; a single state may come bare."""
        if len(self.sizes) == 1 and isinstance(self.sizes, list) and not tree.is_nested(states):
            states = [states]
        return conform(states, self.sizes, root, self.name)

    def __call__(
        self,
        inputs: Structure,
        states: Structure,
        training: bool | None = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        """One step of the cell, the new states in the structure of `sizes`.

        With `training=None` the argument is left out, as for a trace: Keras would make an
        explicit value the default of every layer that the outer model calls later.
        """
        arguments: dict[str, Any] = {}
        if training is not None and self.takes("training"):
            arguments["training"] = training
        if constants is not None and self.takes("constants"):
            arguments["constants"] = constants
        call = self.cell if isinstance(self.cell, keras.layers.Layer) else self.cell.call
        return self._result(call(inputs, states, **arguments))

    def prepare_constants(self, constants: Structure) -> Structure:
        """What the cell wants to have made of its constants before a loop; see `Cell`.

        Like `project` it goes past `Layer.__call__`, so it is left out where that would switch
        to the cell's own policy.
        """
        prepare = getattr(self.cell, "prepare_constants", None)
        if constants is None or prepare is None or not self._shares_policy:
            return constants
        return prepare(constants)

    def project(self, inputs: Structure, training: bool) -> Structure:
        """The input side of a step, with or without a time axis; only if the cell `hoists`."""
        return cast(Split, self._split).project_inputs(inputs, training=training)

    def step(
        self, projected: Structure, states: Structure, training: bool
    ) -> tuple[Structure, Structure]:
        """The rest of a step, from what `project` gave; only if the cell `hoists`."""
        split = cast(Split, self._split)
        return self._result(split.step(projected, states, training=training))

    def stepper(self, training: bool, constants: Structure, projected: bool) -> Step:
        """A step as a function of inputs and states, for which the cell is looked at once.

        Args:
            training: whether dropout is on.
            constants: passed on.
            projected: whether the inputs will be what `project` made of them.
        """
        split = self._split if projected or (self.hoists and constants is None) else None
        if split is None:
            return lambda inputs, states: self(inputs, states, training, constants)

        def step(inputs: Structure, states: Structure) -> tuple[Structure, Structure]:
            if not projected:
                inputs = split.project_inputs(inputs, training=training)
            return self._result(split.step(inputs, states, training=training))

        return step

    # -- As a part of another cell, whose state has an entry for each of its cells

    @property
    def entry_size(self) -> Any:
        """The `state_size` in a form that means the same inside a structure.

        A cell's `(4, 4)` means two states; inside a list it would mean one of shape (4, 4).
        """
        return _spelled_out(self.declared_sizes)

    def initial_entry(self, batch_size: Tensor | None) -> Structure:
        """The initial state, as an entry."""
        return self.as_entry(self.initial_state(1 if batch_size is None else batch_size))

    def step_entry(
        self,
        inputs: Structure,
        entry: Structure,
        training: bool,
        constants: Structure = None,
        *,
        projected: bool = False,
    ) -> tuple[Structure, Structure]:
        """One step as a part of another cell.

        Args:
            inputs: the inputs, or what `project` made of them.
            entry: this cell's entry in the state of the cell around it.
            training: passed on.
            constants: passed on.
            projected: which of the two `inputs` is.

        Returns:
            The outputs and the new entry.
        """
        states = self.conform_states(entry, "states")
        if self.hoists and constants is None:
            inputs = inputs if projected else self.project(inputs, training)
            outputs, new_states = self.step(inputs, states, training)
        else:
            outputs, new_states = self(inputs, states, training, constants)
        return outputs, self.as_entry(new_states)

    def as_entry(self, states: Structure) -> Structure:
        """States as this cell's entry in the state of the cell around it."""
        return states[0] if self.single_state else states

    def _result(self, result: Any) -> tuple[Structure, Structure]:
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise CellError(
                f"{self.name}.call must return (outputs, new_states);"
                f" it returned {type(result).__name__}."
            )
        outputs, new_states = result
        return outputs, self.conform_states(new_states, f"the new states of {self.name}")


def _as(weight: Any, dtype: Any) -> Tensor:
    return ops.cast(ops.convert_to_tensor(weight), keras.backend.standardize_dtype(dtype))


def _for_batch(leaf: Tensor, batch_size: Tensor) -> Tensor:
    """An initial state of one row stands for every sample; JAX would not broadcast it."""
    if leaf.shape[0] == 1 and not (isinstance(batch_size, int) and batch_size == 1):
        return ops.broadcast_to(leaf, (batch_size, *leaf.shape[1:]))
    return leaf


def _spelled_out(sizes: Structure) -> Any:
    if isinstance(sizes, Size):
        return sizes.dims[0] if len(sizes.dims) == 1 else sizes.dims
    if isinstance(sizes, dict):
        return {key: _spelled_out(value) for key, value in sizes.items()}
    if hasattr(sizes, "_fields"):
        return type(sizes)(*map(_spelled_out, sizes))
    return [_spelled_out(value) for value in sizes]
