"""What a saved configuration says of its cells; nothing is imported or built for it.

A configuration is the nested dict that Keras writes. A cell in it carries the name
under which its class is registered, `"<distribution>>Class"`; that is enough to find
the entry point that declares it, without trusting anything else in the file. The
command reads files with this module alone, and therefore without Keras.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from packaging.utils import canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion, Version

from kcells.registry.info import BUILTIN_DISTRIBUTION

__all__ = [
    "PREFIX",
    "cells_in",
    "declared_classes",
    "odd_spot",
    "recorded_sources",
    "registered_names",
]

PREFIX = "kcells-plugin-"
"""How the names of plugins start, by convention."""


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


def declared_classes(config: Any) -> Iterator[tuple[str, str]]:
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
            yield from declared_classes(value)


def cells_in(config: Any) -> Iterator[dict[str, Any]]:
    """The configurations of all that stands where layers and stacks have their cells."""
    if isinstance(config, dict):
        for key in ("cell", "cells"):
            yield from _objects(config.get(key))
    if isinstance(config, (dict, list, tuple)):
        for value in config.values() if isinstance(config, dict) else config:
            yield from cells_in(value)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _objects(entry)


def recorded_sources(config: Any) -> Iterator[dict[str, str]]:
    """The records of distributions and versions that kcells has written into `config`."""
    if isinstance(config, dict):
        records = config.get("cell_sources")
        for record in records if isinstance(records, list) else ():
            if isinstance(record, dict) and _is_record(record):
                yield record
        for value in config.values():
            yield from recorded_sources(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from recorded_sources(value)


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


def odd_spot(config: Any, path: str = "config") -> str:
    """Where a configuration is none that Keras writes, and why; empty if nothing is odd.

    Examples:

    >>> odd_spot({"layers": [{"class_name": 5, "config": {}}]})
    'config["layers"][0]: class_name is 5'
    >>> odd_spot({"layers": [{"class_name": "GRU", "config": {}}]})
    ''
    """
    if isinstance(config, dict) and "class_name" in config:
        for key, kinds in _KINDS.items():
            value = config.get(key)
            is_name = key != "config" and isinstance(value, str)
            if not isinstance(value, kinds) or (is_name and not str(value).isprintable()):
                return f"{path}: {key} is {value!r}"
    if not isinstance(config, (dict, list)):
        return ""
    entries = config.items() if isinstance(config, dict) else enumerate(config)
    spots = (odd_spot(value, f"{path}[{json.dumps(key)}]") for key, value in entries)
    return next(filter(None, spots), "")


_KINDS: dict[str, tuple[type, ...]] = {
    "class_name": (str,),
    "module": (str, type(None)),
    "registered_name": (str, type(None)),
    # A function has its name there, and what a tensor is like comes as a list.
    "config": (dict, list, str, type(None)),
}
"""What Keras writes for an object."""
