"""Loading models whose cells come from plugins, from files that may be damaged."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Collection, Iterator
from typing import Any

import keras

from kcells.errors import KCellsError, ModelFileError
from kcells.registry import archive, provenance
from kcells.registry.records import odd_spot
from kcells.text import message, shortened

__all__ = ["load_model"]

_ABOUT_CLASSES = ("deserialize_keras_object", "ensure_loaded")
"""Functions that an error has passed through if it is not about the weights."""

_ABOUT_THE_CALL = ("safe_mode", "register_keras_serializable")
"""What Keras names where the caller has to give something, and the file is as it should be."""


def load_model(path: str | os.PathLike[str], **kwargs: Any) -> keras.Model:
    """Loads a `.keras` file, with the plugins that its cells come from.

    `keras.models.load_model` does too once kcells is imported, as long as every plugin
    cell is inside of a layer of kcells; this function also serves cells in Keras' own
    `RNN`. Only what an installed and allowed entry point declares is imported, never a
    module that the file names.

    Args:
        path: a file that `model.save("....keras")` wrote.
        **kwargs: for `keras.models.load_model` (`custom_objects`, `compile`, `safe_mode`).

    Returns:
        The model.

    Raises:
        MissingPluginError: with the line that installs the plugin.
        PluginLoadError: if a plugin is there and does not load.
        ModelFileError: if the archive, the configuration or the weights are damaged or do not
            fit each other. What Keras or Python said is its `__cause__`.

    What Keras says about the call is left as it is: a file that is not there, a class that
    `custom_objects` should have, a lambda that needs `safe_mode=False`.

    Examples:

    >>> import keras, kcells, os, tempfile
    >>> model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 8)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.keras")
    ...     model.save(path)
    ...     kcells.load_model(path).output_shape
    (None, 8)
    """
    inspect.signature(keras.models.load_model).bind(path, **kwargs)
    if not _is_one_file(path):
        return keras.models.load_model(path, **kwargs)
    found = archive.read(path)
    try:
        provenance.ensure_loaded(found["config.json"], kwargs.get("custom_objects"))
        return keras.models.load_model(path, **kwargs)
    except Exception as error:
        _make_printable(error)
        spot = _spot(found["config.json"])
        if _is_about_the_call(error, spot):
            raise
        raise _blamed(path, found, error, spot) from error


def _is_one_file(path: Any) -> bool:
    """Whether it is a file of the kind that is read here; Keras judges all others."""
    return str(path).endswith(".keras") and os.path.isfile(path)


def _make_printable(error: BaseException | None) -> None:
    """Keras quotes what the file says, and a traceback shows it."""
    while error is not None:
        error.args = tuple(message(arg) if isinstance(arg, str) else arg for arg in error.args)
        error = error.__cause__ or error.__context__


def _is_about_the_call(error: Exception, spot: str) -> bool:
    # What has a number comes from the system, such as a disk that is full.
    if isinstance(error, OSError) and error.errno is not None:
        return True
    if isinstance(error, (KCellsError, MemoryError, ImportError, Warning)):
        return True
    return not spot and any(name in str(error) for name in _ABOUT_THE_CALL)


def _blamed(path: Any, found: dict[str, Any], error: Exception, spot: str) -> ModelFileError:
    """Which part of a file an error is about."""
    if broken := archive.broken_member(path):
        return archive.unreadable(path, "archive", f"its archive is damaged ({broken})")
    said = archive.quoted(_root(error))
    if not _passed_through(error, _ABOUT_CLASSES):
        what = f"its weights are damaged, or do not fit its configuration ({said})"
        return archive.unreadable(path, "weights", what, _about_weights(error))
    where = f"{shortened(spot)}; " if spot else ""
    what = f"its configuration makes no model ({where}{said})"
    return archive.unreadable(path, "configuration", what, _about_versions(found))


def _root(error: BaseException) -> BaseException:
    """The error that Keras wrapped, layer by layer, each with all of its configuration."""
    while "Exception encountered: " in str(error) and error.__context__ is not None:
        error = error.__context__
    return error


def _passed_through(error: Exception, functions: Collection[str]) -> bool:
    return any(frame.f_code.co_name in functions for frame in _frames(error.__traceback__))


def _frames(traceback: types.TracebackType | None) -> Iterator[types.FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _spot(config: Any) -> str:
    try:
        return odd_spot(config)
    except RecursionError:
        return "it is nested deeper than any model"


def _about_weights(error: Exception) -> str:
    if "received 0 variables" in str(error):
        return (
            "If layers of Keras share a cell, make them layers of kcells, whose files know of it;"
            f" else: {archive.COPY_AGAIN}"
        )
    return archive.COPY_AGAIN


def _about_versions(found: dict[str, Any]) -> str:
    metadata = found.get("metadata.json")
    saved = metadata.get("keras_version") if isinstance(metadata, dict) else None
    keras_too = ""
    if saved is not None and saved != keras.__version__:
        keras_too = f"It was saved with Keras {shortened(saved, 40)}, and this is"
        keras_too += f" {keras.__version__}. "
    return (
        f"{keras_too}{archive.COPY_AGAIN} Cells in it may have changed since: `kcells inspect`"
        " names them."
    )
