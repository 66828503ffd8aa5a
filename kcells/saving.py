"""Loading models whose cells come from plugins."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import keras

from kcells.registry import provenance

__all__ = ["load_model"]


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

    Examples:

    >>> import keras, kcells, os, tempfile
    >>> model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 8)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.keras")
    ...     model.save(path)
    ...     kcells.load_model(path).output_shape
    (None, 8)
    """
    provenance.ensure_loaded(_read_config(path), kwargs.get("custom_objects"))
    return keras.models.load_model(path, **kwargs)


def _read_config(path: str | os.PathLike[str]) -> Any:
    """The configuration in a `.keras` file; None for anything else, which Keras judges."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            return None
        return json.loads(archive.read("config.json"))
