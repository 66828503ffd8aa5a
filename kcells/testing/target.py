"""What is checked: a cell that somebody names, and how to make more of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import tree

from kcells import registry
from kcells.build import cell as make_cell
from kcells.cells.card import Case
from kcells.cells.checks import check_cell as check_is_cell
from kcells.errors import ArgumentError, CellError
from kcells.registry.loading import check_cell_class
from kcells.structure import plain
from kcells.testing.cases import cases_for, first_case
from kcells.types import Structure

__all__ = ["Target"]


class Target:
    """A cell id, class or instance, with the cases to check it in.

    Attributes:
        cell_class: the class of the cell.
        name: the cell in a word.
        title: the cell and where it is from, for reports.
        spelled: the cell as Python writes it, for the line that reproduces a result; one
            that was made already is called `cell` there.
        distribution: the distribution that declares it; empty if none does.
        cases: the configurations to check.
        is_layer: whether it is a Keras layer, which can be saved and copied.
    """

    def __init__(
        self,
        cell: Any,
        arguments: Mapping[str, Any] | None = None,
        inputs: Structure | None = None,
    ) -> None:
        self._cell, self._asked = cell, (arguments, inputs)
        self._is_made = not isinstance(cell, (str, type))
        self.distribution = ""
        if self._is_made:
            check_is_cell(cell)
            if arguments is not None:
                raise ArgumentError(
                    f"check_cell: {type(cell).__name__} is made already, so it takes no"
                    f" arguments; received {dict(arguments)!r}. Pass its class instead."
                )
            self.cell_class = type(cell)
            self.name = self.cell_class.__name__
            self.title, self.spelled = f"{self.name}(...)", "cell"
            self.cases = [first_case(self.cell_class, inputs)]
            return
        if isinstance(cell, str):
            info = registry.describe(cell)
            self.cell_class = registry.load(cell)
            self.distribution = info.distribution
            self.name, self.title = cell, f'"{cell}" ({info.source})'
            self.spelled = f'"{cell}"'
        else:
            reason = check_cell_class(cell)
            if reason is not None:
                raise CellError(f"{cell.__name__} is no cell class: {reason}.")
            self.cell_class = cell
            self.name = self.title = self.spelled = cell.__name__
        self.cases = cases_for(self.cell_class, arguments, inputs)

    @property
    def is_layer(self) -> bool:
        return issubclass(self.cell_class, keras.layers.Layer)

    def make(self, case: Case, dtype: str = "float32", **overrides: Any) -> Any:
        """A new cell, its variables and results in the dtype policy `dtype`."""
        with policy(dtype):
            if self._is_made and not self.is_layer:
                return self._cell  # Nobody but its author could make another one.
            if self._is_made:
                return _copy(self._cell, dtype, overrides)
            # A cell of cells would otherwise share them with all others that are made here.
            arguments = tree.map_structure(
                lambda a: _copy(a, dtype) if isinstance(a, keras.layers.Layer) else a,
                plain({**case.arguments, **overrides}),
            )
            return make_cell(self._cell, **arguments)

    def reproduce(self, law: str, seed: int, recorded: Sequence[Any] = ()) -> str:
        """The line of Python that checks one law again."""
        arguments, inputs = self._asked
        given = [
            self.spelled,
            *([f"arguments={dict(arguments)!r}"] if arguments is not None else []),
            *([f"inputs={inputs!r}"] if inputs is not None else []),
            f'only="{law}"',
            f"seed={seed}",
            *([f"recorded={list(map(str, recorded))!r}"] if recorded else []),
        ]
        return f"kcells.testing.check_cell({', '.join(given)})"


def _copy(cell: Any, dtype: str, overrides: Mapping[str, Any] | None = None) -> Any:
    """A cell like this one, without its weights, and all of it in the dtype policy `dtype`."""
    config = _in_policy(plain(cell.get_config()), dtype)
    return type(cell).from_config({**config, **(overrides or {})})


def _in_policy(config: Any, dtype: str) -> Any:
    """`config` with the policy of the layer and of all layers in it replaced."""
    if isinstance(config, (list, tuple)):
        return type(config)(_in_policy(member, dtype) for member in config)
    if not isinstance(config, dict):
        return config
    replaced = {key: _in_policy(member, dtype) for key, member in config.items()}
    # What else has a dtype, such as an initializer, is not said to be trainable.
    return {**replaced, "dtype": dtype} if {"dtype", "trainable"} <= config.keys() else replaced


@contextlib.contextmanager
def policy(dtype: str) -> Iterator[None]:
    """Sets the dtype policy, and float precision with it, for the time being."""
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx("float64" if dtype == "float64" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


@contextlib.contextmanager
def errors_as_they_are() -> Iterator[None]:
    """Keeps Keras from wording errors anew, at which it fails itself with some of JAX."""
    was_on = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if was_on:
            keras.config.enable_traceback_filtering()
