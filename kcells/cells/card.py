"""`Card`: what a cell says of itself, once, to all who want to make, feed, check or show it.

A cell class has a class method `card()` that returns one. The kit, the benchmarks, the
learning tasks, `kcells info` and the catalogue read it, for a stranger's cell as for ours;
none of them knows a cell by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kcells import stock
from kcells.cells.signature import required_arguments
from kcells.errors import ConfigurationError
from kcells.structure import map_leaves, size_structure
from kcells.types import Structure, Tensor

__all__ = ["Card", "Case", "Learning", "Place", "Workload", "arguments_for", "card_of"]


@dataclasses.dataclass(frozen=True)
class Place:
    """What a cell is made for.

    Attributes:
        units: how large it is to be.
        features: how many numbers each time step has.
        length: how many time steps there are; None if nobody knows.
        layer: how many layers of the same cell are below.

    Examples:

    >>> import kcells
    >>> kcells.Place(units=4, features=3).length is None
    True
    """

    units: int
    features: int
    length: int | None = None
    layer: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration in which a cell is checked, and what goes into it.

    Attributes:
        arguments: for the constructor.
        inputs: the shapes of one step of one sample: a tuple of ints, or a structure of
            such tuples.
        name: tells one case from another in reports.
        sample: draws inputs that are not just normal numbers:
            `sample(rng, batch, time)` gives a structure of `(batch, time, ...)` arrays, in
            the shapes of `inputs`.

    Examples:

    >>> import kcells, numpy as np
    >>> case = kcells.Case({"units": 4}, inputs={"pen": (2,), "image": (5, 5)})
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


@dataclasses.dataclass(frozen=True)
class Workload:
    """How a cell is measured, where that is not as any other.

    Attributes:
        sizes: batch, time steps, features and units of sizes of its own, for when the user
            names none.
        divisor: by what to divide the units of sizes that are meant for all cells, for a
            cell that multiplies them with each other.
        head: whether a Dense(1) follows the layer; otherwise its outputs meet targets.
        optimizer: what the model is trained with.
        peers: layers of others to measure beside ours: the name of the class there, by
            library: `"torch.nn"`, `"torchrecurrent"`; `"tf_keras"` runs the guide's own cell.

    Examples:

    >>> import kcells
    >>> kcells.Workload(divisor=8).head
    True
    """

    sizes: Sequence[tuple[int, int, int, int]] = ()
    divisor: int = 1
    head: bool = True
    optimizer: str = "sgd"
    peers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _nothing_more(at: Place) -> Mapping[str, Any]:
    """No arguments besides those of the card."""
    return {}


@dataclasses.dataclass(frozen=True)
class Learning:
    """What a cell needs in order to learn, where that is more than a number of units.

    Attributes:
        arguments: for the constructor, besides those of the card, or in their place.
        adapt: from vectors `(batch, time, features)` to the structure that the cell takes, in
            `keras.ops`. Left out, each leaf of the card's `inputs` gets a projection.
        encoded: whether a Dense layer first makes as many features as units.
        depth: how many layers of the cell a model has. Two where the units of a cell do
            not see each other: what one layer has found, only the next can combine.
        multiple: what the number of units must be a multiple of.
        problems: the learning problems that the cell takes part in; empty for all.
        activation: what follows each layer, for cells that are linear altogether.
        rates: factors on the learning rate, by problem.

    Examples:

    >>> import kcells
    >>> kcells.Learning(depth=2, activation="gelu").encoded
    False
    """

    arguments: Callable[[Place], Mapping[str, Any]] = _nothing_more
    adapt: Callable[[Tensor], Structure] | None = None
    encoded: bool = False
    depth: int = 1
    multiple: int = 1
    problems: Sequence[str] = ()
    activation: str | None = None
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _one_vector(at: Place) -> Structure:
    """A step that is one vector."""
    return (at.features,)


@dataclasses.dataclass(frozen=True)
class Card:
    """What a cell says of itself; its class method `card()` returns one.

    Everything has a default, which fits a cell that is made with `units` and takes vectors.

    Attributes:
        cases: the configurations worth a check, the usual one first.
        others: for arguments of the constructor a value that is not the default, where none can
            be guessed from the name: an initializer can, a number of groups cannot.
        arguments: for the constructor, for a cell of this size; left out, `units` alone.
        inputs: the shapes of one step of one sample, as in `Case`.
        gates: what is between 0 and 1, or above where it is exponential, and scales something,
            by the names that the paper has; empty if there is no such thing, None if nobody
            has looked.
        also_in: who else ships the cell, in a release that can be installed.
        note: what the formula for the number of parameters takes for granted, such as `"F = U"`.
        workload: how it is measured.
        learning: what it needs to learn.

    Examples:

    >>> import kcells
    >>> class EchoCell(kcells.Cell):
    ...     def __init__(self, units, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.state_size = self.output_size = units
    ...     def call(self, inputs, states):
    ...         return states[0], [inputs["loud"] + inputs["low"]]
    ...     @classmethod
    ...     def card(cls):
    ...         both = lambda at: {"loud": (at.units,), "low": (at.units,)}
    ...         case = kcells.Case({"units": 2}, inputs={"loud": (2,), "low": (2,)})
    ...         return kcells.Card([case], inputs=both)
    >>> place = kcells.Place(units=4, features=3)
    >>> EchoCell.card().inputs(place)
    {'loud': (4,), 'low': (4,)}
    """

    cases: Sequence[Case] = ()
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arguments: Callable[[Place], Mapping[str, Any]] | None = None
    inputs: Callable[[Place], Structure] = _one_vector
    gates: str | None = None
    also_in: str = ""
    note: str = ""
    workload: Workload = dataclasses.field(default_factory=Workload)
    learning: Learning = dataclasses.field(default_factory=Learning)


_OF_KERAS = {
    cls: Card(gates=gates, also_in="Keras, torch.nn", workload=Workload(peers={"torch.nn": peer}))
    for cls, gates, peer in (
        (stock.LSTMCell, "input, forget, output", "LSTM"),
        (stock.GRUCell, "update, reset", "GRU"),
        (stock.SimpleRNNCell, "", "RNN"),
    )
}


def card_of(cls: type) -> Card:
    """The card of a class; an empty one if it has none.

    A class from before there were cards may have `check_cases()` alone, which gives the cases.
    """
    make = getattr(cls, "card", None)
    if callable(make):
        card: Card = make()
        return card
    cases = getattr(cls, "check_cases", None)
    return _OF_KERAS.get(cls) or Card(tuple(cases()) if callable(cases) else ())


def arguments_for(cls: type, at: Place, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What to make a cell with: what is `given`, and the rest as its card says.

    Raises:
        ConfigurationError: if the card does not say it.
    """
    given = dict(given or {})
    arguments = card_of(cls).arguments
    if arguments is not None:
        return {**arguments(at), **given}
    required = required_arguments(cls)
    if "units" in required:
        given = {"units": at.units, **given}
    if missing := [name for name in required if name not in given]:
        raise ConfigurationError(
            f"{cls.__name__} needs {', '.join(missing)}, and has no card that says what to take.\n"
            "  Pass them; or give the class a class method card() that returns"
            " kcells.Card(arguments=lambda at: {...})."
        )
    return given
