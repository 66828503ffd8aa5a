"""A reader finds out what a cell computes, and where that is from."""

from __future__ import annotations

import inspect
import re

import keras

from kcells.cells.signature import constructor_parameters
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.subject import Subject

__all__ = ["docstring"]

# Not a line of an example, and not the code of one.
_EQUATION = re.compile(
    r"^(?: {4,}(?!>>>|\.\.\.)\S.*? [:&]?= |[A-Za-z]\w*_\S*? *[:&]?= *)(?!\w*(?:kcells|keras)\.)\S",
    re.MULTILINE,
)
_SOURCE = re.compile(r"arXiv|\bdoi\b|\b(?:19|20)\d\d\b", re.IGNORECASE)


@law(
    "docstring",
    "The docstring of the class has equations, their source, and every argument.",
    of_class=True,
)
def docstring(subject: Subject) -> None:
    cls = subject.target.cell_class
    if cls.__module__.startswith("keras."):
        raise NotApplicableError("Keras explains its own classes elsewhere")
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    if not text:
        raise ViolationError(f"the class {cls.__name__} has no docstring of its own", "docstring")
    if not _EQUATION.search(text):
        raise ViolationError(
            "the docstring has no equation: an indented line such as h_t = tanh(W x_t)", "docstring"
        )
    if not _SOURCE.search(text):
        raise ViolationError(
            "the docstring names no source: a paper with its year, an arXiv number or a doi",
            "docstring",
        )
    # What a base class takes, its own docstring may explain.
    known = "\n".join(vars(base).get("__doc__") or "" for base in _own_classes(cls))
    for name in constructor_parameters(cls):
        if not re.search(rf"\b{re.escape(name)}\b", known):
            raise ViolationError(f"the docstring says nothing about the argument {name}", name)


def _own_classes(cls: type) -> list[type]:
    """A class and those above it, up to what every Keras layer is."""
    line = list(cls.__mro__)
    return line[: line.index(keras.layers.Layer)] if keras.layers.Layer in line else line[:-1]
