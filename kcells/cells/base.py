"""`Cell`, the optional base class: the hooks by which a cell lets itself be run fast.

A cell needs none of this. Any layer with `call(inputs, states)` and `state_size`
works; the hooks only tell the engine more about it. Each hook has a law, which
`kcells.testing` checks, and a cell that breaks a law computes something else on the fast
path than on the slow one.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from kcells.cells.equivalence import Equivalence
from kcells.cells.linear import LinearRecurrence, checked, multiply
from kcells.cells.numbers import plain_arguments
from kcells.cells.protocol import zero_states
from kcells.errors import CellError
from kcells.structure import Size, size_structure
from kcells.types import Structure, Tensor

__all__ = ["Cell"]


class Cell(keras.layers.Layer):
    """Base class for cells that split their step into input side and state side.

    A subclass sets `state_size` and overrides `call`; or `step` and, if it can,
    `project_inputs`; or, where it is linear in its state, `linear_recurrence`, from which
    the step follows.

    Hooks and their laws:

    - `project_inputs(inputs, training)` is the work that depends on the inputs alone,
      so that the engine may do it once for the whole sequence. Law: every leaf may come
      with a leading time axis, and then so does the result.
    - `step(projected, states, training)` is the rest. Law:
      `call(x, s) == step(project_inputs(x), s)`.
    - `equivalent()` names the built-in LSTM or GRU that computes the same in this
      configuration, or what stands in the way, as an `Equivalence`. Law: both have the
      same outputs, states and gradients, under any mask.
    - `linear_recurrence(projected)` gives the coefficients of a cell of the form
      `h_t = a_t * h_{t-1} + b_t`, so that the engine may compute all steps at once. Law:
      with a leading time axis it gives what it gives step by step, and where `step` is
      overridden too, both compute the same. Where it depends on the configuration whether
      a cell is linear, override `is_linear`.
    - `prepare_constants(constants)` is the work that depends on the constants alone, such as a
      product of a memory with a matrix; the engine does it once before a loop. Law: `call` gives
      the same for `constants` and for what was made of them, which it tells by a type of its own.

    Shapes: inputs are a structure of `(batch, ...)`, states a structure of
    `(batch, *size)` as `state_size` says. Where `state_size` is an int, the states are a
    list of one.

    Raises:
        CellError: at construction, if none of the three is overridden.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> class DecayCell(kcells.Cell):
    ...     def __init__(self, units, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.units = units
    ...         self.state_size = self.output_size = units
    ...     def build(self, input_shape):
    ...         self.kernel = self.add_weight(shape=(input_shape[-1], self.units))
    ...     def project_inputs(self, inputs, training=False):
    ...         return keras.ops.matmul(inputs, self.kernel)
    ...     def step(self, projected, states, training=False):
    ...         state = 0.9 * states[0] + projected
    ...         return state, [state]
    >>> kcells.RNN(DecayCell(4))(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    """

    state_size: Any = None
    output_size: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lets constructors take numbers of NumPy, and keep and save plain ones."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = plain_arguments(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        cls = type(self)
        if cls.call is Cell.call and not self.splits_step:
            raise CellError(
                f"{cls.__name__} overrides none of call(inputs, states), step(projected,"
                " states) and linear_recurrence(projected). One of them has to say what a step"
                " computes."
            )

    @property
    def splits_step(self) -> bool:
        """Whether `call` is `step` after `project_inputs`, so that these may be used."""
        cls = type(self)
        says = cls.step is not Cell.step or cls.linear_recurrence is not Cell.linear_recurrence
        return cls.call is Cell.call and says

    @property
    def is_linear(self) -> bool:
        """Whether `linear_recurrence` may be used: not below a class with a step of its own."""
        for cls in type(self).__mro__:
            if "linear_recurrence" in vars(cls):
                return cls is not Cell
            if "step" in vars(cls):
                return False
        return False

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        """The part of a step that depends on the inputs alone; by default nothing."""
        return inputs

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        """One step from projected inputs: `(outputs, new_states)`."""
        who = type(self).__name__
        sizes = size_structure(self.state_size, "state_size", who)
        sizes = [sizes] if isinstance(sizes, Size) else sizes
        recurrence = checked(self.linear_recurrence(projected), sizes, who)
        flat = map(tree.flatten, (recurrence.a, states, recurrence.b))
        new = [multiply(recurrence.product, a, h) + b for a, h, b in zip(*flat, strict=True)]
        new_states = tree.pack_sequence_as(recurrence.b, new)
        return recurrence.read_out(new_states, projected), new_states

    def call(
        self, inputs: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        """One step from inputs: `(outputs, new_states)`."""
        return self.step(self.project_inputs(inputs, training=training), states, training=training)

    def equivalent(self) -> Equivalence | None:
        """The built-in layer that computes the same; None if no author has thought of one."""
        return None

    def linear_recurrence(self, projected: Structure) -> LinearRecurrence:
        """The coefficients of a cell that is linear in its state."""
        raise CellError(
            f"{type(self).__name__} is not linear in its state: it has no coefficients.\n"
            f"  A cell that is linear overrides linear_recurrence(projected); "
            f"`is_linear` says whether one does."
        )

    def prepare_constants(self, constants: Structure) -> Structure:
        """What a step needs of the constants, made once for all steps; by default these."""
        return constants

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        """Zeros in the structure of `state_size`, with the batch in front.

        A single shape gives a list of one, which is what `call` takes.
        """
        zeros = zero_states(self.state_size, batch_size, self.compute_dtype, type(self).__name__)
        return zeros if tree.is_nested(zeros) else [zeros]
