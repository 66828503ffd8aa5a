"""One cell in several layers: a file says so, and a model that is loaded has one cell again.

While a model is saved, Keras marks what it meets for the second time by a `shared_object_id`, and
with it the first time. But the configuration of a cell has been copied by then, so that its first
mark is lost: two cells would be made of one, with weights in the file for one of them. What has
several owners here is therefore marked from the first time on.

Marks are for files alone. Layers are copied by way of a configuration, as `Bidirectional` does,
also while a model is loaded: Keras marks them then too, and the copies would share. It does not
say publicly whether it saves or loads. But during either it keeps one object for each
`shared_object_id`: so a `Trip` can be asked for, the same from the start to the end, and layers
are made on the way back alone.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import keras

__all__ = ["Owners", "Trip", "marked", "owners_of", "trip"]


@keras.saving.register_keras_serializable(package="kcells")
class Trip:
    """A model on its way into a file, or out of one.

    Attributes:
        is_back: whether layers have been made.
        marks: by the ids of shared cells.
        noted: what has been said once and need not be said again.
    """

    def __init__(self) -> None:
        self.is_back = False
        self.marks: dict[int, str] = {}
        self.noted: set[Any] = set()

    def get_config(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Trip:
        """A new one."""
        return cls()


_ONE_FOR_ALL = {
    "module": __name__,
    "class_name": "Trip",
    "registered_name": "kcells>Trip",
    "config": {},
    "shared_object_id": "kcells>Trip",
}


def trip() -> Trip | None:
    """The trip that is going on; None if a configuration is asked for otherwise."""
    found, again = map(keras.saving.deserialize_keras_object, (_ONE_FOR_ALL, _ONE_FOR_ALL))
    return found if found is again else None


class Owners:
    """The layers and stacks that have one cell; it lives as long as one of them does."""

    def __init__(self) -> None:
        self._layers: list[weakref.ref[Any]] = []

    def add(self, layer: keras.layers.Layer) -> None:
        """Adds one, which may be there already."""
        self._layers = [
            *(known for known in self._layers if known() is not None),
            weakref.ref(layer),
        ]

    @property
    def are_several(self) -> bool:
        """Whether there is more than one, as far as Python has not collected them."""
        return len({id(layer) for known in self._layers if (layer := known()) is not None}) > 1


_lock = threading.Lock()
_owners: weakref.WeakValueDictionary[int, Owners] = weakref.WeakValueDictionary()


def owners_of(cell: Any, new: keras.layers.Layer) -> Owners:
    """The owners of `cell`, of which `new` is one; to be kept by it, beside the cell."""
    if (going := trip()) is not None:
        going.is_back = True
    with _lock:
        # By its id: a cell need not be hashable. No other can have it while the owners live.
        owners = _owners.setdefault(id(cell), Owners())
        owners.add(new)
    return owners


def marked(cell: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a cell, with the mark that it needs in a file, and without one else."""
    going = trip()
    if going is None:
        return config
    if going.is_back:
        return {key: value for key, value in config.items() if key != "shared_object_id"}
    owners = _owners.get(id(cell))
    if owners is None or not owners.are_several:
        return config
    # No number: that could be the one by which Keras calls something else.
    mark = going.marks.setdefault(id(cell), f"kcells cell {len(going.marks) + 1}")
    return {**config, "shared_object_id": mark}
