"""kcells against Keras 2, which could do most of this and shares no code with kcells.

Outputs, states and the gradients of all weights, inputs, initial states and constants, in
float64. Keras 2 runs once a session in a process of its own (`parity_reference.py`) and
needs TensorFlow, whatever the backend of this process is. Where it cannot do something,
`parity_cases.py` says why and names a case that gives the same numbers.
"""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import kcells
from kcells.testing import Differentiated
from tests.layers.parity_cases import (
    BATCH,
    CELLS,
    PAIRS,
    ROWS_OF_MASKS,
    TIME,
    Case,
    CellSpec,
    Size,
    flatten,
    pack,
    rebuild,
    total,
)

REFUSED = [name for name, pair in PAIRS.items() if pair.reason]
# What is left in float64 is the order of additions.
TOLERANCE = 1e-10

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]

Reference = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def all_references(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What Keras 2 gives, for every case."""
    if any(importlib.util.find_spec(name) is None for name in ("tf_keras", "tensorflow")):
        pytest.skip("tf_keras or TensorFlow is not installed")
    path = tmp_path_factory.mktemp("parity") / "reference.npz"
    script = pathlib.Path(__file__).with_name("parity_reference.py")
    done = subprocess.run(
        [sys.executable, str(script), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def reference(all_references: Reference, name: str) -> Reference:
    """What Keras 2 gives for one case."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in all_references.items() if k.startswith(prefix)}


# -- The same cells in Keras 3


def shape_of(size: Size) -> Any:
    """A shape as it is written inside a structure."""
    if len(size.dims) == 1:
        return size.dims[0]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # As the Keras 2 guide writes it.
        return tf.TensorShape(size.dims)
    return size.dims


def sizes_of(structure: Any) -> Any:
    if isinstance(structure, Size) and len(structure.dims) != 1:
        # At the top level a tuple would mean one state for each int.
        return [structure.dims]
    return rebuild(shape_of, structure)


def rows(structure: Any) -> Any:
    """All leaves in one tensor, `(batch, numbers)`."""
    leaves = flatten(structure)
    return ops.concatenate([ops.reshape(leaf, (ops.shape(leaf)[0], -1)) for leaf in leaves], -1)


def cut(tensor: Any, structure: Any) -> Any:
    """The other way round: `(batch, numbers)` into the leaves of a structure of sizes."""
    leaves, start = [], 0
    for size in flatten(structure):
        stop = start + int(np.prod(size.dims))
        leaves.append(ops.reshape(tensor[:, start:stop], (ops.shape(tensor)[0], *size.dims)))
        start = stop
    return pack(structure, leaves)


@keras.saving.register_keras_serializable(package="parity")
class StructuredCell(keras.layers.Layer):
    """The cell of the same name in `parity_reference.py`, written for Keras 3."""

    def __init__(self, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.state_size = sizes_of(CELLS[key].states)
        if CELLS[key].declares_outputs:
            self.output_size = sizes_of(CELLS[key].outputs)

    @property
    def spec(self) -> CellSpec:
        return CELLS[self.key]

    def build(self, input_shape: Any) -> None:
        spec = self.spec
        state = total(spec.states)
        shapes = {
            "kernel": (total(spec.inputs), state),
            "recurrent_kernel": (state, state),
            "bias": (state,),
            "output_kernel": (state, total(spec.outputs)),
        }
        if spec.constants is not None:
            shapes["constant_kernel"] = (total(spec.constants), state)
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape, "zeros", name=name))

    def call(self, inputs: Any, states: Any, constants: Any = None) -> Any:
        old = rows(states)
        drive = ops.matmul(rows(inputs), self.kernel) + self.bias
        drive = drive + ops.matmul(old, self.recurrent_kernel)
        if constants is not None and self.spec.constants is not None:
            drive = drive + ops.matmul(rows(constants), self.constant_kernel)
        new = old + (ops.tanh(drive) - old) / 2
        outputs = ops.matmul(new, self.output_kernel)
        return cut(outputs, self.spec.outputs), cut(new, self.spec.states)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "key": self.key}


@keras.saving.register_keras_serializable(package="parity")
class StartingCell(StructuredCell):
    """A cell whose states do not start from zero."""

    def get_initial_state(self, batch_size: Any = None) -> Any:
        value = ops.convert_to_tensor(self.spec.starts_with, self.compute_dtype)
        return rebuild(lambda size: ops.full((batch_size, *size.dims), value), self.spec.states)


def make_cell(spec: CellSpec) -> Any:
    if spec.kind == "stack":
        return kcells.StackedCells([make_cell(cell) for cell in spec.cells])
    if spec.kind == "structured":
        return (StartingCell if spec.starts_with else StructuredCell)(spec.key)
    # The weights come from the reference; random ones would only take time.
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    return kcells.cell(spec.kind, spec.units, **zeros)


def make_layer(case: Case) -> Any:
    layer = kcells.RNN(make_cell(case.cell), **case.options)
    if not case.bidirectional:
        return layer
    backward = None
    if case.backward_cell is not None:
        backward = kcells.RNN(make_cell(case.backward_cell), go_backwards=True, **case.options)
    return kcells.Bidirectional(layer, merge_mode=case.merge_mode, backward_layer=backward)


# -- Running a case in kcells


class Ours:
    """A layer of kcells with the weights and the inputs of the reference."""

    def __init__(self, case: Case, reference: Reference) -> None:
        self.case = case
        self.reference = reference
        self.layer = make_layer(case)
        self.layer.build(rebuild(lambda size: (BATCH, TIME, *size.dims), case.inputs))
        self.layer.set_weights(self.group("weights"))

    def group(self, name: str) -> list[np.ndarray]:
        """The arrays `name/0`, `name/1`, ... of the reference."""
        count = sum(key.rpartition("/")[0] == name for key in self.reference)
        return [self.reference[f"{name}/{k}"] for k in range(count)]

    def call(self, leaves: list[Any]) -> list[Any]:
        structures = (self.case.inputs, self.case.states, self.case.constants)
        queue = iter(leaves)
        inputs, states, constants = (
            rebuild(lambda size: ops.reshape(*_like(next(queue), size)), s) for s in structures
        )
        arguments: dict[str, Any] = {}
        if states is not None:
            arguments["initial_state"] = states
        if constants is not None:
            arguments["constants"] = constants
        if self.case.masked:
            arguments["mask"] = ops.convert_to_tensor(ROWS_OF_MASKS)
        return flatten(self.layer(inputs, **arguments))

    def reset(self, what: str) -> None:
        if what == "reset":
            self.layer.reset_state()
        else:
            ones = keras.tree.map_structure(lambda v: np.ones(v.shape), self.layer.states)
            self.layer.reset_state(ones)


def _like(leaf: Any, size: Size) -> tuple[Any, tuple[int, ...]]:
    """`leaf` and the shape that it has in kcells; Keras 2 may need an axis more."""
    lead = leaf.shape[: len(leaf.shape) - len(size.dims)]
    if leaf.shape[len(leaf.shape) - 1] == 1 and size.dims == ():
        lead = leaf.shape[:-1]
    return leaf, (*lead, *size.dims)


def assert_same(ours: list[Any], theirs: list[Any], what: str) -> None:
    assert len(ours) == len(theirs), what
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.size == b.size, (what, k, a.shape, b.shape)
        assert a.dtype == np.float64
        np.testing.assert_allclose(
            a.reshape(b.shape), b, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{what} {k}"
        )


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_states_and_gradients(name: str, reference: Reference) -> None:
    pair = PAIRS[name]
    ours = Ours(pair.ours, reference)
    run = Differentiated(ours.layer, ours.call)
    k = 0
    for what in pair.ours.calls:
        if what != "call":
            ours.reset(what)
            continue
        results, gradients = run(ours.group(f"inputs/{k}"), ours.group(f"cotangents/{k}"))
        assert_same(results, ours.group(f"results/{k}"), f"call {k}, result")
        assert_same(gradients, ours.group(f"gradients/{k}"), f"call {k}, gradient")
        k += 1
    assert f"results/{k - 1}/0" in reference
    assert f"results/{k}/0" not in reference


@pytest.mark.parametrize("name", REFUSED)
def test_keras_2_still_cannot(name: str, reference: Reference) -> None:
    assert str(reference["refusal"]), (
        f"Keras 2 now gives the same numbers: the case {name!r} needs no stand-in"
        f" ({PAIRS[name].reason})"
    )
