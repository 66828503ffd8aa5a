"""Shares of what is dropped or kept back: for each leaf of a state, each step anew."""

from __future__ import annotations

from numbers import Real
from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells.errors import ConfigurationError
from kcells.structure import plain, size_structure
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leaves import each

__all__ = ["any_rate", "checked_rates", "is_float", "of_states", "uniform"]


def checked_rates(wrapper: kcells.Wrapper, name: str, rates: Structure) -> Structure:
    """`rates`, a number or a structure of numbers, each at least 0 and less than 1."""
    rates = plain(rates)
    for rate in tree.flatten(rates):
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0.0 <= float(rate) < 1.0:
            raise ConfigurationError(
                f"{type(wrapper).__name__}: {name}: a rate must be at least 0 and less than 1;"
                f" received {rate!r}."
            )
    return rates


def any_rate(rates: Structure) -> bool:
    """Whether one of `rates` is not zero."""
    return any(float(rate) > 0 for rate in tree.flatten(rates))


def of_states(wrapper: kcells.Wrapper, rates: Structure, name: str) -> list[float]:
    """One rate for each leaf of the state, in order.

    Raises:
        StructureError: if `rates` is a structure other than that of the states.
    """
    sizes = size_structure(wrapper.bound.sizes, "state_size", type(wrapper).__name__)
    return [float(rate) for rate in each(rates, sizes, name, type(wrapper).__name__)]


def is_float(state: Tensor) -> bool:
    """Whether a state holds floats: others, such as a count, are left alone."""
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(state.dtype)))


def uniform(like: Tensor, seed: Any) -> Tensor:
    """Random numbers from 0 to 1 in the shape of `like`, in single precision or better."""
    return keras.random.uniform(ops.shape(like), dtype="float32", seed=seed)
