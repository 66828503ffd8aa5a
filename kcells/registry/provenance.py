"""Which plugin each cell in a saved configuration comes from.

A configuration is the nested dict that Keras writes. A cell in it carries the name
under which its class is registered, `"<distribution>>Class"`; that is enough to find
the entry point that declares it, without trusting anything else in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
from packaging.utils import canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion, Version

from kcells.errors import MissingPluginError
from kcells.registry import loading, trust
from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo
from kcells.registry.metadata import declared_cells

__all__ = ["ensure_loaded", "registered_names", "sources"]

PREFIX = "kcells-plugin-"


def registered_names(config: Any) -> Iterator[str]:
    """Every registered class name in a nested configuration."""
    if isinstance(config, dict):
        name = config.get("registered_name")
        if isinstance(name, str) and "class_name" in config:
            yield name
        for value in config.values():
            yield from registered_names(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from registered_names(value)


def sources(config: Any) -> list[dict[str, str]]:
    """Id, distribution and version of every declared cell in `config`, as plain data."""
    by_class = {(info.distribution, info.class_name): info for info in declared_cells()}
    found = [by_class[key] for key in dict.fromkeys(_classes(config)) if key in by_class]
    return [
        {"id": info.id, "distribution": info.distribution, "version": info.version}
        for info in found
    ]


def _classes(config: Any) -> Iterator[tuple[str, str]]:
    """Distribution and class name of everything in `config` that may be a declared cell."""
    if isinstance(config, dict):
        class_name, name = config.get("class_name"), config.get("registered_name")
        if isinstance(name, str) and ">" in name:
            package, _, registered = name.rpartition(">")
            yield canonicalize_name(package), registered
        elif isinstance(class_name, str) and config.get("module") == "keras.layers":
            yield BUILTIN_DISTRIBUTION, class_name
    if isinstance(config, (dict, list, tuple)):
        for value in config.values() if isinstance(config, dict) else config:
            yield from _classes(value)


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
    versions = {source["distribution"]: source["version"] for source in _recorded(config)}
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


def _is_known(name: str) -> bool:
    return keras.saving.get_registered_object(name) is not None


def _load_class(name: str, class_name: str, infos: tuple[CellInfo, ...]) -> None:
    # The entry point of that very class first; a helper class comes with any other.
    for info in sorted(infos, key=lambda info: info.class_name != class_name):
        if info.distribution != BUILTIN_DISTRIBUTION:
            loading.load(info)
        if _is_known(name):
            return


def _recorded(config: Any) -> Iterator[dict[str, str]]:
    if isinstance(config, dict):
        records = config.get("cell_sources")
        for record in records if isinstance(records, list) else ():
            if isinstance(record, dict) and _is_record(record):
                yield record
        for value in config.values():
            yield from _recorded(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _recorded(value)


def _is_record(record: dict[Any, Any]) -> bool:
    # People paste the install line into a shell: nothing of a file goes into it unchecked.
    distribution, version = record.get("distribution"), record.get("version")
    return (
        isinstance(distribution, str)
        and is_normalized_name(distribution)
        and isinstance(version, str)
        and _is_version(version)
    )


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _missing(
    class_name: str,
    distribution: str,
    version: str | None,
    visible: tuple[CellInfo, ...],
    hidden: tuple[CellInfo, ...],
) -> MissingPluginError:
    asked = f'the saved model needs the cell class "{class_name}" of {distribution}'
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
