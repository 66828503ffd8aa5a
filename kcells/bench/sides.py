"""The sides of a comparison: ours, and everything that it is held against.

A side is a name and a function that makes what is timed. Where the two differ in the layer
alone, that function is `with_layer` of a function that makes the layer, so that
a variant of ours is one line in `SIDES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras

from kcells import stock
from kcells.bench.backends import tensorflow_keras_2, torch
from kcells.bench.contest import Contest, is_shape
from kcells.bench.floor import floor_step
from kcells.bench.timing import Step
from kcells.cells.card import card_of
from kcells.engine.options import Compile
from kcells.layers.rnn import RNN
from kcells.registry import load

__all__ = ["OURS", "SIDES", "WORKLOADS", "Side", "chosen_sides", "with_layer"]

OURS = "kcells"
"""The side that the others are divided into."""

WORKLOADS = ("train", "predict", "layer")
"""`train_on_batch`, `predict_on_batch`, and on PyTorch both passes of the layer alone."""

MakeStep = Callable[[Contest, str], Step]
MakeLayer = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Side:
    """One of those that are compared.

    Attributes:
        name: as tables show it.
        step: makes the function that is timed, for a case and a workload. What it raises
            is reported as the reason why the side cannot run.
        workloads: those that it knows.
        backends: those that it runs on; empty for all.
        of_peers: whether it is only for cells whose card has an entry for it among the `peers`.
        default: whether it takes part without being asked for.
    """

    name: str
    step: MakeStep
    workloads: tuple[str, ...] = ("train", "predict")
    backends: tuple[str, ...] = ()
    of_peers: bool = False
    default: bool = True

    def takes_part(self, cell: str, workload: str) -> bool:
        """Whether there is something to compare, for a cell by its name."""
        return (
            workload in self.workloads
            and (not self.backends or keras.backend.backend() in self.backends)
            and (not self.of_peers or self.name in card_of(load(cell)).workload.peers)
        )


def with_layer(make: MakeLayer, **options: Any) -> MakeStep:
    """Steps of a Keras model around a layer.

    Args:
        make: makes the layer, from a case and further arguments of the layer.
        **options: for `compile`.
    """

    def step(case: Contest, workload: str) -> Step:
        if workload == "layer":
            return _layer_alone(make(case, return_sequences=True), case)
        model = case.model(make(case), **options)
        inputs = case.inputs
        if workload == "predict":
            return lambda: model.predict_on_batch(inputs)
        targets = case.targets(model)
        return lambda: model.train_on_batch(inputs, targets)

    return step


def _layer_alone(layer: Any, case: Contest) -> Step:
    if not is_shape(case.shapes):
        raise LookupError("only a layer of one tensor is run by itself")
    return torch.train_alone(layer, case.inputs)


def _ours(case: Contest, *, compile: Compile = "always", **options: Any) -> Any:
    """The layer that `kcells.build` makes, as it is when it has run for long."""
    layer = case.build(**options)
    if isinstance(layer, RNN):
        layer.compile = compile
    return layer


def _stock(case: Contest, **options: Any) -> Any:
    return stock.RNN(case.cell(), **options)


def _torch_nn(case: Contest, workload: str) -> Step:
    return torch.torch_nn(case.peer("torch.nn"), case.size.units, case.inputs)


def _torchrecurrent(case: Contest, workload: str) -> Step:
    return torch.torchrecurrent_layer(case.peer("torchrecurrent"), case.size.units, case.inputs)


def _guide(case: Contest, workload: str) -> Step:
    return tensorflow_keras_2.guide(case.size.units, case.inputs, workload)


_ALONE: dict[str, Any] = {"workloads": ("layer",), "backends": ("torch",)}

SIDES: Mapping[str, Side] = {
    side.name: side
    for side in (
        Side(OURS, with_layer(_ours), WORKLOADS),
        Side("stock", with_layer(_stock)),
        # JAX always compiles, and PyTorch has no such thing.
        Side("stock_xla", with_layer(_stock, jit_compile=True), backends=("tensorflow",)),
        Side("tf_keras", _guide, backends=("tensorflow",), of_peers=True),
        Side("torch.nn", _torch_nn, **_ALONE, of_peers=True),
        Side("torchrecurrent", _torchrecurrent, **_ALONE, of_peers=True),
        Side("floor", floor_step, WORKLOADS),
        # Variants of ours, for those who ask.
        Side(
            "checkpoint",
            with_layer(lambda case, **o: RNN(case.cell(), checkpoint=True, **o)),
            default=False,
        ),
        Side(
            "loop",
            with_layer(lambda case, **o: RNN(case.cell(), parallel="never", **o)),
            default=False,
        ),
        Side(
            "not_compiled",
            with_layer(lambda case, **o: _ours(case, compile="never", **o)),
            WORKLOADS,
            default=False,
        ),
    )
}


def chosen_sides(cell: str, workload: str, more: Collection[str] = ()) -> list[Side]:
    """Ours, and the others that take part in a workload of a cell.

    Args:
        cell: the cell's id, or its qualified id.
        workload: one of `WORKLOADS`.
        more: sides that take part though they do not by default.

    Returns:
        The sides, ours first; none if there is nothing to compare ours with: `layer` is
        there for layers of others.
    """
    taking = [
        side
        for side in SIDES.values()
        if (side.default or side.name in more) and side.takes_part(cell, workload)
    ]
    if {side.name for side in taking} <= {OURS, "floor"}:
        return []
    return taking
