"""`LinearRecurrence`: a cell that is linear in its state, for a whole sequence at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from keras import ops, tree

from kcells.errors import CellError
from kcells.structure import conform
from kcells.types import Structure, Tensor

__all__ = ["LinearRecurrence", "Product", "checked", "multiply"]

Product: TypeAlias = Literal["elementwise", "complex"]
"""What `a * h` means: number by number, or as complex numbers, whose real and imaginary
part are the two entries of the last axis."""


class LinearRecurrence(NamedTuple):
    """The coefficients of `h_t = a_t * h_{t-1} + b_t`, and what the outputs are.

    Attributes:
        a: a structure like the state; leaves broadcast to `(time, batch, ...)`.
        b: the same. For a single step there is no leading time axis in either.
        read_out: `(states, projected) -> outputs`, for one step, or for all of them with
            a leading time axis; `states` is a structure like the state.
        product: `"elementwise"`, or `"complex"` where the last axis of every state holds
            real and imaginary part.

    Products of several `a` have to be finite: a scan multiplies them before it meets the state.

    Examples:

    >>> import kcells, numpy as np
    >>> half = kcells.LinearRecurrence([0.5], [np.ones((3, 1))], lambda h, projected: 2 * h[0])
    >>> h = np.zeros(1)
    >>> for b in half.b[0]:
    ...     h = half.a[0] * h + b
    >>> float(half.read_out([h], None)[0])
    3.5
    """

    a: Structure
    b: Structure
    read_out: Callable[[Structure, Structure], Structure]
    product: Product = "elementwise"


def checked(result: Any, sizes: Structure, who: str) -> LinearRecurrence:
    """What a cell gave as its recurrence, in the structure of its states.

    Raises:
        CellError: if it is no recurrence.
        StructureError: if `a` or `b` do not have the structure of the states.
    """
    if not isinstance(result, tuple) or len(result) != len(LinearRecurrence._fields):
        raise CellError(
            f"{who}.linear_recurrence must return a kcells.LinearRecurrence(a, b, read_out);"
            f" it returned {type(result).__name__}."
        )
    a, b, read_out, product = result
    if product not in get_args(Product):
        raise CellError(
            f'{who}.linear_recurrence: product must be "elementwise" or "complex";'
            f" received {product!r}."
        )
    single = isinstance(sizes, list) and len(sizes) == 1
    a, b = ([x] if single and not tree.is_nested(x) else x for x in (a, b))
    return LinearRecurrence(
        conform(a, sizes, "a", f"{who}.linear_recurrence"),
        conform(b, sizes, "b", f"{who}.linear_recurrence"),
        read_out,
        product,
    )


def multiply(product: Product, a: Tensor, h: Tensor) -> Tensor:
    """`a * h`, in the meaning of `product`.

    Examples:

    >>> import numpy as np
    >>> i = np.array([0.0, 1.0])
    >>> [float(x) for x in multiply("complex", i, i)]
    [-1.0, 0.0]
    """
    if product == "elementwise":
        return ops.multiply(a, h)
    real = a[..., 0] * h[..., 0] - a[..., 1] * h[..., 1]
    imaginary = a[..., 0] * h[..., 1] + a[..., 1] * h[..., 0]
    return ops.stack([real, imaginary], axis=-1)
