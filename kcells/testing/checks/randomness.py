"""What is random is random in training alone, and the same for one seed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from kcells.cells.signature import constructor_parameters
from kcells.structure import map_leaves
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.numbers import FORWARD, same
from kcells.testing.subject import Run, Subject, weight_names

__all__ = ["dropout", "inference", "seeds", "side_effects"]

_RATE = 0.5
_OTHER_SEED = 4711


@law("inference", "Without training, two calls give the same.")
def inference(subject: Subject) -> None:
    layer = subject.layer()
    first, second = (subject.run(layer, subject.inputs, training=False) for _ in range(2))
    same(second.outputs, first.outputs, "outputs", 0.0, "from one call to the next")
    same(second.states, first.states, "states", 0.0, "from one call to the next")


@law("side_effects", "A call changes no weight and no input, and makes no variable.")
def side_effects(subject: Subject) -> None:
    layer = subject.layer()
    inputs = map_leaves(lambda leaf, _: leaf.copy(), subject.inputs)
    before = [ops.convert_to_numpy(weight) for weight in layer.weights]
    known = {id(variable) for variable in layer.variables}
    subject.run(layer, inputs, training=False)
    if made := [v.path for v in layer.variables if id(v) not in known]:
        raise ViolationError(f"the call made the variable {made[0]}; make it in build", made[0])
    for name, weight, value in zip(weight_names(layer.weights), layer.weights, before, strict=True):
        same(ops.convert_to_numpy(weight), value, name, 0.0, "after a call")
    same(inputs, subject.inputs, "inputs", 0.0, "after a call")


@law("dropout", "Dropout acts in training alone, and draws anew for each sequence.")
def dropout(subject: Subject) -> None:
    rates = _dropout_arguments(subject)
    if not rates:
        raise NotApplicableError("the constructor takes no dropout rate")
    for name, rate in rates.items():
        layer, without = (
            subject.layer(subject.target.make(subject.case, **{name: value}))  # type: ignore[arg-type]
            for value in (rate, 0.0)
        )
        calm, expected = (
            subject.run(each, subject.inputs, training=False) for each in (layer, without)
        )
        same(calm.outputs, expected.outputs, "outputs", what=f"in inference with {name}={rate}")
        first, second = (subject.run(layer, subject.inputs, training=True) for _ in range(2))
        if _close(first, calm):
            raise ViolationError(f"{name}={rate} changes nothing in training", name)
        if _close(first, second):
            raise ViolationError(f"{name}={rate} drops the same in every sequence", name)


@law("seeds", "After keras.utils.set_random_seed, weights and masks are the same each time.")
def seeds(subject: Subject) -> None:
    rates: dict[str, Any] = dict(_dropout_arguments(subject))

    def made(seed: int) -> tuple[list[np.ndarray], Run]:
        keras.utils.set_random_seed(seed)
        layer = subject.layer(subject.target.make(subject.case, **rates), trained=False)
        weights = [ops.convert_to_numpy(weight) for weight in layer.weights]
        subject.give_weights(layer.cell)
        return weights, subject.run(layer, subject.inputs, training=True)

    (weights, run), (again, rerun) = made(subject.seed), made(subject.seed)
    same(again, weights, "initial weights", 0.0, "from one construction to the next")
    same(rerun.outputs, run.outputs, "outputs", 0.0, "in training, after the same seed")
    if "seed" in constructor_parameters(subject.target.cell_class) and rates:
        rates["seed"] = 7
        runs = [made(seed)[1] for seed in (subject.seed, _OTHER_SEED)]
        same(runs[0].outputs, runs[1].outputs, "outputs", 0.0, "in training, for one seed=7")


def _dropout_arguments(subject: Subject) -> dict[str, float]:
    """The arguments of the constructor that are rates of dropout, and a rate for each."""
    return {
        name: subject.case.arguments.get(name) or _RATE
        for name, parameter in constructor_parameters(subject.target.cell_class).items()
        if name.endswith(("dropout", "dropout_rate"))
        and isinstance(parameter.default, (int, float))
        and not isinstance(parameter.default, bool)
    }


def _close(first: Run, second: Run) -> bool:
    """Whether there is no more between them than rounding."""
    pairs = zip(*map(tree.flatten, (first, second)), strict=True)
    return all(np.allclose(a, b, rtol=FORWARD, atol=FORWARD) for a, b in pairs)
