"""The options of a recurrent layer: their names, defaults and checks, in one place."""

from __future__ import annotations

import dataclasses
from numbers import Integral
from typing import Any, Literal, TypeAlias, get_args

from kcells.cells.numbers import plain_numbers
from kcells.errors import ArgumentError

__all__ = ["Choice", "Compile", "Dispatch", "Options"]

Dispatch: TypeAlias = Literal["auto", "never", "require"]
Choice: TypeAlias = Literal["auto", "never"]
Compile: TypeAlias = Literal["auto", "always", "never"]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a `kcells.RNN`, which documents what each means.

    The first six are those of `keras.layers.RNN`; the others say how a layer runs.

    Raises:
        ArgumentError: for a value that an option cannot have.
    """

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    zero_output_for_mask: bool = False
    dispatch: Dispatch = "never"
    compile: Compile = "auto"
    parallel: Choice = "auto"
    checkpoint: bool | int = False
    tbptt: int | None = None
    return_all_states: bool = False
    train_initial_state: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("dispatch", Dispatch), ("compile", Compile), ("parallel", Choice)):
            *most, last = (f'"{choice}"' for choice in get_args(kind))
            if getattr(self, name) not in get_args(kind):
                raise ArgumentError(
                    f"{name} must be {', '.join(most)} or {last}; received {getattr(self, name)!r}."
                )
        self._check_checkpoint()
        if self.tbptt is not None and not _is_count(self.tbptt):
            raise ArgumentError(
                f"tbptt must be a positive int, the number of steps that a gradient goes back, or"
                f" None; received {self.tbptt!r}."
            )

    def _check_checkpoint(self) -> None:
        if not isinstance(self.checkpoint, bool) and not _is_count(self.checkpoint):
            raise ArgumentError(
                f"checkpoint must be a bool or a positive int, the number of steps in a block;"
                f" received {self.checkpoint!r}."
            )
        if self.checkpoint and self.unroll:
            raise ArgumentError(
                "checkpoint saves memory for long sequences, and unroll=True writes out short"
                " ones.\n  Leave one of them out."
            )

    @classmethod
    def given(cls, options: dict[str, Any]) -> Options:
        """Options by name, with Python's numbers in place of NumPy's."""
        convert = dict.fromkeys(_FLAGS, bool) | dict.fromkeys(
            ("checkpoint", "tbptt"), plain_numbers
        )
        values: dict[str, Any] = {
            name: convert[name](value) if name in convert else value
            for name, value in options.items()
        }
        return cls(**values)

    @classmethod
    def of(cls, layer: Any) -> Options:
        """Those of a layer as they are now: Keras' users set them as attributes."""
        return cls(*(getattr(layer, name) for name in _NAMES))

    @property
    def wants_states(self) -> bool:
        """Whether anybody will look at the final states."""
        return self.return_state or self.stateful

    def policies(self, **defaults: Any) -> dict[str, Any]:
        """The options that Keras does not know and that are not the default."""
        usual = {**dataclasses.asdict(Options()), **defaults}
        found = {name: getattr(self, name) for name in _NAMES[_OF_KERAS:]}
        return {name: value for name, value in found.items() if value != usual[name]}


_NAMES = tuple(field.name for field in dataclasses.fields(Options))
_OF_KERAS = _NAMES.index("dispatch")
_FLAGS = frozenset(field.name for field in dataclasses.fields(Options) if field.type == "bool")


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
