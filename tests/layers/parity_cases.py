"""What kcells and Keras 2 are compared on, as plain data.

Read by two processes: the one that runs Keras 2 (`parity_reference.py`, a script) and the
one that runs kcells (`test_tf_keras_parity.py`). So nothing here imports a framework.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

BATCH, TIME = 5, 4

ROWS_OF_MASKS = np.array(
    [
        [1, 1, 1, 1],
        [1, 1, 0, 0],  # padded on the right
        [0, 1, 1, 1],  # padded on the left
        [0, 1, 0, 1],  # holes, the first step too
        [0, 0, 0, 0],  # nothing counts
    ],
    dtype=bool,
)


@dataclasses.dataclass(frozen=True)
class Size:
    """The shape of one leaf, without batch and time."""

    dims: tuple[int, ...]


class Pen(NamedTuple):
    """Inputs in a named tuple."""

    xy: Any
    force: Any


def size(*dims: int) -> Size:
    return Size(dims)


def members(structure: Any) -> list[Any] | None:
    """What is in a container, dicts in the order of their keys; None for a leaf."""
    if isinstance(structure, Mapping):
        return [structure[key] for key in sorted(structure)]
    if isinstance(structure, (list, tuple)):
        return list(structure)
    return None


def flatten(structure: Any) -> list[Any]:
    """All leaves; None stands for nothing at all."""
    if structure is None:
        return []
    inner = members(structure)
    if inner is None:
        return [structure]
    return [leaf for member in inner for leaf in flatten(member)]


def rebuild(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same containers with `function(leaf)` for each leaf."""
    inner = members(structure)
    if structure is None or inner is None:
        return None if structure is None else function(structure)
    values = [rebuild(function, member) for member in inner]
    if isinstance(structure, Mapping):
        return dict(zip(sorted(structure), values, strict=True))
    if hasattr(structure, "_fields"):
        return type(structure)(*values)
    return tuple(values) if isinstance(structure, tuple) else values


def pack(structure: Any, leaves: list[Any]) -> Any:
    """`leaves` in the containers of `structure`, in the order of `flatten`."""
    queue = iter(leaves)
    return rebuild(lambda _: next(queue), structure)


def total(structure: Any) -> int:
    """How many numbers there are in all leaves of one sample."""
    return sum(int(np.prod(leaf.dims)) for leaf in flatten(structure))


@dataclasses.dataclass(frozen=True)
class CellSpec:
    """A cell: `kind` is a built-in's name, "structured" or "stack"."""

    kind: str
    units: int = 0
    inputs: Any = None
    states: Any = None
    outputs: Any = None
    constants: Any = None
    starts_with: float = 0.0
    declares_outputs: bool = True
    cells: tuple[CellSpec, ...] = ()

    @property
    def key(self) -> str:
        """What stands for the cell in a configuration; see `CELLS`."""
        return repr(self)


CELLS: dict[str, CellSpec] = {}
"""Every structured cell by its key: a configuration holds plain values only."""


def structured(inputs: Any, states: Any, outputs: Any, **more: Any) -> CellSpec:
    spec = CellSpec("structured", inputs=inputs, states=states, outputs=outputs, **more)
    return CELLS.setdefault(spec.key, spec)


def stack(*cells: CellSpec) -> CellSpec:
    return CellSpec("stack", cells=cells)


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer and what it is called with.

    Attributes:
        cell: the cell.
        inputs: the structure of the inputs.
        options: of the RNN layer.
        masked: whether `ROWS_OF_MASKS` is passed.
        states: the structure of the initial state to pass; None for none.
        constants: the structure of the constants to pass; None for none.
        merge_mode: makes the layer bidirectional, unless it is "".
        backward_cell: the cell of a backward layer of its own.
        calls: what happens to the layer, one after the other: "call", "reset",
            "reset to ones".
    """

    cell: CellSpec
    inputs: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    masked: bool = False
    states: Any = None
    constants: Any = None
    merge_mode: str | None = ""
    backward_cell: CellSpec | None = None
    calls: tuple[str, ...] = ("call",)

    @property
    def bidirectional(self) -> bool:
        return self.merge_mode != ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """What kcells runs, and what Keras 2 runs to give the same numbers.

    Attributes:
        ours: for kcells.
        theirs: for Keras 2; another case than `ours` only where Keras 2 cannot do it.
        reason: why not.
    """

    ours: Case
    theirs: Case
    reason: str = ""


TWO_LAYERS = ("two layers",)
"""Instead of `calls`: a forward and a backward layer, merged leaf by leaf."""


def random_numbers(name: str) -> np.random.Generator:
    """Numbers that depend on the case alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


PAIRS: dict[str, Pair] = {}


def both(name: str, case: Case) -> None:
    PAIRS[name] = Pair(case, case)


def instead(name: str, reason: str, ours: Case, **changes: Any) -> None:
    PAIRS[name] = Pair(ours, dataclasses.replace(ours, **changes), reason)


def _name(prefix: str, *flags: tuple[str, Any]) -> str:
    return "-".join([prefix, *(word for word, holds in flags if holds)])


VECTOR, TUPLE = size(3), (size(3), size(2, 2))
DICT = {"pen": size(3), "frame": size(2, 2)}
DEEP = {"a": (size(2), {"b": size(3)}), "c": [size(2, 2)]}
STATES = [size(4), size(2, 3)]
EVERYTHING = {"return_sequences": True, "return_state": True}

SINGLE_OUTPUT = structured(TUPLE, STATES, size(6))
NESTED_OUTPUT = structured(TUPLE, STATES, (size(6), size(3, 2)))

# -- The options with each other, for structures all the way through. In Keras 2 the loop
#    that is written out knows one output only.

for masked, zero, unroll, backwards, sequences in itertools.product([False, True], repeat=5):
    # The last output alone: once for each kind of mask, in either direction.
    if (zero and not masked) or (not sequences and unroll != backwards):
        continue
    options = {
        "return_sequences": sequences,
        "return_state": True,
        "go_backwards": backwards,
        "zero_output_for_mask": zero,
        "unroll": unroll,
    }
    name = _name(
        "options",
        ("masked", masked),
        ("zero", zero),
        ("unroll", unroll),
        ("backwards", backwards),
        ("sequences", sequences),
    )
    case = Case(SINGLE_OUTPUT, TUPLE, options, masked)
    if zero and unroll and not sequences:
        instead(
            name,
            "the last output of a loop that is written out is masked with the masks of all steps",
            case,
            options={**options, "unroll": False},
        )
    elif zero and unroll and backwards:
        instead(
            name,
            "outputs that come backwards are made zero by a mask that runs forwards",
            case,
            options={**options, "unroll": False},
        )
    else:
        both(name, case)

for unroll, backwards in itertools.product([False, True], repeat=2):
    options = {**EVERYTHING, "go_backwards": backwards, "unroll": unroll}
    name = _name("nested-outputs", ("unroll", unroll), ("backwards", backwards))
    case = Case(NESTED_OUTPUT, TUPLE, options, True)
    if unroll:
        instead(
            name,
            "a loop that is written out masks and stacks the outputs as if they were one tensor",
            case,
            options={**options, "unroll": False},
        )
    else:
        both(name, case)

# -- Containers.

both("dict-inputs", Case(structured(DICT, STATES, size(6)), DICT, EVERYTHING, True))
both("deep-inputs", Case(structured(DEEP, STATES, size(6)), DEEP, EVERYTHING, True))
PEN = Pen(size(2), size(1))
both("named-tuple-inputs", Case(structured(PEN, STATES, size(6)), PEN, EVERYTHING, True))
instead(
    "list-inputs",
    "a list means the inputs and then the initial states",
    Case(structured(list(TUPLE), STATES, size(6)), list(TUPLE), EVERYTHING, True),
    cell=SINGLE_OUTPUT,
    inputs=TUPLE,
)
instead(
    "inputs-without-features",
    "inputs need at least three axes",
    Case(structured((VECTOR, size()), STATES, size(6)), (VECTOR, size()), EVERYTHING, True),
    cell=structured((VECTOR, size(1)), STATES, size(6)),
    inputs=(VECTOR, size(1)),
)
instead(
    "dict-inputs-unroll",
    "a loop that is written out looks up steps in the keys",
    Case(structured(DICT, STATES, size(6)), DICT, {**EVERYTHING, "unroll": True}, True),
    options=EVERYTHING,
)
both(
    "dict-outputs",
    Case(structured(VECTOR, STATES, {"y": size(2), "x": size(3, 2)}), VECTOR, EVERYTHING, True),
)
both(
    "list-outputs",
    Case(structured(VECTOR, STATES, [size(2), size(3, 2)]), VECTOR, EVERYTHING, True),
)
both(
    "deep-outputs",
    Case(structured(TUPLE, STATES, {"y": (size(2), [size(3)])}), TUPLE, EVERYTHING, True),
)
both(
    "outputs-not-declared",
    Case(structured(TUPLE, STATES, size(7), declares_outputs=False), TUPLE, EVERYTHING, True),
)
both("matrix-output", Case(structured(TUPLE, STATES, size(3, 2)), TUPLE, EVERYTHING, True))
both("one-state", Case(structured(TUPLE, size(4), size(6)), TUPLE, EVERYTHING, True))
both("one-matrix-state", Case(structured(TUPLE, size(4, 2), size(6)), TUPLE, EVERYTHING, True))
both("list-of-one-state", Case(structured(TUPLE, [size(4)], size(6)), TUPLE, EVERYTHING, True))
both("tuple-of-states", Case(structured(TUPLE, tuple(STATES), size(6)), TUPLE, EVERYTHING, True))
both(
    "deep-states",
    Case(structured(TUPLE, [[size(4), size(2, 3)], size(5)], size(6)), TUPLE, EVERYTHING, True),
)
instead(
    "dict-states",
    "the initial state is made a list, which leaves the keys of a dict",
    Case(
        structured(TUPLE, {"fast": size(4), "slow": size(2, 3)}, size(6)), TUPLE, EVERYTHING, True
    ),
    cell=SINGLE_OUTPUT,
)
both("scalar-state", Case(structured(TUPLE, [size(4), size()], size(6)), TUPLE, EVERYTHING))
instead(
    "scalar-state-masked",
    "a mask of shape (batch, 1) and a state of shape (batch,) broadcast to (batch, batch)",
    Case(structured(TUPLE, [size(4), size()], size(6)), TUPLE, EVERYTHING, True),
    cell=structured(TUPLE, [size(4), size(1)], size(6)),
)

# -- Initial states and constants.

for unroll, backwards in itertools.product([False, True], repeat=2):
    options = {**EVERYTHING, "unroll": unroll, "go_backwards": backwards}
    name = _name("initial-state", ("unroll", unroll), ("backwards", backwards))
    both(name, Case(SINGLE_OUTPUT, TUPLE, options, True, STATES))
both(
    "initial-deep-states",
    Case(
        structured(TUPLE, [[size(4), size(2, 3)], size(5)], size(6)),
        TUPLE,
        EVERYTHING,
        True,
        [[size(4), size(2, 3)], size(5)],
    ),
)
both("initial-one-state", Case(structured(TUPLE, size(4), size(6)), TUPLE, {}, True, [size(4)]))
both("own-initial-state", Case(structured(TUPLE, STATES, size(6), starts_with=0.7), TUPLE))

CONSTANTS = [size(2), size(3, 2)]
WITH_CONSTANTS = structured(TUPLE, STATES, size(6), constants=CONSTANTS)
for masked, unroll in itertools.product([False, True], repeat=2):
    name = _name("constants", ("masked", masked), ("unroll", unroll))
    options = {**EVERYTHING, "unroll": unroll}
    both(name, Case(WITH_CONSTANTS, TUPLE, options, masked, constants=CONSTANTS))
both(
    "constants-and-initial-state",
    Case(WITH_CONSTANTS, TUPLE, EVERYTHING, True, STATES, CONSTANTS),
)
DICT_OF_CONSTANTS = {"bias": size(2), "matrix": size(3, 2)}
instead(
    "dict-of-constants",
    "constants are added to a list",
    Case(
        structured(TUPLE, STATES, size(6), constants=DICT_OF_CONSTANTS),
        TUPLE,
        EVERYTHING,
        True,
        constants=DICT_OF_CONSTANTS,
    ),
    cell=WITH_CONSTANTS,
    constants=CONSTANTS,
)

# -- Stateful layers.

THREE_AND_RESET = ("call", "call", "call", "reset", "call")
STATEFUL = {**EVERYTHING, "stateful": True}
both("stateful", Case(SINGLE_OUTPUT, TUPLE, STATEFUL, True, calls=THREE_AND_RESET))
both(
    "stateful-backwards-unroll",
    Case(
        SINGLE_OUTPUT,
        TUPLE,
        {**STATEFUL, "go_backwards": True, "unroll": True},
        True,
        calls=THREE_AND_RESET,
    ),
)
both(
    "stateful-reset-to-states",
    Case(SINGLE_OUTPUT, TUPLE, STATEFUL, calls=("call", "reset to ones", "call")),
)
instead(
    "stateful-own-initial-state",
    "reset_states() gives zeros, whatever the cell starts with",
    Case(
        structured(TUPLE, STATES, size(6), starts_with=1.0),
        TUPLE,
        STATEFUL,
        calls=("call", "reset", "call"),
    ),
    calls=("call", "reset to ones", "call"),
)
instead(
    "stateful-initial-state",
    "the memory goes before an explicit initial state, once it is not zero",
    Case(SINGLE_OUTPUT, TUPLE, STATEFUL, True, STATES, calls=("call", "call")),
    calls=("call", "reset", "call"),
)

# -- Built-in cells and stacks.

for kind in ("lstm", "gru", "simple_rnn"):
    both(kind, Case(CellSpec(kind, 4), VECTOR, EVERYTHING, True))
STACK = stack(CellSpec("lstm", 4), CellSpec("gru", 3), CellSpec("lstm", 2))
NESTED_STACK = stack(
    NESTED_OUTPUT, structured((size(6), size(3, 2)), [size(2), size(2, 2)], (size(3), size(2)))
)
LSTMS = [[size(4), size(4)], size(3), [size(2), size(2)]]
for masked, unroll in itertools.product([False, True], repeat=2):
    name = _name("stack", ("masked", masked), ("unroll", unroll))
    both(name, Case(STACK, VECTOR, {**EVERYTHING, "unroll": unroll}, masked))
both("stack-last-output", Case(STACK, VECTOR, {"zero_output_for_mask": True}, True))
both("stack-initial-state", Case(STACK, VECTOR, EVERYTHING, True, LSTMS))
both("stack-stateful", Case(STACK, VECTOR, STATEFUL, True, calls=THREE_AND_RESET))
both("stack-of-nested-cells", Case(NESTED_STACK, TUPLE, EVERYTHING, True))
both(
    "stack-of-nested-cells-stateful",
    Case(NESTED_STACK, TUPLE, {**STATEFUL, "go_backwards": True}, True, calls=THREE_AND_RESET),
)
both(
    "stack-in-a-stack",
    Case(stack(stack(CellSpec("lstm", 4), CellSpec("gru", 3)), CellSpec("lstm", 2)), VECTOR),
)
both(
    "stack-with-constants",
    Case(
        stack(WITH_CONSTANTS, CellSpec("gru", 3), structured(size(3), size(2), size(4))),
        TUPLE,
        EVERYTHING,
        True,
        constants=CONSTANTS,
    ),
)
A_DICT_BETWEEN = {"b": size(3, 2), "a": size(6)}
both(
    "stack-with-a-dict-between",
    Case(
        stack(
            structured(TUPLE, STATES, A_DICT_BETWEEN), structured(A_DICT_BETWEEN, size(2), size(3))
        ),
        TUPLE,
        EVERYTHING,
        True,
    ),
)

# -- Both directions. In Keras 2 the outputs are concatenated, added or reversed as if they
#    were one tensor; the reference is then two layers, merged leaf by leaf.

for mode, sequences in itertools.product(["concat", "sum", "ave", "mul", None], [False, True]):
    name = _name(f"both-{mode}", ("sequences", sequences))
    options = {"return_sequences": sequences, "return_state": sequences}
    both(name, Case(SINGLE_OUTPUT, TUPLE, options, sequences, merge_mode=mode))
both("both-masked", Case(SINGLE_OUTPUT, TUPLE, {}, True, merge_mode="concat"))
both(
    "both-sequences-without-mask",
    Case(SINGLE_OUTPUT, TUPLE, {"return_sequences": True}, merge_mode="concat"),
)
both(
    "both-lstm-initial-state",
    Case(
        CellSpec("lstm", 4),
        VECTOR,
        EVERYTHING,
        True,
        states=[size(4), size(4)] * 2,
        merge_mode="concat",
    ),
)
both(
    "both-initial-state",
    Case(SINGLE_OUTPUT, TUPLE, EVERYTHING, True, states=STATES * 2, merge_mode="ave"),
)
both(
    "both-constants",
    Case(WITH_CONSTANTS, TUPLE, EVERYTHING, True, constants=CONSTANTS, merge_mode="sum"),
)
both(
    "both-stateful",
    Case(SINGLE_OUTPUT, TUPLE, STATEFUL, True, merge_mode="concat", calls=THREE_AND_RESET),
)
both(
    "both-own-backward-layer",
    Case(
        CellSpec("lstm", 4),
        VECTOR,
        EVERYTHING,
        True,
        merge_mode="concat",
        backward_cell=CellSpec("gru", 2),
    ),
)
both("both-stack", Case(STACK, VECTOR, EVERYTHING, True, merge_mode="concat"))
both("both-nested-outputs-apart", Case(NESTED_OUTPUT, TUPLE, {}, True, merge_mode=None))
for mode in ("concat", "sum", "ave", "mul", None):
    instead(
        f"both-nested-outputs-{mode}",
        "the outputs are merged or reversed as if they were one tensor",
        Case(NESTED_OUTPUT, TUPLE, EVERYTHING, True, merge_mode=mode),
        calls=TWO_LAYERS,
    )
