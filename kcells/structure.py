"""Structures: nests of lists, tuples, named tuples and dicts, and the shapes in them.

Keras and TensorFlow hand out their own list and dict classes (tracked attributes,
`ListWrapper`), and `keras.tree` treats those as other node types than the plain
ones. It also sorts the keys of dicts, but on PyTorch only those of the outermost one. So
everything that comes from outside is first rebuilt from plain containers
with sorted keys (`plain`, `conform`); after that `keras.tree` can be used freely.

A leaf is named the way a reader would write it: `inputs["pen"]["xy"]`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from kcells.errors import StructureError, table

__all__ = [
    "Size",
    "agree",
    "child",
    "conform",
    "known_shape",
    "leaves_with_paths",
    "map_leaves",
    "outline",
    "plain",
    "same_shape",
    "shape_leaves",
    "size_structure",
]


@dataclasses.dataclass(frozen=True)
class Size:
    """The shape of one state or output of one sample: no batch and no time axis.

    It is a leaf for every tree library, which a plain tuple would not be.
    """

    dims: tuple[int, ...]

    def batched(self, batch: Any) -> tuple[Any, ...]:
        """The shape with a batch axis in front."""
        return (batch, *self.dims)


def known_shape(tensor: Any) -> tuple[int | None, ...]:
    """The shape of `tensor`, None for every size that is not known as a number.

    That is None of Keras and TensorFlow, and what stands for a size while something is
    traced: the symbols of `torch.export` and `jax.export`, the tensors of TorchScript.
    Two of these may stand for one number, and asking whether they do may fix both.

    >>> known_shape(keras.KerasTensor((None, 5, 3)))
    (None, 5, 3)
    """
    return tuple(size if isinstance(size, int) else None for size in tensor.shape)


def same_shape(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes have one rank, and no size that is known to differ.

    >>> same_shape((None, 3), (2, 3)), same_shape((1, 3), (2, 3))
    (True, False)
    """
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def child(path: str, key: object) -> str:
    """The name of an entry of the container named `path`.

    >>> child(child("inputs", "pen"), 0)
    'inputs["pen"][0]'
    """
    return f'{path}["{key}"]' if isinstance(key, str) else f"{path}[{key!r}]"


def _is_named_tuple(value: object) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _rebuild(template: Any, values: Sequence[Any]) -> Any:
    """A plain container of the same kind as `template`, holding `values`."""
    if isinstance(template, Mapping):
        return dict(zip(_sorted_keys(template), values, strict=True))
    if _is_named_tuple(template):
        return type(template)(*values)
    return tuple(values) if isinstance(template, tuple) else list(values)


def _entries(value: Any) -> list[tuple[object, Any]] | None:
    """Keys and members of a container; None for a leaf."""
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in _sorted_keys(value)]
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return None


def _sorted_keys(mapping: Mapping[Any, Any]) -> list[Any]:
    return sorted(mapping, key=lambda key: (type(key).__name__, key))


def plain(structure: Any) -> Any:
    """`structure` rebuilt from plain containers, its leaves as they are."""
    return map_leaves(lambda leaf, path: leaf, structure)


def map_leaves(function: Callable[[Any, str], Any], structure: Any, root: str = "") -> Any:
    """Applies `function(leaf, path)` to every leaf; containers come back plain."""
    entries = _entries(structure)
    if entries is None:
        return function(structure, root)
    return _rebuild(
        structure,
        [map_leaves(function, member, child(root, key)) for key, member in entries],
    )


def leaves_with_paths(structure: Any, root: str) -> Iterator[tuple[str, Any]]:
    """Every leaf with its name, dicts in the order of their keys."""
    entries = _entries(structure)
    if entries is None:
        yield root, structure
        return
    for key, member in entries:
        yield from leaves_with_paths(member, child(root, key))


def outline(structure: Any) -> str:
    """A one-line description: containers as they are, leaves by their shapes.

    >>> outline({"xy": Size((2,)), "force": [Size(())]})
    '{"force": [()], "xy": (2,)}'
    """
    entries = _entries(structure)
    if entries is None:
        if isinstance(structure, Size):
            return str(structure.dims)
        shape = getattr(structure, "shape", None)
        return type(structure).__name__ if shape is None else str(tuple(shape))
    inner = [outline(member) for _, member in entries]
    if isinstance(structure, Mapping):
        pairs = zip(_sorted_keys(structure), inner, strict=True)
        return "{" + ", ".join(f'"{key}": {text}' for key, text in pairs) + "}"
    if _is_named_tuple(structure):
        pairs = zip(structure._fields, inner, strict=True)
        return type(structure).__name__ + "(" + ", ".join(f"{k}={t}" for k, t in pairs) + ")"
    if isinstance(structure, tuple):
        return "(" + ", ".join(inner) + ("," if len(inner) == 1 else "") + ")"
    return "[" + ", ".join(inner) + "]"


def conform(value: Any, template: Any, root: str, who: str) -> Any:
    """`value` in the containers of `template`.

    Lists and tuples may stand for each other (cells return `(h, c)` for a
    `state_size` of `[units, units]`); keys and lengths must agree.

    Args:
        value: the structure that was given.
        template: the structure that is needed; its leaves are not looked at.
        root: the name of `value` in messages.
        who: who needs it, for the message.

    Raises:
        StructureError: naming the first container that differs.
    """

    def mismatch(path: str, given: Any, wanted: Any) -> StructureError:
        return StructureError(
            f"{who}: {path} has another structure than it should have.\n"
            f"  needed:   {outline(template)}\n"
            f"  received: {outline(value)}\n"
            f"  At {path}: needed {_kind(wanted)}, received {_kind(given)}.\n"
            f"  Pass {root} in the needed structure (lists and tuples may stand for each other)."
        )

    def walk(given: Any, wanted: Any, path: str) -> Any:
        entries = _entries(wanted)
        if entries is None:
            if _entries(given) is not None:
                raise mismatch(path, given, wanted)
            return given
        if isinstance(wanted, Mapping):
            if not isinstance(given, Mapping) or set(given) != set(wanted):
                raise mismatch(path, given, wanted)
        elif not isinstance(given, (list, tuple)) or len(given) != len(wanted):
            raise mismatch(path, given, wanted)
        return _rebuild(
            wanted, [walk(given[key], member, child(path, key)) for key, member in entries]
        )

    return walk(value, template, root)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dict with the keys " + ", ".join(f'"{key}"' for key in _sorted_keys(value))
    if isinstance(value, (list, tuple)):
        return f"a {'tuple' if isinstance(value, tuple) else 'list'} of {len(value)}"
    return "a single tensor"


def _is_tensor_shape(value: Any) -> bool:
    # tf.TensorShape, recognised without importing TensorFlow.
    return hasattr(value, "as_list") and hasattr(value, "rank")


def _is_dim(value: Any) -> bool:
    # NumPy's integers too, and no kind of bool.
    return hasattr(value, "__index__") and "bool" not in type(value).__name__


def size_structure(declared: Any, root: str, who: str) -> Any:
    """Reads a `state_size` or an `output_size`.

    An int is a shape of one axis. A list, a dict and a named tuple are structures.
    A plain tuple of ints is a shape inside a structure, and at the top level one
    size per int, as in Keras. A `tf.TensorShape` is always a shape.

    Returns:
        The same structure of plain containers with `Size` leaves.

    Raises:
        StructureError: where a leaf is no shape, or a size is not known.

    Examples:

    >>> size_structure([10, (20, 30)], "state_size", "ExampleCell")
    [Size(dims=(10,)), Size(dims=(20, 30))]
    >>> size_structure((10, 20), "state_size", "ExampleCell")
    (Size(dims=(10,)), Size(dims=(20,)))
    """

    def fail(path: str, value: Any) -> StructureError:
        return StructureError(
            f"{who}: {root} is not a structure of shapes.\n"
            f"  {path} is {value!r}.\n"
            "  A shape is a positive int, a tuple of these inside a list or dict, or a"
            " tf.TensorShape; every size must be known."
        )

    def size(dims: Sequence[Any], path: str, value: Any) -> Size:
        if not all(_is_dim(dim) and dim >= 0 for dim in dims):
            raise fail(path, value)
        return Size(tuple(int(dim) for dim in dims))

    def walk(value: Any, path: str, top: bool) -> Any:
        if isinstance(value, Size):
            return value
        if _is_dim(value):
            return size((int(value),), path, value)
        if _is_tensor_shape(value):
            return size(value.as_list() if value.rank is not None else (None,), path, value)
        is_shape = isinstance(value, tuple) and not _is_named_tuple(value) and not top
        if is_shape and all(_is_dim(dim) or dim is None for dim in value):
            return size(value, path, value)
        entries = _entries(value)
        if entries is None:
            raise fail(path, value)
        return _rebuild(value, [walk(member, child(path, key), False) for key, member in entries])

    return walk(declared, root, True)


def agree(shapes: Any, root: str, who: str) -> tuple[int | None, int | None]:
    """Checks that all leaves are `(batch, time, ...)` with one batch and one time.

    Args:
        shapes: a structure whose leaves have a `shape` attribute.
        root: the name of the structure in messages.
        who: the layer, for messages.

    Returns:
        The static batch size and the static length; None where it is not known.

    Raises:
        StructureError: naming the leaves that disagree, with their shapes.
    """
    named = [
        (path, known_shape(leaf) if hasattr(leaf, "shape") else None)
        for path, leaf in leaves_with_paths(shapes, root)
    ]
    if not named:
        raise StructureError(f"{who}: {root} holds no tensor. Pass at least one sequence.")
    for path, shape in named:
        if shape is None or len(shape) < 2:
            raise StructureError(
                f"{who}: {path} must have the axes (batch, time, ...);"
                f" its shape is {shape if shape is not None else 'not known'}."
            )
    return _agree_on(named, 0, "batch", who), _agree_on(named, 1, "time", who)


_REMEDY = {
    "batch": "Every leaf needs one entry for each sample of the batch.",
    "time": "Pad or cut them to one length, and pass mask= for the padded steps.",
}


def _agree_on(named: Sequence[tuple[str, Any]], axis: int, axis_name: str, who: str) -> int | None:
    known = {shape[axis] for _, shape in named if shape[axis] is not None}
    if len(known) > 1:
        rows = [(path, shape, f"{axis_name} {shape[axis]}") for path, shape in named]
        raise StructureError(
            f"{who}: input leaves disagree on {axis_name}.\n{table(rows)}\n  {_REMEDY[axis_name]}"
        )
    return known.pop() if known else None


def shape_leaves(shapes: Any) -> Any:
    """Turns a structure of shape tuples into one of `keras.KerasTensor`.

    A list or tuple that holds nothing but ints and None is a shape here: shapes that
    went through JSON come back as lists.
    """

    def is_shape(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and all(
            dim is None or _is_dim(dim) for dim in value
        )

    def walk(value: Any) -> Any:
        if is_shape(value):
            return keras.KerasTensor(tuple(value))
        entries = _entries(value)
        if entries is None:
            raise StructureError(f"Expected a structure of shapes, received {value!r}.")
        return _rebuild(value, [walk(member) for _, member in entries])

    return walk(shapes)
