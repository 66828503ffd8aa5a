"""`Case`: one configuration of a cell, and what goes into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kcells.cells.signature import required_arguments
from kcells.errors import ConfigurationError
from kcells.structure import map_leaves, size_structure
from kcells.types import Structure

__all__ = ["Case", "cases_for"]


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration in which a cell is checked.

    A cell class may say which of its configurations are worth a check, with a class method
    `check_cases()` that returns a list of these.

    Attributes:
        arguments: for the constructor.
        inputs: the shapes of one step of one sample: a tuple of ints, or a structure of
            such tuples.
        name: tells one case from another in reports.
        sample: draws inputs that are not just normal numbers:
            `sample(rng, batch, time)` gives a structure of `(batch, time, ...)` arrays, in
            the shapes of `inputs`.

    Examples:

    >>> from kcells.testing import Case
    >>> case = Case({"units": 4}, inputs={"pen": (2,), "image": (5, 5)})
    >>> draw = case.draw(np.random.default_rng(0), batch=3, time=6)
    >>> {key: array.shape for key, array in sorted(draw.items())}
    {'image': (3, 6, 5, 5), 'pen': (3, 6, 2)}
    """

    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Structure = (3,)
    name: str = ""
    sample: Callable[[np.random.Generator, int, int], Structure] | None = None

    def draw(self, rng: np.random.Generator, batch: int, time: int) -> Structure:
        """Inputs `(batch, time, ...)` for this case."""
        if self.sample is not None:
            return self.sample(rng, batch, time)

        def normal(size: Any, _: str) -> np.ndarray[Any, Any]:
            return rng.normal(size=(batch, time, *size.dims)).astype("float32")

        # In a list, a tuple of ints is a shape and not a structure.
        (sizes,) = size_structure([self.inputs], "inputs", f"the case {self.name!r}")
        return map_leaves(normal, sizes)


def cases_for(
    cell_class: type, arguments: Mapping[str, Any] | None, inputs: Structure | None
) -> list[Case]:
    """The cases to check a class in: the caller's, else the class' own, else a small one.

    Raises:
        ConfigurationError: if nobody says how to make the cell.
    """
    own = getattr(cell_class, "check_cases", None)
    if arguments is None and inputs is None and callable(own):
        return _named(own())
    if arguments is None:
        arguments = _smallest_arguments(cell_class)
    return [Case(arguments) if inputs is None else Case(arguments, inputs)]


def _named(cases: Sequence[Case]) -> list[Case]:
    """`cases`, each with a name of its own where there are several."""
    if len(cases) < 2:
        return list(cases)
    names = [
        case.name or ",".join(f"{key}={_word(value)}" for key, value in case.arguments.items())
        for case in cases
    ]
    return [
        dataclasses.replace(case, name=name if names.count(name) == 1 else f"{name} {position}")
        for position, (case, name) in enumerate(zip(cases, names, strict=True))
    ]


def _smallest_arguments(cell_class: type) -> dict[str, Any]:
    required = required_arguments(cell_class)
    if unknown := [name for name in required if name != "units"]:
        raise ConfigurationError(
            f"{cell_class.__name__} needs arguments that the checks cannot guess:"
            f" {', '.join(unknown)}.\n"
            "  Pass arguments={...}, or give the class a class method check_cases() that returns"
            " a list of kcells.testing.Case."
        )
    return {"units": 4} if required else {}


def _word(value: Any) -> str:
    """A value as a name has it: the same in every process."""
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return str(value) if is_plain else type(value).__name__
