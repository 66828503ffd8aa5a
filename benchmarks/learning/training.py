"""One run: a model learns, and its curve is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from learning.cells import learning_of
from learning.models import compile_model, make_model, parameters, units_for
from learning.problems import Problem

__all__ = ["Learner", "Run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """What came out of a run.

    Attributes:
        cell, problem, seed: what was run.
        units, parameters: of the model.
        rate: the learning rate.
        steps: training steps between two points of the curve.
        chance: what the best constant answer scores.
        curve: the problem's measure on the held-out set, before the first and after each point.
        seconds: what it took.
        backend, versions, date: with what, and when (the day).
    """

    cell: str
    problem: str
    seed: int
    units: int
    parameters: int
    rate: float
    steps: int
    chance: float
    curve: list[float]
    seconds: float
    backend: str
    versions: dict[str, str]
    date: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What a run is found by."""
        return self.cell, self.problem, self.seed

    @property
    def score(self) -> float:
        """The end of the curve."""
        return self.curve[-1]


class Learner:
    """A compiled model that starts anew for each seed, so that it is compiled once.

    Args:
        name: the cell's id.
        problem: what it learns.
    """

    def __init__(self, name: str, problem: Problem) -> None:
        self.name = name
        self.problem = problem
        self.units = units_for(name, problem)
        self.rate = problem.rate * learning_of(name).rates.get(problem.name, 1.0)
        self.model = make_model(name, problem, self.units)
        compile_model(self.model, problem, self.rate)
        self.model.optimizer.build(self.model.trainable_variables)
        self.at_start = [np.array(v) for v in self.model.optimizer.variables]

    def start(self, seed: int) -> None:
        """Other initial weights, and an optimizer that has seen nothing."""
        keras.utils.set_random_seed(seed)
        fresh = make_model(self.name, self.problem, self.units)
        self.model.set_weights(fresh.get_weights())
        for variable, value in zip(self.model.optimizer.variables, self.at_start, strict=True):
            variable.assign(value)

    def learn(self, seed: int, shown: Callable[[int, float], None]) -> dict[str, Any]:
        """Learns.

        Args:
            seed: of the weights and the examples.
            shown: called at each point with its number and the score.

        Returns:
            What a `Run` is made of, without its circumstances.
        """
        self.start(seed)
        problem, rng, began = self.problem, np.random.default_rng(seed), time.perf_counter()
        curve: list[float] = []
        for point in range(problem.points + 1):
            if point:
                inputs, targets = problem.data.draw(rng, problem.batch * problem.steps)
                self.model.fit(inputs, targets, batch_size=problem.batch, shuffle=False, verbose=0)
            curve.append(round(self.evaluate(), 5))
            shown(point, curve[-1])
            if problem.above_chance(curve[-1]) >= problem.enough:
                break
        return {
            "cell": self.name,
            "problem": problem.name,
            "seed": seed,
            "units": self.units,
            "parameters": parameters(self.model),
            "rate": self.rate,
            "steps": problem.steps,
            "chance": round(problem.chance, 5),
            "curve": curve,
            "seconds": round(time.perf_counter() - began, 1),
        }

    def evaluate(self) -> float:
        """The score on the held-out set, which is what a batch of 100 at a time gives."""
        inputs, targets = self.problem.data.held_out
        logs = self.model.evaluate(inputs, targets, batch_size=100, return_dict=True, verbose=0)
        return self.problem.score(logs)
