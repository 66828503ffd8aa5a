"""The module of a package for the backend that Keras was imported with."""

from __future__ import annotations

import importlib
from types import ModuleType

import keras

from kcells.errors import ConfigurationError

__all__ = ["backend_module"]


def backend_module(package: str) -> ModuleType:
    """`<package>.tensorflow`, `.jax` or `.torch`; the others are not imported.

    Raises:
        ConfigurationError: if Keras runs on another backend.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise ConfigurationError(
            f'kcells runs on the backends "tensorflow", "jax" and "torch"; Keras uses "{name}".\n'
            "  Set KERAS_BACKEND before Keras is imported."
        )
    return importlib.import_module(f"{package}.{name}")
