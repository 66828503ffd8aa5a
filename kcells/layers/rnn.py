"""`RNN`: any cell over time, with structures for everything that goes in and out.

A subclass of `keras.layers.RNN` for the sake of `isinstance`; it shares the options
and overrides the rest, since the base class assumes one tensor wherever there may be a
structure.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.cells.dropout import sequence_masks
from kcells.cells.inference import declared_outputs, infer_step
from kcells.cells.protocol import BoundCell
from kcells.engine.masks import combine
from kcells.engine.plan import LayerFacts, Plan, choose
from kcells.engine.run import LoopOptions, execute
from kcells.errors import CellError, ConfigurationError
from kcells.layers.checks import CallChecks, check_sizes_at_run_time, check_states
from kcells.layers.dtypes import cast_floats, computed_dtype
from kcells.layers.memory import Memory
from kcells.layers.stacked import StackedCells
from kcells.layers.traces import Traces, one_step
from kcells.registry import provenance
from kcells.structure import agree, map_leaves, plain, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["RNN"]


@keras.saving.register_keras_serializable(package="kcells")
class RNN(keras.layers.RNN):
    """Runs a recurrent cell over time.

    Inputs, outputs, states, masks and constants may be structures: a tensor, or any
    nest of list, tuple, named tuple and dict.

    Args:
        cell: a cell, or a list of cells, which are stacked.
        return_sequences: whether to return the outputs of all steps rather than those of
            the last one.
        return_state: whether to return the final states too.
        go_backwards: whether to run from the end; the outputs come in that order.
        stateful: whether each batch starts from the states in which the last one ended.
            Needs a fixed batch size.
        unroll: whether to write the loop out. Needs a known length.
        zero_output_for_mask: whether the output at a masked step is zero rather than
            the last valid output.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences: a structure of `(batch, time, ...)`.
        initial_state: a structure like the cell's `state_size`, of `(batch, ...)`. Goes
            before the memory of a stateful layer, which goes before the cell's
            `get_initial_state`.
        mask: `(batch, time)` bool, or a structure like `sequences` of these and None.
            A step counts where every given mask is true; at the others the states stay.
        training: whether dropout is on.
        constants: a structure that the cell gets unchanged at every step, if its `call`
            takes `constants`.

    Returns:
        The outputs: a structure of `(batch, ...)`, or of `(batch, time, ...)` with
        `return_sequences`. With `return_state` a tuple: the outputs, then the states,
        one by one if `state_size` is a list or tuple, else as one structure. Floats have
        the layer's compute dtype.

    Raises:
        CellError: if `cell` is no cell.
        StructureError: if leaves disagree on batch or time, or if `initial_state` or
            `mask` do not fit.
        ConfigurationError: for `unroll` without a length, `stateful` without a batch
            size, `constants` for a cell that takes none.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> layer = kcells.RNN(keras.layers.LSTMCell(4), return_sequences=True, return_state=True)
    >>> outputs, h, c = layer(np.ones((2, 5, 3), "float32"))
    >>> [tuple(x.shape) for x in (outputs, h, c)]
    [(2, 5, 4), (2, 4), (2, 4)]
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, (list, tuple)):
            cell = StackedCells(cell)
        elif type(cell) is keras.layers.StackedRNNCells:
            # It wraps single states in lists and unwraps a stack of one, against its state_size.
            cell = StackedCells(cell.cells, name=cell.name, dtype=cell.dtype_policy)
        # For subclasses whose from_config hands on all that get_config gave.
        kwargs.pop("cell_sources", None)
        # Past the constructor of the base class, which refuses every state_size but
        # an int and a flat list.
        super(keras.layers.RNN, self).__init__(**kwargs)
        self._bound = BoundCell(cell, owner=self)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self._memory: Memory | None = None
        self._traces = Traces()
        if cell.state_size is not None:
            self._bound.declared_sizes  # noqa: B018  # raises here rather than at the first call

    # -- What the base class exposes as attributes

    @property
    def state_size(self) -> Structure:
        """The cell's `state_size`, in a list if it is a single shape."""
        return [self.cell.state_size] if self._bound.single_state else plain(self.cell.state_size)

    @property
    def states(self) -> Structure | None:
        """The variables that a stateful layer remembers; None before the first batch."""
        return None if self._memory is None else self._memory.states

    @property
    def variables(self) -> list[Any]:
        """All variables, the remembered states too, which are no weights."""
        remembered = [] if self._memory is None else self._memory.variables
        return list(super().variables) + remembered

    @property
    def plan(self) -> Plan:
        """How this layer runs its loop, and why."""
        return self._plan(constants=None)

    def _plan(self, constants: Structure) -> Plan:
        return choose(
            LayerFacts(
                unroll=self.unroll,
                splits_step=self._bound.hoists,
                takes_constants=constants is not None,
                backend=keras.backend.backend(),
            )
        )

    # -- Building

    def build(
        self,
        sequences_shape: Structure,
        initial_state_shape: Structure = None,
        constants_shape: Structure = None,
    ) -> None:
        """Builds the cell for one step of `sequences_shape`."""
        sequences = shape_leaves(sequences_shape)
        batch, _ = agree(sequences, "inputs", self._who)
        self._build_cell(sequences, constants_shape)
        if self.stateful:
            self._build_memory(batch)
        self.built = True

    def _build_cell(self, sequences: Structure, constants_shape: Structure = None) -> None:
        step = one_step(sequences)
        self._bound.build(map_leaves(lambda leaf, _: tuple(leaf.shape), step), constants_shape)
        if isinstance(self.cell, keras.layers.Layer) and not self.cell.built:
            # It has no build method: its weights come with its first call.
            step = map_leaves(lambda s, _: keras.KerasTensor(s.shape, self.compute_dtype), step)
            constants = None if constants_shape is None else shape_leaves(constants_shape)
            infer_step(self._bound, step, constants)
            self.cell.built = True

    def _build_memory(self, batch: int | None) -> None:
        if self._memory is not None:
            self.reset_state()
            return
        if batch is None:
            raise ConfigurationError(
                f"{self._who}: stateful=True needs a fixed batch size, and the batch size of the"
                " inputs is not known.\n"
                "  Give it: keras.Input(batch_shape=(batch, time, features)), or"
                " keras.Input(shape, batch_size=batch)."
            )
        self._memory = Memory(self._bound.initial_state(batch), self.variable_dtype)

    # -- Calling

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
    ) -> Structure:
        training = bool(training)
        given = self._checks.check(sequences, initial_state, mask, constants)
        batch = ops.shape(tree.flatten(given.sequences)[0])[0]
        states = self._first_states(given.initial_state, batch, training)
        check_sizes_at_run_time(given, states, self._who)
        step_outputs = self._traces.outputs(self._bound, given.sequences, constants)
        with sequence_masks(self.cell, batch, training):
            outputs, states = execute(
                self._plan(constants),
                self._bound,
                given.sequences,
                states,
                given.mask,
                step_outputs,
                self._loop_options,
                training,
                constants,
            )
        if self._memory is not None and self.stateful:
            self._memory.write(states)
        outputs = cast_floats(outputs, self.compute_dtype)
        states = cast_floats(states, self.compute_dtype)
        return self._with_states(outputs, states) if self.return_state else outputs

    def compute_output_spec(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
    ) -> Structure:
        """The shapes and dtypes of what `call` would return."""
        given = self._checks.check(sequences, initial_state, mask, constants)
        outputs = self._traces.outputs(self._bound, given.sequences, constants)
        return self._spec(given.sequences, outputs)

    def compute_output_shape(
        self,
        sequences_shape: Structure,
        initial_state_shape: Structure = None,
        constants_shape: Structure = None,
    ) -> Structure:
        """The shapes of what `call` would return."""
        sequences = shape_leaves(sequences_shape)
        agree(sequences, "inputs", self._who)
        outputs = declared_outputs(self._bound, self.compute_dtype)
        if outputs is None:
            self._build_cell(sequences, constants_shape)
            constants = None if constants_shape is None else shape_leaves(constants_shape)
            outputs = self._traces.outputs(self._bound, sequences, constants)
        return tree.map_structure(lambda s: tuple(s.shape), self._spec(sequences, outputs))

    def compute_mask(self, sequences: Structure, previous_mask: Structure = None) -> Structure:
        """The mask of the outputs, in the structure of what `call` returns."""
        sequences = plain(sequences)
        mask = combine(previous_mask, sequences, self._who)
        if mask is not None and self.return_sequences and self.go_backwards:
            mask = ops.flip(mask, axis=1)
        kept = mask if self.return_sequences else None
        # Any trace tells the structure, and after a call there is one.
        known = self._traces.latest
        known = self._traces.outputs(self._bound, sequences, None) if known is None else known
        outputs = tree.map_structure(lambda _: kept, known)
        if not self.return_state:
            return outputs
        return self._with_states(outputs, tree.map_structure(lambda _: None, self._bound.sizes))

    # -- States

    def get_initial_state(self, batch_size: Tensor) -> Structure:
        """The states that a sequence starts from, if nothing else is said."""
        return self._bound.initial_state(batch_size)

    def reset_state(self, states: Structure = None) -> None:
        """Sets what a stateful layer remembers.

        Args:
            states: a structure like the state, of `(batch, ...)`; left out, the cell's
                own initial state.

        Raises:
            ConfigurationError: if states are given and there is nothing to set.
            StructureError: if they do not fit.
        """
        if self._memory is None:
            if states is not None:
                raise ConfigurationError(
                    f"{self._who}: reset_state(states) needs a stateful layer that is built."
                    f" This one has stateful={self.stateful}, built={self.built}.\n"
                    "  Pass stateful=True, and call or build the layer first."
                )
            return
        batch = self._memory.batch_size
        if states is None:
            self._memory.write(self._bound.initial_state(batch))
        else:
            self._memory.write(check_states(self._bound, states, batch, "states", self._who))

    def reset_states(self, states: Structure = None) -> None:
        """Another name of `reset_state`, as in Keras."""
        self.reset_state(states)

    def _first_states(self, explicit: Structure, batch: Tensor, training: bool) -> Structure:
        if explicit is not None:
            # In the dtypes of the cell's own: ints given for floats would stay ints.
            states = tree.map_structure(
                lambda given, own: ops.cast(given, own.dtype),
                explicit,
                self._bound.initial_state(1),
            )
        elif self._memory is not None and self.stateful:
            states = self._memory.read()
        else:
            states = self._bound.initial_state(batch, training)
        return cast_floats(states, self._bound.compute_dtype)

    # -- Outputs

    def _spec(self, sequences: Structure, outputs: Structure) -> Structure:
        batch, time = agree(sequences, "inputs", self._who)
        lead = (batch, time) if self.return_sequences else (batch,)

        def output(spec: Any) -> keras.KerasTensor:
            return keras.KerasTensor(
                (*lead, *spec.shape[1:]), dtype=computed_dtype(spec, self.compute_dtype)
            )

        result = tree.map_structure(output, outputs)
        if not self.return_state:
            return result
        initial = self._bound.initial_state(batch_size=1)
        states = tree.map_structure(
            lambda size, leaf: keras.KerasTensor(
                size.batched(batch), dtype=computed_dtype(leaf, self.compute_dtype)
            ),
            self._bound.sizes,
            initial,
        )
        return self._with_states(result, states)

    def _with_states(self, outputs: Structure, states: Structure) -> tuple[Structure, ...]:
        if self._bound.single_state or isinstance(states, (list, tuple)):
            return (outputs, *states)
        return (outputs, states)

    @property
    def _loop_options(self) -> LoopOptions:
        return LoopOptions(self.return_sequences, self.go_backwards, self.zero_output_for_mask)

    @property
    def _checks(self) -> CallChecks:
        remembered = self._memory.batch_size if self._memory is not None else None
        return CallChecks(self._who, self._bound, self.unroll, remembered)

    @property
    def _who(self) -> str:
        return f'{self._bound.name} (layer "{self.name}")'

    # -- Saving

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, and where the cells come from."""
        config = dict(super().get_config())
        sources = provenance.sources(config["cell"])
        return {**config, "cell_sources": sources} if sources else config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RNN:
        """The layer of a configuration; loads the plugins that its cells come from."""
        config = dict(config)
        provenance.ensure_loaded(config, custom_objects)
        config.pop("cell_sources", None)
        cell = keras.saving.deserialize_keras_object(
            config.pop("cell"), custom_objects=custom_objects
        )
        if isinstance(cell, dict):
            raise CellError(f"the configuration of {cls.__name__} holds no cell.")
        return cls(cell, **config)
