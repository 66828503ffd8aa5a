"""Runs the cases of `parity_cases` in Keras 2 and writes the numbers to a file.

    python parity_reference.py reference.npz

A script of its own, in a process of its own: Keras 2 (`tf_keras`) always runs on
TensorFlow, and its numbers serve kcells on every backend.

For the case "x" the file holds `x/weights/0`, `x/inputs/0`, `x/cotangents/0/0` (call,
leaf), `x/results/0/0` and `x/gradients/0/0`, each a float64 array; for a case that Keras 2
cannot do, `x/refusal` says what happened.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from parity_cases import (
    BATCH,
    CELLS,
    PAIRS,
    ROWS_OF_MASKS,
    TIME,
    TWO_LAYERS,
    Case,
    CellSpec,
    Size,
    flatten,
    pack,
    random_numbers,
    rebuild,
    total,
)

Arrays = dict[str, np.ndarray]


def shape_of(size: Size) -> Any:
    """An int or a `tf.TensorShape`, as the Keras 2 guide writes them."""
    return size.dims[0] if len(size.dims) == 1 else tf.TensorShape(size.dims)


def rows(structure: Any) -> tf.Tensor:
    """All leaves in one tensor, `(batch, numbers)`."""
    leaves = flatten(structure)
    return tf.concat([tf.reshape(leaf, (tf.shape(leaf)[0], -1)) for leaf in leaves], axis=-1)


def cut(tensor: tf.Tensor, structure: Any) -> Any:
    """The other way round: `(batch, numbers)` into the leaves of a structure of sizes."""
    leaves, start = [], 0
    for size in flatten(structure):
        stop = start + int(np.prod(size.dims))
        leaves.append(tf.reshape(tensor[:, start:stop], (-1, *size.dims)))
        start = stop
    return pack(structure, leaves)


@tf_keras.utils.register_keras_serializable(package="parity")
class StructuredCell(tf_keras.layers.Layer):
    """s' = s + (tanh(x W + s U + c V + b) - s) / 2, y = s' O; x, s, c, y are structures."""

    def __init__(self, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = [CELLS[key]]
        self.state_size = rebuild(shape_of, self.spec[0].states)
        if self.spec[0].declares_outputs:
            self.output_size = rebuild(shape_of, self.spec[0].outputs)

    def build(self, input_shape: Any) -> None:
        spec = self.spec[0]
        state = total(spec.states)
        self.kernel = self.add_weight("kernel", (total(spec.inputs), state))
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (state, state))
        self.bias = self.add_weight("bias", (state,))
        self.output_kernel = self.add_weight("output_kernel", (state, total(spec.outputs)))
        self.constant_kernel = None
        if spec.constants is not None:
            self.constant_kernel = self.add_weight(
                "constant_kernel", (total(spec.constants), state)
            )

    def call(self, inputs: Any, states: Any, constants: Any = None) -> Any:
        spec = self.spec[0]
        old = rows(states)
        drive = rows(inputs) @ self.kernel + old @ self.recurrent_kernel + self.bias
        if constants is not None and self.constant_kernel is not None:
            drive += rows(constants) @ self.constant_kernel
        new = old + (tf.tanh(drive) - old) / 2
        return cut(new @ self.output_kernel, spec.outputs), cut(new, spec.states)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "key": self.spec[0].key}


@tf_keras.utils.register_keras_serializable(package="parity")
class StartingCell(StructuredCell):
    """A cell whose states do not start from zero."""

    def get_initial_state(self, inputs: Any = None, batch_size: Any = None, dtype: Any = None):
        value = tf.constant(self.spec[0].starts_with, dtype)
        return rebuild(lambda size: tf.fill((batch_size, *size.dims), value), self.spec[0].states)


def make_cell(spec: CellSpec) -> Any:
    if spec.kind == "stack":
        return tf_keras.layers.StackedRNNCells([make_cell(cell) for cell in spec.cells])
    if spec.kind == "structured":
        return (StartingCell if spec.starts_with else StructuredCell)(spec.key)
    classes = {
        "lstm": tf_keras.layers.LSTMCell,
        "gru": tf_keras.layers.GRUCell,
        "simple_rnn": tf_keras.layers.SimpleRNNCell,
    }
    return classes[spec.kind](spec.units)


class TwoLayers:
    """What `Bidirectional` computes, for outputs of any structure."""

    def __init__(self, case: Case) -> None:
        options = dict(case.options)
        if options.get("return_sequences"):
            options["zero_output_for_mask"] = True
        self.layers = [
            tf_keras.layers.RNN(make_cell(case.cell), go_backwards=backwards, **options)
            for backwards in (False, True)
        ]
        self.case = case

    def __call__(self, inputs: Any, **given: Any) -> Any:
        forward, backward = (layer(inputs, **given) for layer in self.layers)
        outputs = [flatten(forward[0]), [tf.reverse(y, [1]) for y in flatten(backward[0])]]
        merge: dict[str, Callable[[Any, Any], Any]] = {
            "concat": lambda a, b: tf.concat([a, b], -1),
            "sum": lambda a, b: a + b,
            "ave": lambda a, b: (a + b) / 2,
            "mul": lambda a, b: a * b,
        }
        mode = self.case.merge_mode
        merged = (
            outputs if mode is None else [merge[mode](*pair) for pair in zip(*outputs, strict=True)]
        )
        return [merged, forward[1:], backward[1:]]

    @property
    def trainable_weights(self) -> list[Any]:
        return [w for layer in self.layers for w in layer.trainable_weights]


def make_layer(case: Case) -> Any:
    if case.calls == TWO_LAYERS:
        return TwoLayers(case)
    layer = tf_keras.layers.RNN(make_cell(case.cell), **case.options)
    if not case.bidirectional:
        return layer
    backward = None
    if case.backward_cell is not None:
        backward = tf_keras.layers.RNN(
            make_cell(case.backward_cell), go_backwards=True, **case.options
        )
    return tf_keras.layers.Bidirectional(layer, merge_mode=case.merge_mode, backward_layer=backward)


def run(name: str, case: Case) -> Arrays:
    """All numbers of one case."""
    rng = random_numbers(name)
    made: Arrays = {}

    def draw(structure: Any, *lead: int) -> list[tf.Tensor]:
        return [tf.constant(rng.normal(size=(*lead, *s.dims))) for s in flatten(structure)]

    def save(group: str, tensors: list[Any]) -> None:
        made.update({f"{group}/{k}": np.asarray(t) for k, t in enumerate(tensors)})

    layer = make_layer(case)
    calls = [what for what in case.calls if what in ("call", *TWO_LAYERS)]
    given = [
        (draw(case.inputs, BATCH, TIME), draw(case.states, BATCH), draw(case.constants, BATCH))
        for _ in calls
    ]

    def call(inputs: list[Any], states: list[Any], constants: list[Any]) -> list[Any]:
        arguments: dict[str, Any] = {}
        if states:
            arguments["initial_state"] = pack(case.states, states)
        if constants:
            arguments["constants"] = pack(case.constants, constants)
        if case.masked:
            arguments["mask"] = tf.constant(ROWS_OF_MASKS)
        return flatten(layer(pack(case.inputs, inputs), **arguments))

    call(*given[0])
    weights = [rng.normal(size=w.shape) * 0.5 for w in layer.trainable_weights]
    for weight, value in zip(layer.trainable_weights, weights, strict=True):
        weight.assign(value)
    save("weights", weights)
    if case.options.get("stateful"):
        # The call that built the layer does not count.
        reset_to(layer, case.cell.starts_with)
    remaining = iter(range(len(calls)))
    for what in case.calls:
        if what == "reset":
            layer.reset_states()
        elif what == "reset to ones":
            reset_to(layer, 1.0)
        else:
            k = next(remaining)
            leaves = [leaf for group in given[k] for leaf in group]
            with tf.GradientTape() as tape:
                tape.watch(leaves)
                results = call(*given[k])
                cotangents = [tf.constant(rng.normal(size=r.shape)) for r in results]
                loss = tf.add_n(
                    [tf.reduce_sum(r * c) for r, c in zip(results, cotangents, strict=True)]
                )
            gradients = tape.gradient(
                loss,
                [*layer.trainable_weights, *leaves],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            save(f"inputs/{k}", leaves)
            save(f"results/{k}", results)
            save(f"cotangents/{k}", cotangents)
            save(f"gradients/{k}", gradients)
    return made


def reset_to(layer: Any, value: float) -> None:
    """Sets every remembered state; Keras 2 takes NumPy arrays for it."""
    if isinstance(layer, tf_keras.layers.Bidirectional):
        for one in (layer.forward_layer, layer.backward_layer):
            reset_to(one, value)
        return
    states = [np.full(state.shape, value) for state in flatten(layer.states)]
    layer.reset_states(states)


def refusal(name: str, case: Case, reference: Arrays) -> str:
    """What Keras 2 makes of a case that it cannot do; empty if it does it after all."""
    try:
        found = run(name, case)
    except Exception as error:
        # The first line may say no more than which layer it was.
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {' '.join(lines[:2])}"
    for key, array in reference.items():
        if key not in found or found[key].size != array.size:
            return f"{key} has another shape"
        if not np.allclose(found[key].ravel(), array.ravel()):
            return f"{key} has other numbers"
    return ""


def main(path: str) -> None:
    tf_keras.backend.set_floatx("float64")
    numbers: dict[str, Any] = {}
    for name, pair in PAIRS.items():
        reference = run(name, pair.theirs)
        numbers |= {f"{name}/{key}": array for key, array in reference.items()}
        if pair.reason:
            numbers[f"{name}/refusal"] = np.array(refusal(name, pair.ours, reference))
    np.savez(path, **numbers)


if __name__ == "__main__":
    main(sys.argv[1])
