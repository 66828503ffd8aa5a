"""Which plugin each cell in a saved configuration comes from, and how it is loaded.

What a configuration says is read in `records`. Here its classes are looked up among the
installed plugins and in Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from packaging.utils import canonicalize_name, is_normalized_name

from kcells.errors import MissingPluginError
from kcells.registry import loading, trust
from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo
from kcells.registry.metadata import declared_cells
from kcells.registry.records import PREFIX, declared_classes, recorded_sources, registered_names
from kcells.text import one_line

__all__ = ["ensure_loaded", "is_provided", "registered_names", "sources", "what_it_takes"]

_FOUND_BY_KERAS = ("keras", "keras_cv", "keras_hub", "keras_nlp")
"""Packages whose modules Keras imports itself where a file names them."""


def sources(config: Any) -> list[dict[str, str]]:
    """Id, distribution and version of every declared cell in `config`, as plain data."""
    by_class = {(info.distribution, info.class_name): info for info in declared_cells()}
    found = [by_class[key] for key in dict.fromkeys(declared_classes(config)) if key in by_class]
    return [
        {"id": info.id, "distribution": info.distribution, "version": info.version}
        for info in found
    ]


def ensure_loaded(config: Any, custom_objects: Mapping[str, Any] | None = None) -> None:
    """Imports the plugins whose classes `config` names and Keras does not know yet.

    Only classes of distributions with a visible entry point are imported; a module
    that the configuration names is never looked at.

    Args:
        config: a nested configuration.
        custom_objects: classes that the caller provides, as Keras takes them.

    Raises:
        MissingPluginError: if a plugin is not installed, hidden, or lacks the class.
        PluginLoadError: if it is there and does not load.
    """
    provided = {**keras.saving.get_custom_objects(), **(custom_objects or {})}
    versions = {source["distribution"]: source["version"] for source in recorded_sources(config)}
    for name in dict.fromkeys(registered_names(config)):
        package, separator, class_name = name.rpartition(">")
        if not separator or name in provided or class_name in provided or _is_known(name):
            continue
        distribution = canonicalize_name(package)
        if not is_normalized_name(distribution):
            continue
        visible, hidden = trust.split_by_trust(
            info for info in declared_cells() if info.distribution == distribution
        )
        _load_class(name, class_name, visible)
        is_plugin = distribution in versions or distribution.startswith(PREFIX)
        if not _is_known(name) and (visible or hidden or is_plugin):
            raise _missing(class_name, distribution, versions.get(distribution), visible, hidden)


def is_provided(cls: type) -> bool:
    """Whether a process that has imported kcells finds a class by itself, in a file that names it.

    That is so for the classes of Keras, of kcells, and of distributions that declare cells; what
    somebody has written in a program or a notebook is theirs to bring along.
    """
    module = cls.__module__.partition(".")[0]
    if module in _FOUND_BY_KERAS:
        return True
    package, separator, _ = keras.saving.get_registered_name(cls).rpartition(">")
    distribution = canonicalize_name(package)
    if not separator or cls.__module__ == "__main__":
        return False
    if distribution == BUILTIN_DISTRIBUTION:
        return module == BUILTIN_DISTRIBUTION
    return any(info.distribution == distribution for info in declared_cells())


def what_it_takes(cls: type) -> str:
    """What has to be done to load a file with a class that is not `is_provided`."""
    name = keras.saving.get_registered_name(cls)
    given = f'load it by kcells.load_model(path, custom_objects={{"{name}": {cls.__name__}}})'
    is_importable = cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__
    first = f"import {cls.__module__}" if is_importable else "run its definition"
    if ">" in name:
        remedy = f'{first} before, which registers it as "{name}"; or {given}'
    else:
        remedy = (
            f"{given}; or decorate it with @keras.saving.register_keras_serializable(), and"
            f" {first} before"
        )
    return (
        f"kcells: {cls.__qualname__} of {cls.__module__} comes from no plugin, so this model does"
        " not load after `import kcells` alone.\n"
        f"  {remedy[0].upper()}{remedy[1:]}.\n"
        "  A plugin is found by itself: `kcells new` makes one."
    )


def _is_known(name: str) -> bool:
    return keras.saving.get_registered_object(name) is not None


def _load_class(name: str, class_name: str, infos: tuple[CellInfo, ...]) -> None:
    # The entry point of that very class first; a helper class comes with any other.
    for info in sorted(infos, key=lambda info: info.class_name != class_name):
        if info.distribution != BUILTIN_DISTRIBUTION:
            loading.load(info)
        if _is_known(name):
            return


def _missing(
    class_name: str,
    distribution: str,
    version: str | None,
    visible: tuple[CellInfo, ...],
    hidden: tuple[CellInfo, ...],
) -> MissingPluginError:
    asked = f'the saved model needs the cell class "{one_line(class_name)}" of {distribution}'
    if hidden:
        return MissingPluginError(
            f"{asked}, which {trust.VARIABLE} hides.\n"
            f"  To use it, add {distribution} to {trust.VARIABLE}."
        )
    if visible:
        return MissingPluginError(
            f"{asked}, and {visible[0].source} has no such class.\n"
            f"  The model was saved with version {version or 'unknown'}; install that one:"
            f" pip install {_pinned(distribution, version)}"
        )
    return MissingPluginError(
        f"{asked}, which is not installed.\n"
        f"  Install it: pip install {_pinned(distribution, version)}"
    )


def _pinned(distribution: str, version: str | None) -> str:
    return f"{distribution}=={version}" if version else distribution
