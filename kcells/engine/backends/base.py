"""The interface of a backend: one loop primitive, and its fused kernels.

Masks, carry-over, reversal and the choice of outputs are written once, above it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from kcells.cells.equivalence import BuiltinName
from kcells.cells.linear import Product
from kcells.engine.products import InputProduct
from kcells.types import Step, Structure

__all__ = ["DEFAULTS", "Backend", "Settings", "SizeCheck", "Weights", "steps_again"]


class Weights(NamedTuple):
    """The weights of a built-in layer, in Keras' layout.

    The columns of the kernels hold the gates i, f, c, o of an LSTM and z, r, h of a GRU;
    `bias` is `(4 * units,)` or `(2, 3 * units)`, inputs first.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any


class SizeCheck(NamedTuple):
    """Axis `axis` of `tensor`, named `path`, has to be as long as that of `reference`."""

    path: str
    tensor: Any
    axis: int
    reference: Any
    axis_name: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run a loop.

    Attributes:
        compiles: whether to compile it by itself, where the backend has such a thing.
        compiles_at_once: whether to do so even if it may never pay.
        checkpoint: whether the backward pass computes blocks of steps once more instead of
            keeping them; an int says how many steps a block has, True stands for the square
            root of their number.
        training: whether a backward pass is to come.
        owner: the cell whose steps they are; None for a loop without one.
        kind: what tells its loops apart, besides the tensors and the attributes of the cell.
        constants: tensors that a step reaches for besides its arguments, and that may need a
            gradient.
        fixed: tensors that a step reaches for besides its arguments, and that need no
            gradient, such as the masks of dropout.
        note: is told what stands in the way of `compiles` or `checkpoint`; `""` for nothing.
        ahead: is told which products of the inputs are computed before the loop; None where none
            is to be.
        again: runs a function with everything that was around the call, such as the masks
            of dropout, for a backend that repeats steps when the call is over.
        own_backward: whether TensorFlow's loops may have a backward pass of their own.
        project: the input side of steps, for a loop that computes it for some steps at once.
    """

    compiles: bool = False
    compiles_at_once: bool = False
    checkpoint: bool | int = False
    training: bool = False
    owner: Any = None
    kind: Hashable = None
    constants: Sequence[Any] = ()
    fixed: Sequence[Any] = ()
    note: Callable[[str], None] = lambda obstacle: None
    ahead: Callable[[Sequence[InputProduct]], None] | None = None
    again: Callable[[Callable[[], Any]], Any] = lambda run: run()
    own_backward: bool = True
    project: Callable[[Any], Any] | None = None

    def block(self, length: int) -> int:
        """How many steps a block has that the backward pass computes once more."""
        return steps_again(self.checkpoint, length)


def steps_again(checkpoint: bool | int, length: int) -> int:
    """How many of so many steps a backward pass computes once more at a time."""
    whole = math.isqrt(max(0, length - 1)) + 1
    return whole if checkpoint is True else min(length, int(checkpoint))


DEFAULTS = Settings()


class Backend(Protocol):
    """What each module of this package has to offer."""

    def scan(
        self,
        step: Step,
        carry: Structure,
        xs: Structure,
        *,
        emits: Structure,
        variables: Sequence[Any],
        settings: Settings = DEFAULTS,
    ) -> tuple[Structure, Structure]:
        """Runs `step` over the leading axis of `xs`.

        Args:
            step: `(carry, x) -> (carry, y)`; the carry keeps structure, shapes and
                dtypes.
            carry: the first carry.
            xs: a structure of `(time, ...)`; at least one step.
            emits: specs of `y`, whose first axis is the batch and may be None; an empty
                list if `step` gives no `y`.
            variables: the variables that a step may read or update, such as weights and
                seeds.
            settings: how to run it.

        Returns:
            The last carry, and the structure of all `y`, `(time, ...)`.
        """
        ...

    def as_one(
        self,
        function: Callable[[Structure], Structure],
        given: Structure,
        variables: Sequence[Any],
        settings: Settings,
    ) -> Structure:
        """`function(given)`, which may read `variables`; as one program where `settings` ask."""
        ...

    def linear_scan(
        self, a: Any, b: Any, first: Any, product: Product, settings: Settings = DEFAULTS
    ) -> Any:
        """`h_t = a_t * h_{t-1} + b_t` for all steps, differentiable in all three.

        Args:
            a, b: `(time, batch, ...)`, float32 or float64; at least one step.
            first: `h` before the first step, `(batch, ...)`.
            product: what `*` means.
            settings: how to run it.

        Returns:
            `h` after every step, `(time, batch, ...)`.
        """
        ...

    def steps_at(self, sequence: Any, index: Any) -> Any:
        """`sequence[index[t, b], b]` for every t and b.

        Args:
            sequence: `(time, batch, ...)`.
            index: int, `(steps, batch, 1, ...)`, of the rank of `sequence`.
        """
        ...

    def device(self, tensor: Any = None) -> str:
        """`"gpu"` or `"cpu"`: where `tensor` is, or where the backend puts one.

        A GPU counts only if the backend has fused kernels for its make.
        """
        ...

    def under_xla(self) -> bool:
        """Whether the graph that is being made will be compiled by XLA as a whole."""
        ...

    def transformed(self, tensors: Iterable[Any]) -> bool:
        """Whether a transform looks inside of the call, so that no kernel may run.

        Args:
            tensors: all that goes into the call; asked for only where it matters.
        """
        ...

    def has_numbers(self, tensor: Any) -> bool:
        """Whether there is more to `tensor` than its shape and dtype."""
        ...

    def writes(self) -> str:
        """The format of the file that the call is traced for, if it cannot hold everything.

        `""` for none, and for one that holds whatever the backend computes with.
        """
        ...

    def fused(
        self,
        builtin: BuiltinName,
        inputs: Any,
        states: Sequence[Sequence[Any]],
        weights: Sequence[Weights],
    ) -> tuple[list[Any], list[list[Any]]]:
        """Runs the kernel of `engine.kernels.KERNELS` over all steps.

        Args:
            builtin: `"lstm"` or `"gru"`.
            inputs: `(time, batch, features)`.
            states: one list of `(batch, units)` a direction; the second direction, if
                there is one, runs from the end.
            weights: those of the built-in, one set a direction.

        Returns:
            For each direction the outputs `(time, batch, units)`, at the steps that they
            belong to, and the final states.
        """
        ...

    def as_long_as(self, tensor: Any, like: Any) -> Any:
        """`tensor`, with what stands for the number of steps of `like`, where that is a symbol.

        Args:
            tensor, like: `(batch, time, ...)`.
        """
        ...

    def checked(self, tensors: Structure, sizes: Sequence[SizeCheck], who: str) -> Structure:
        """`tensors`, which exist only if the sizes agree that are not known before run time.

        Raises:
            The backend's own error, with the message of the first check that fails.
        """
        ...

    def made_dense(self, leaf: Any) -> str | None:
        """How to make a dense tensor of `leaf`, in code where it is `x`; None if it is one."""
        ...
