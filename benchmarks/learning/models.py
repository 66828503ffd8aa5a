"""The model of a cell for a problem, with as many units as the problem's budget pays for."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, tree

import kcells
from learning.cells import adapted, layer_of, learning_of
from learning.problems import Problem

__all__ = ["compile_model", "make_model", "parameters", "units_for"]

EMBEDDED = 16
"""Features that a symbol is turned into."""
MOST_UNITS = 256
"""Enough for cells that train next to nothing, whose models would grow without end."""


def make_model(name: str, problem: Problem, units: int) -> keras.Model:
    """A model: what turns steps into vectors, the cell's layers, and a Dense layer.

    Args:
        name: the cell's id.
        problem: what it is for.
        units: of the cell.
    """
    learning = learning_of(name)
    example = problem.data.held_out[0]
    inputs = keras.Input(example.shape[1:], dtype=example.dtype.name)
    steps = _vectors(problem, inputs)
    for number in range(learning.depth):
        if learning.encoded and steps.shape[-1] != units:
            steps = layers.Dense(units)(steps)
        is_last = number == learning.depth - 1
        length, features = steps.shape[1:]
        place = kcells.Place(units, features, length, number)
        taken = adapted(name, steps, place)
        steps = layer_of(name, place, not is_last or problem.answers is not None)(taken)
        if learning.activation is not None:
            steps = layers.Activation(learning.activation)(steps)
    if problem.answers is not None:
        steps = steps[:, -problem.answers :]
    return keras.Model(inputs, layers.Dense(problem.outputs)(_one_vector(steps, problem)))


def _vectors(problem: Problem, inputs: Any) -> Any:
    if problem.vocabulary is not None:
        return layers.Embedding(problem.vocabulary, EMBEDDED)(inputs)
    return layers.Masking()(inputs) if problem.masked else inputs


def _one_vector(steps: Any, problem: Problem) -> Any:
    """The leaves of the answers side by side."""
    leaves = tree.flatten(steps)
    if len(leaves) == 1 and len(leaves[0].shape) == (2 if problem.answers is None else 3):
        return leaves[0]
    flat = [layers.Flatten()(leaf) for leaf in leaves]
    return flat[0] if len(flat) == 1 else layers.Concatenate()(flat)


def compile_model(model: keras.Model, problem: Problem, rate: float) -> None:
    """Adam with clipped gradients, and the loss that belongs to the problem."""
    optimizer = keras.optimizers.Adam(rate, clipnorm=1.0)
    if problem.measure == "error":
        model.compile(optimizer, "mse")
        return
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])


def parameters(model: keras.Model) -> int:
    """How many numbers a model trains."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def units_for(name: str, problem: Problem) -> int:
    """The largest number of units with which the model keeps to the budget.

    Parameters are a polynomial of degree two in the units, where there are more of them than
    features: a cell, or the Dense layer before it, may leave a matrix out where the numbers are
    equal. Three models tell which, and a fourth whether it is so: to make one for each number
    of units takes longer than many a run.

    Raises:
        ValueError: if even the smallest model is beyond the budget.
    """
    step = learning_of(name).multiple

    def count(units: int) -> int:
        return parameters(make_model(name, problem, units))

    first = step * (EMBEDDED // step + 1)
    tried = [first, first + step, first + 2 * step]
    polynomial = np.polynomial.Polynomial.fit(tried, [count(units) for units in tried], 2)
    counts = range(step, MOST_UNITS + 1, step)
    fitting = [units for units in counts if polynomial(units) <= problem.budget + 0.5]
    found = max(fitting, default=0)
    while found and count(found) > problem.budget:
        found -= step
    if not found:
        raise ValueError(f"{name}: no model for {problem.name} has {problem.budget} parameters.")
    return found
