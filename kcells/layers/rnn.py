"""`RNN`: any cell over time, with structures for everything that goes in and out.

A subclass of `keras.layers.RNN` for the sake of `isinstance`; it shares the options
and overrides the rest, since the base class assumes one tensor wherever there may be a
structure.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops, tree

from kcells import stock
from kcells.cells.equivalence import is_keras_cell
from kcells.cells.inference import build_for, declared_outputs
from kcells.cells.protocol import BoundCell
from kcells.engine.call import Call, plan_for
from kcells.engine.conditions import cannot_dispatch
from kcells.engine.facts import CallFacts, sized
from kcells.engine.masks import combine
from kcells.engine.options import Choice, Compile, Dispatch, Options
from kcells.engine.plan import Plan
from kcells.engine.run import Ran, execute
from kcells.errors import CellError
from kcells.layers.calls import note_call
from kcells.layers.checks import CallChecks, checked_at_run_time
from kcells.layers.dtypes import cast_floats
from kcells.layers.exports import check_export
from kcells.layers.memory import Memory, first_states, trained_states
from kcells.layers.remembering import Remembering
from kcells.layers.saved import saved_cell
from kcells.layers.specs import output_specs, state_specs
from kcells.layers.stacked import stacked
from kcells.layers.traces import Traces, one_step
from kcells.registry import provenance
from kcells.structure import agree, plain, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["RNN"]


@keras.saving.register_keras_serializable(package="kcells")
class RNN(Remembering):
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
        dispatch: whether the kernels of a built-in may run the loop, if the cell declares
            an equivalent: `"auto"`, `"never"`, or `"require"`, which raises if they may not.
        compile: whether the loop is compiled by itself: `"auto"`, where and when it pays;
            `"always"`, at the first call on PyTorch too, where that takes seconds; `"never"`.
        parallel: `"auto"`, or `"never"` to run step by step what is linear in its state.
        checkpoint: whether the backward pass finds only the state before each block of
            steps and repeats the rest; how many steps, or True for the root of the length.
        tbptt: after how many steps that count the gradient is cut, every time.
        return_all_states: whether to return the states after every step, in the place of
            the final ones; it implies `return_state`.
        train_initial_state: whether what a sequence starts from is trained: one row for the
            whole batch, which starts as the cell's own.
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
        reset: `(batch, time)` bool. Where it is true, the step starts from what the cell
            starts from, not from the step before: several short sequences fit into one row.
            A masked step does not. Masks of dropout stay one a row.
        lengths: `(batch,)` ints: how many steps of each row count, the first ones. Short for
            a mask, and combined with one by "and".

    Returns:
        The outputs: a structure of `(batch, ...)`, or of `(batch, time, ...)` with
        `return_sequences`. With `return_state` a tuple: the outputs, then the states,
        one by one if `state_size` is a list or tuple, else as one structure; with
        `return_all_states` each is `(batch, time, ...)`, in the order of processing.
        Floats have the layer's compute dtype.

    Raises:
        CellError: if `cell` is no cell.
        StructureError: if leaves disagree on batch or time, or if `initial_state`, `mask`,
            `reset` or `lengths` do not fit.
        ConfigurationError: for `unroll` without a length, `stateful` without a batch
            size, `constants` for a cell that takes none.
        DispatchError: for `dispatch="require"`, with all reasons.

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
        dispatch: Dispatch = "never",
        compile: Compile = "auto",
        parallel: Choice = "auto",
        checkpoint: bool | int = False,
        tbptt: int | None = None,
        return_all_states: bool = False,
        train_initial_state: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = stacked(cell)
        # For subclasses whose from_config hands on all that get_config gave.
        kwargs.pop("cell_sources", None)
        # Past the constructor of the base class, which refuses every state_size but
        # an int and a flat list.
        super(stock.RNN, self).__init__(**kwargs)
        self._bound = BoundCell(cell, owner=self)
        self.cell = cell
        options = Options.given(
            {
                "return_sequences": return_sequences,
                "return_state": return_state or return_all_states,
                "go_backwards": go_backwards,
                "stateful": stateful,
                "unroll": unroll,
                "zero_output_for_mask": zero_output_for_mask,
                "dispatch": dispatch,
                "compile": compile,
                "parallel": parallel,
                "checkpoint": checkpoint,
                "tbptt": tbptt,
                "return_all_states": return_all_states,
                "train_initial_state": train_initial_state,
            }
        )
        self._memory: Memory | None = None
        for name, value in dataclasses.asdict(options).items():
            setattr(self, name, value)
        self._met = CallFacts()  # By the loop when it was last traced.
        self.supports_masking = True
        self._batch: int | None = None
        self._traces = Traces()
        if cell.state_size is not None:
            self._bound.declared_sizes  # noqa: B018  # raises here rather than at the first call
        if dispatch == "require" and self._plan.path != "fused":
            raise cannot_dispatch(self._bound.name, self._plan.required)
        self.supports_jit = dispatch == "never" or self._plan.under_xla

    # -- What the base class exposes as attributes

    @property
    def state_size(self) -> Structure:
        """The cell's `state_size`, in a list if it is a single shape."""
        return [self.cell.state_size] if self._bound.single_state else plain(self.cell.state_size)

    @property
    def _plan(self) -> Plan:
        """How this layer runs its loop on this machine, if it meets what the last trace met."""
        return plan_for(self._bound, Options.of(self), call=self._met)

    # -- Building

    def build(
        self,
        sequences_shape: Structure,
        initial_state_shape: Structure = None,
        constants_shape: Structure = None,
    ) -> None:
        """Builds the cell for one step of `sequences_shape`."""
        sequences = shape_leaves(sequences_shape)
        batch, time = agree(sequences, "inputs", self._who)
        self._traces.lengths.add(time)
        self._build_cell(sequences, constants_shape)
        self._batch = batch
        if self.stateful:
            self._build_memory(batch)
        self.built = True

    def _build_cell(self, sequences: Structure, constants_shape: Structure = None) -> None:
        build_for(self._bound, one_step(sequences), constants_shape, self.compute_dtype)
        if self.train_initial_state and self._bound.trained is None:
            self._bound.trained = trained_states(self, self._bound)

    # -- Calling

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Structure:
        call = self._begin(sequences, initial_state, mask, training, constants, reset, lengths)
        return self._finish(call, execute(call))

    def _begin(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
        options: Options | None = None,
    ) -> Call:
        """The first half of `call`: everything is checked, nothing is run."""
        is_step, options = options is not None, options or Options.of(self)
        training = bool(training)
        given = self._checks(options).check(
            sequences, initial_state, mask, constants, reset, lengths
        )
        remembered = self._memory if options.stateful else None
        batch = ops.shape(tree.flatten(given.sequences)[0])[0]
        states = first_states(self._bound, given.initial_state, remembered, batch, training)
        given, states = checked_at_run_time(given, states, self._who)
        fresh = None if given.reset is None else self._fresh(batch, training)
        facts = CallFacts(
            "none" if given.mask is None else "not known yet",
            constants is not None,
            resets=given.reset is not None,
        )
        tensors = [given.sequences, states, fresh, given.mask, given.reset, constants]
        plan = plan_for(self._bound, options, tensors, sized(facts, given.sequences))
        call = Call(
            self._bound,
            options,
            plan,
            given.sequences,
            states,
            from_zeros=given.initial_state is None
            and remembered is None
            and self._bound.trained is None
            and is_keras_cell(self.cell),
            mask=given.mask,
            reset=given.reset,
            fresh=fresh,
            constants=constants,
            training=training,
            outputs=self._traces.for_plan(plan, self._bound, given.sequences, constants),
        )
        if not is_step:
            check_export(call, self._traces.lengths, self._who)
        note_call(call)
        return call

    def _fresh(self, batch: Tensor, training: bool) -> Structure:
        """What a step starts from that starts anew, whatever the call has started from."""
        return first_states(self._bound, None, None, batch, training)

    def _finish(self, call: Call, ran: Ran) -> Structure:
        """The second half of `call`: remembers the states, and says what it was asked for."""
        self._met = call.met(self._met)
        if call.options.stateful and self._memory is not None:
            self._memory.write(ran.states)
        outputs = cast_floats(ran.outputs, self.compute_dtype)
        states = ran.all_states if call.options.return_all_states else ran.states
        states = cast_floats(states, self.compute_dtype)
        return self._with_states(outputs, states) if call.options.return_state else outputs

    def _step(
        self,
        sequences: Structure,
        states: Structure,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
        reset: Tensor | None = None,
    ) -> tuple[Structure, Structure]:
        """What the layer gives at a single step, `(batch, 1, ...)`: outputs and new states.

        Without a loop and without a kernel, so that any file can hold it.
        """
        options = Options(unroll=True, zero_output_for_mask=self.zero_output_for_mask)
        call = self._begin(sequences, states, mask, training, constants, reset, options=options)
        ran = execute(call)
        dtype = self.compute_dtype
        return cast_floats(ran.outputs, dtype), cast_floats(ran.states, dtype)

    def compute_output_spec(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        training: bool = False,
        constants: Structure = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Structure:
        """The shapes and dtypes of what `call` would return."""
        given = self._checks(Options.of(self)).check(
            sequences, initial_state, mask, constants, reset, lengths
        )
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

    # -- Outputs

    def _spec(self, sequences: Structure, outputs: Structure) -> Structure:
        batch, time = agree(sequences, "inputs", self._who)
        self._traces.lengths.add(time)
        lead = (batch, time) if self.return_sequences else (batch,)
        result = output_specs(outputs, lead, self.compute_dtype)
        if not self.return_state:
            return result
        lead = (batch, time) if self.return_all_states else (batch,)
        return self._with_states(result, state_specs(self._bound, lead, self.compute_dtype))

    def _with_states(self, outputs: Structure, states: Structure) -> tuple[Structure, ...]:
        if self._bound.single_state or isinstance(states, (list, tuple)):
            return (outputs, *states)
        return (outputs, states)

    def _checks(self, options: Options) -> CallChecks:
        memory = self._memory if options.stateful else None
        remembered = None if memory is None else memory.batch_size
        return CallChecks(self._who, self._bound, options.unroll, remembered)

    # -- Saving

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, and where the cells come from."""
        config = dict(super().get_config())
        config |= Options.of(self).policies()
        config["cell"] = saved_cell(self.cell, config["cell"])
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
