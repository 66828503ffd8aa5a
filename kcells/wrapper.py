"""`Wrapper`: a cell around a cell.

What nearly all wrappers do is something to the inputs of a step and something to its outputs.
That may be done for all steps at once, and the cell inside then runs as it would without the
wrapper: so there are two hooks for it, which see no states. A third one is for what has to be
done around the step itself, and costs the cell inside its own path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from kcells.build import make
from kcells.cells.inference import built_outputs, infer_before
from kcells.cells.protocol import BoundCell
from kcells.cells.sharing import marked
from kcells.cells.weights import PartsCell
from kcells.layers.options import EVERY_LAYER
from kcells.registry import provenance
from kcells.structure import map_leaves, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["Wrapper"]

_OF_A_STEP = ("call", "step", "project_inputs")


class Wrapper(PartsCell):
    """Base class for a cell around a cell.

        y_t, s_t = cell(before(x_t), s_{t-1})
        o_t = after(x_t, y_t)

    A subclass overrides `before`, `after` or both. The engine calls each once for all steps,
    and runs the cell in between on its own best path: an LSTM in a wrapper still gets its
    kernel. The states are those of the cell inside.

    Hooks and their laws:

    - `before(inputs, training)` and `after(inputs, outputs, training)` see single steps and no
      states; `inputs` are those of the wrapper. Law: every leaf may come with a leading time
      axis, and then so does the result. So they write `...` for the axes in front. They add no
      loss, as nobody knows how many steps they will see.
    - `build_before(inputs)` and `build_after(inputs, outputs)` make their weights. They get
      structures of `keras.KerasTensor`, for the shapes of one step, the outputs being the cell's.
    - `around(step, inputs, states, training)`, for what concerns states: `step(states)` takes the
      step of the cell. Where it is overridden the engine runs a loop over the whole, unless
      `touches_states` says that in this configuration it changes nothing.
    - `device` is where all of this runs, such as `"cpu:0"`; None for wherever the rest does.

    A wrapper with states of its own overrides `state_size`, `get_initial_state` and `call`, and is
    an ordinary cell then; `cell` and `bound` are what it holds.

    The arguments that a subclass names are for keywords alone, and each is kept in an attribute
    of its name; `get_config` then has it, and weights come from `keep_part` and `add`, as in
    `kcells.WeightsCell`.

    Args:
        cell: a cell, or what `kcells.cell` makes one of: an id, a class, or a list, which makes a
            stack.
        *args: for the constructor of the cell, where it is not made yet.
        **kwargs: `name`, `dtype`, `trainable` for the wrapper; the others for the constructor of
            the cell. One that is made here gets the `dtype` too.

    Shapes: as the cell inside and the hooks have them.

    Raises:
        ArgumentError: for an argument that neither takes.
        CellError: if `cell` is nothing that makes a cell.
        UnknownCellError, AmbiguousCellError, PluginLoadError: as `kcells.cell`.

    Examples:

    >>> import kcells, numpy as np
    >>> class ScaledCell(kcells.Wrapper):
    ...     def __init__(self, cell, *args, factor=2.0, **kwargs):
    ...         super().__init__(cell, *args, **kwargs)
    ...         self.factor = factor
    ...     def after(self, inputs, outputs, training=False):
    ...         return self.factor * outputs
    >>> layer = kcells.build(ScaledCell, "lstm", 4, factor=3.0, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 5, 4)
    True
    >>> kcells.explain(layer).path
    'fused'
    """

    device: str | None = None

    def __init__(self, cell: Any, *args: Any, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in sorted(EVERY_LAYER & kwargs.keys())}
        super().__init__(**own)
        shared = {"dtype": self.dtype_policy} if "dtype" in own else {}
        self.cell = make(cell, args, kwargs, shared)
        self.bound = BoundCell(self.cell, owner=self)

    # -- The hooks

    def before(self, inputs: Structure, training: bool = False) -> Structure:
        """What the cell gets of the inputs of a step; by default these."""
        return inputs

    def after(self, inputs: Structure, outputs: Structure, training: bool = False) -> Structure:
        """What becomes of the outputs of the cell; by default nothing else."""
        return outputs

    def around(
        self,
        step: Callable[[Structure], tuple[Structure, Structure]],
        inputs: Structure,
        states: Structure,
        training: bool = False,
    ) -> tuple[Structure, Structure]:
        """The step of the cell: `step(states)` gives its outputs and its new states.

        `inputs` are those of the wrapper.
        """
        return step(states)

    def build_before(self, inputs: Structure) -> None:
        """Makes the weights of `before`; `inputs` have the shapes of one step."""

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        """Makes the weights of `after`; `inputs` and `outputs` have the shapes of one step."""

    @property
    def touches_states(self) -> bool:
        """Whether `around` does anything."""
        return type(self).around is not Wrapper.around

    # -- What the engine asks

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """What everything of the wrapper runs in: its device."""
        if self.device is None:
            return contextlib.nullcontext()
        # The same device. But on PyTorch Keras takes it for another than "cpu", copies each new
        # weight to it, and keeps the copy, which no gradient reaches and no file holds.
        name = "cpu" if self.device.lower() == "cpu:0" else self.device
        scope: contextlib.AbstractContextManager[Any] = keras.device(name)
        return scope

    @property
    def wrapped(self) -> BoundCell | None:
        """The cell, if all that is done is before and after it; None if the step is another."""
        is_plain = not self._has_step_of_its_own and self.activity_regularizer is None
        return self.bound if is_plain and not self.touches_states else None

    @property
    def _has_step_of_its_own(self) -> bool:
        return any(getattr(type(self), n) is not getattr(Wrapper, n) for n in _OF_A_STEP)

    @property
    def splits_step(self) -> bool:
        """Whether the input side of the cell, and `before`, may be computed ahead."""
        return type(self).call is Wrapper.call and self.bound.hoists

    # -- What every cell has

    @property
    def state_size(self) -> Any:
        """The one of the cell."""
        return self.cell.state_size

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        """The one of the cell."""
        with self.scope():
            return self.bound.initial_state(1 if batch_size is None else batch_size)

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds the cell for what `before` gives, and the weights of the wrapper."""
        inputs = self._specs(input_shape)
        with self.scope():
            self.build_before(inputs)
            outputs = built_outputs(self.bound, infer_before(self, inputs), constants_shape)
            self.build_after(inputs, outputs)
        self.built = True

    def _specs(self, shape: Structure) -> Structure:
        return map_leaves(
            lambda spec, _: keras.KerasTensor(spec.shape, dtype=self.compute_dtype),
            shape_leaves(shape),
        )

    def prepare_constants(self, constants: Structure) -> Structure:
        """What the cell makes of its constants before a loop; see `Cell.prepare_constants`."""
        with self.scope():
            return self.bound.prepare_constants(constants)

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        """What `after` needs to know, and the input side of the cell; see `Cell.project_inputs`."""
        with self.scope():
            before = self.before(inputs, training=training)
            return {"inputs": inputs, "inside": self.bound.project(before, training)}

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        """The rest of a step; see `Cell.step`."""

        def inside(states: Structure) -> tuple[Structure, Structure]:
            return self.bound.step(projected["inside"], states, training)

        return self._finished(projected["inputs"], inside, states, training)

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        def inside(states: Structure) -> tuple[Structure, Structure]:
            return self.bound(before, states, training, constants)

        with self.scope():
            before = self.before(inputs, training=training)
        return self._finished(inputs, inside, states, training)

    def _finished(
        self,
        inputs: Structure,
        step: Callable[[Structure], tuple[Structure, Structure]],
        states: Structure,
        training: bool,
    ) -> tuple[Structure, Structure]:
        states = self.bound.conform_states(states, "states")
        with self.scope():
            outputs, new_states = self.around(step, inputs, states, training=training)
            return self.after(inputs, outputs, training=training), new_states

    # -- Saving

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor; of the cell its configuration."""
        config = super().get_config()
        config["cell"] = marked(self.cell, keras.saving.serialize_keras_object(self.cell))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Wrapper:
        """The wrapper of a configuration; loads the plugin that its cell comes from."""
        config = dict(config)
        provenance.ensure_loaded(config, custom_objects)
        cell = keras.saving.deserialize_keras_object(
            config.pop("cell"), custom_objects=custom_objects
        )
        return cls(cell, **config)
