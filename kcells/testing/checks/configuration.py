"""A cell can be made again from what it says about itself."""

from __future__ import annotations

import json
from typing import Any

import keras
from keras import tree

from kcells.cells.signature import constructor_parameters
from kcells.structure import plain
from kcells.testing.law import ViolationError, law
from kcells.testing.models import functional
from kcells.testing.numbers import as_numpy, same
from kcells.testing.subject import Subject

__all__ = ["arguments", "clone", "config"]


@law("arguments", "Every argument of the constructor is in get_config.", of_class=True)
def arguments(subject: Subject) -> None:
    known = _config(subject)
    asked = constructor_parameters(subject.target.cell_class)
    if missing := [name for name in asked if name not in known]:
        raise ViolationError(
            f"get_config leaves out {', '.join(missing)}: a loaded cell has the default there",
            missing[0],
        )


@law("config", "from_config(get_config()) makes a cell that says and computes the same.")
def config(subject: Subject) -> None:
    before = _config(subject)
    _is_what_was_given(subject, before)
    try:
        json.dumps(keras.saving.serialize_keras_object(subject.layer().cell))
    except TypeError as error:
        raise ViolationError(f"get_config holds what JSON cannot: {error}", "get_config") from error
    cell = subject.target.cell_class.from_config(dict(before))
    after = plain(cell.get_config())
    for name in sorted(before.keys() | after.keys()):
        if _text(before.get(name)) != _text(after.get(name)):
            raise ViolationError(
                f"{name} is {before.get(name)!r} before and {after.get(name)!r} after", name
            )
    run = subject.run(subject.layer(cell), subject.inputs)
    same(run.outputs, subject.expected.outputs, "outputs", what="after from_config")


def _is_what_was_given(subject: Subject, config: dict[str, Any]) -> None:
    """An argument that was forgotten has its default, before as well as after."""
    parameters = constructor_parameters(subject.target.cell_class)
    for name, value in subject.case.arguments.items():
        default = parameters[name].default if name in parameters else value
        if not _is_plain(value) or name not in config:
            continue
        is_kept = _text(config[name]) == _text(value)
        # What is given in short may be written in full, but not as what it is not.
        if not is_kept and (_text(config[name]) == _text(default) or not isinstance(value, str)):
            raise ViolationError(
                f"{name}={value!r} was given, and is {config[name]!r} in the config", name
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


@law("clone", "keras.models.clone_model copies the cell.")
def clone(subject: Subject) -> None:
    subject.need_layer()
    model = functional(subject.layer(), subject.inputs)
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    outputs = copied(subject.inputs)
    same(as_numpy(outputs), subject.expected.outputs, "outputs", what="in a clone")


def _config(subject: Subject) -> dict[str, Any]:
    subject.need_layer()
    return plain(subject.layer().cell.get_config())  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    return str(tree.map_structure(str, plain(value)))
