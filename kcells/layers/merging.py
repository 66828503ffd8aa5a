"""How the outputs of both directions become one, leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from kcells.errors import ConfigurationError, StructureError
from kcells.structure import child, map_leaves, outline, plain
from kcells.types import Structure, Tensor

__all__ = ["MERGES", "check_merge_mode", "merged"]

MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda forward, backward: ops.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}


def check_merge_mode(merge_mode: Structure) -> None:
    """Raises `ConfigurationError` unless there is a known mode, or a structure of these."""

    def check(mode: Any, path: str) -> None:
        if mode is not None and mode not in MERGES:
            known = ", ".join(f'"{name}"' for name in MERGES)
            raise ConfigurationError(
                f"Bidirectional: {path} is {mode!r}. Choose one of {known}, None, or a structure"
                " of these like the outputs."
            )

    map_leaves(check, plain(merge_mode), "merge_mode")


def merged(
    mode: Structure, forward: Any, backward: Any, how: Any, path: str, who: str
) -> Structure:
    """Merges leaf by leaf; a mode for a container goes for all that is in it."""
    if isinstance(forward, (dict, list, tuple)):
        keys = list(forward) if isinstance(forward, dict) else range(len(forward))
        if isinstance(mode, (dict, list, tuple)):
            modes = dict(mode) if isinstance(mode, dict) else dict(enumerate(mode))
            if set(modes) != set(keys):
                raise StructureError(
                    f'Bidirectional (layer "{who}"): {path} does not fit the outputs.\n'
                    f"  outputs:    {outline(forward)}\n"
                    f"  merge_mode: {mode!r}"
                )
        else:
            modes = dict.fromkeys(keys, mode)
        leaves = [
            merged(modes[key], forward[key], backward[key], how, child(path, key), who)
            for key in keys
        ]
        if isinstance(forward, dict):
            return dict(zip(keys, leaves, strict=True))
        if hasattr(forward, "_fields"):
            return type(forward)(*leaves)
        return type(forward)(leaves)
    if isinstance(mode, (dict, list, tuple)):
        raise StructureError(
            f'Bidirectional (layer "{who}"): {path} is {mode!r}, and there is one tensor.'
        )
    return (forward, backward) if mode is None else how(mode, forward, backward)
