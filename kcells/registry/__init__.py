"""Discovery, look-up, conflicts and trust of cell plugins.

    entry points --metadata--> CellInfo --trust--> visible --names--> one --loading--> class

Everything up to the last arrow works on metadata alone. In-process registrations
(`register`) join the declarations in the middle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from kcells.errors import RegistrationError, UnknownCellError
from kcells.registry import loading, metadata, names, trust
from kcells.registry.info import SESSION, CellInfo
from kcells.registry.metadata import GROUP

__all__ = [
    "GROUP",
    "CellInfo",
    "describe",
    "hidden_cells",
    "list_cells",
    "load",
    "refresh",
    "register",
    "unregister",
]

_lock = threading.Lock()
_session: dict[str, type[Any]] = {}


def _session_classes() -> dict[CellInfo, type[Any]]:
    """What is registered now; another thread may take it back before it is used."""
    with _lock:
        return {
            CellInfo(name, SESSION, "", f"{cls.__module__}:{cls.__qualname__}"): cls
            for name, cls in sorted(_session.items())
        }


def _visible_and_hidden(
    session: Iterable[CellInfo],
) -> tuple[tuple[CellInfo, ...], tuple[CellInfo, ...]]:
    visible, hidden = trust.split_by_trust(metadata.declared_cells())
    return (*visible, *session), hidden


def list_cells() -> list[CellInfo]:
    """Lists every cell that can be asked for by name.

    Reads metadata only: no plugin is imported.

    Returns:
        The declarations, sorted by id and distribution.

    Examples:

    >>> import kcells
    >>> [info.id for info in kcells.list_cells() if info.distribution == "kcells"]
    ['gru', 'lstm', 'simple_rnn']
    """
    return sorted(_visible_and_hidden(_session_classes())[0])


def hidden_cells() -> list[CellInfo]:
    """The declarations that `KCELLS_PLUGINS` rules out."""
    return sorted(_visible_and_hidden(())[1])


def describe(name: str) -> CellInfo:
    """Tells what is known of one cell, from metadata alone.

    Args:
        name: an id (`"lstm"`) or a qualified id (`"kcells:lstm"`).

    Raises:
        UnknownCellError: if no visible distribution declares it.
        AmbiguousCellError: if more than one does.

    Examples:

    >>> import kcells
    >>> kcells.describe("lstm").qualified_id
    'kcells:lstm'
    """
    return _resolved(name, _session_classes())


def _resolved(name: str, session: Iterable[CellInfo]) -> CellInfo:
    if not isinstance(name, str):
        raise UnknownCellError(f"a cell's name is a string; received {name!r}.")
    return names.resolve(name, *_visible_and_hidden(session))


def load(name: str) -> type[Any]:
    """The class of the cell `name`; its plugin is imported now, if it was not before.

    Raises:
        UnknownCellError, AmbiguousCellError: see `describe`.
        PluginLoadError: if the plugin does not load.
    """
    # One look: the name and the class have to come from the same.
    session = _session_classes()
    info = _resolved(name, session)
    return session[info] if info in session else loading.load(info)


def register(name: str, cls: type[Any] | None = None) -> Any:
    """Gives a cell class a name in this process, for notebooks and tests.

    Registering the name again replaces the class, so that a notebook cell can be run
    twice. For a name that lasts, publish a plugin.

    Args:
        name: the id; letters, digits, `_` and `-`.
        cls: the class; left out, `register` is a decorator.

    Returns:
        The class.

    Raises:
        RegistrationError: if the name is no identifier, is taken by an installed
            distribution, or if `cls` is no cell class.

    Examples:

    >>> import keras, kcells
    >>> @kcells.register("my_gru")
    ... class MyGRUCell(keras.layers.GRUCell):
    ...     pass
    >>> kcells.cell("my_gru", 8).units
    8
    >>> kcells.unregister("my_gru")
    """
    if cls is None:
        return _decorator(name)
    if not isinstance(name, str) or not name.replace("_", "a").replace("-", "a").isalnum():
        raise RegistrationError(
            f"{name!r} cannot be a cell's name: use letters, digits, _ and - only."
        )
    reason = loading.check_cell_class(cls)
    if reason is not None:
        raise RegistrationError(f'cannot register {cls!r} as "{name}": {reason}.')
    taken = [info for info in trust.split_by_trust(metadata.declared_cells())[0] if info.id == name]
    if taken:
        raise RegistrationError(
            f'cannot register {cls.__name__} as "{name}": {taken[0].source} declares this name.\n'
            "  Choose another name."
        )
    with _lock:
        _session[name] = cls
    return cls


def _decorator(name: str) -> Callable[[type[Any]], type[Any]]:
    def decorate(cls: type[Any]) -> type[Any]:
        register(name, cls)
        return cls

    return decorate


def unregister(name: str) -> None:
    """Takes back `register`.

    Raises:
        UnknownCellError: if the name was not registered in this process.

    Examples:

    >>> import keras, kcells
    >>> _ = kcells.register("my_cell", keras.layers.GRUCell)
    >>> kcells.unregister("my_cell")
    """
    with _lock:
        if name not in _session:
            known = ", ".join(f'"{key}"' for key in sorted(_session)) or "none"
            raise UnknownCellError(
                f'no cell "{name}" was registered in this process. Registered: {known}.'
            )
        del _session[name]


def refresh() -> None:
    """Reads the metadata again at the next look-up, and retries plugins that failed."""
    metadata.refresh()
    loading.forget_failures()
