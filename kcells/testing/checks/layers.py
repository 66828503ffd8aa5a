"""The layers that a cell is used in, and the programs that it is compiled into."""

from __future__ import annotations

import keras
from keras import tree

from kcells import stock as keras_classes
from kcells.layers.bidirectional import Bidirectional
from kcells.layers.stacked import StackedCells
from kcells.structure import map_leaves
from kcells.testing import backends
from kcells.testing.law import NotApplicableError, law
from kcells.testing.models import functional
from kcells.testing.numbers import as_numpy, same
from kcells.testing.subject import Subject

__all__ = ["compiled", "dynamic_shapes", "stock", "wrappers"]


@law("wrappers", "The cell works in Bidirectional and in StackedCells.")
def wrappers(subject: Subject) -> None:
    subject.need_layer()
    expected = subject.expected.outputs
    both = Bidirectional(subject.layer(return_state=False), merge_mode=None)
    both.build(map_leaves(lambda leaf, _: leaf.shape, subject.inputs))
    # Other weights backwards, or two cells that share theirs would pass.
    other = Subject(subject.target, subject.case, subject.seed + 1)
    subject.give_weights(both.forward_layer.cell)
    other.give_weights(both.backward_layer.cell)
    forward, backward = both(subject.inputs)
    same(as_numpy(forward), expected, "outputs", what="in Bidirectional")
    turned = other.stepped(map_leaves(lambda leaf, _: leaf[:, ::-1], subject.inputs)).outputs
    turned = map_leaves(lambda leaf, _: leaf[:, ::-1], turned)
    same(as_numpy(backward), turned, "outputs", what="backwards, in Bidirectional")
    stack = StackedCells([subject.target.make(subject.case)])
    layer = subject.layer(stack, trained=False)
    subject.give_weights(stack.cells[0])
    same(as_numpy(layer(subject.inputs)[0]), expected, "outputs", what="in StackedCells")


@law("stock", "In keras.layers.RNN the cell gives what it gives here.")
def stock(subject: Subject) -> None:
    subject.need_layer()
    layer = subject.layer()
    declared = layer.cell.state_size
    sizes = declared if isinstance(declared, (list, tuple)) else [declared]
    inputs = subject.inputs
    if not all(isinstance(s, int) for s in sizes) or tree.is_nested(inputs) or inputs.ndim < 3:
        raise NotApplicableError(
            "Keras' own layer takes one tensor, with features, and states that are vectors"
        )
    outputs = keras_classes.RNN(layer.cell, return_sequences=True)(subject.inputs)
    same(as_numpy(outputs), subject.expected.outputs, "outputs", what="in keras.layers.RNN")


@law("compiled", "A call compiled by XLA gives what an eager one gives.")
def compiled(subject: Subject) -> None:
    compile_ = backends.current().compiled
    if compile_ is None:
        raise NotApplicableError(f"Keras compiles nothing on {keras.backend.backend()}")
    layer = subject.layer()
    flat = [keras.ops.convert_to_tensor(leaf) for leaf in tree.flatten(subject.inputs)]

    def call(*leaves: object) -> object:
        return tree.flatten(layer(tree.pack_sequence_as(subject.inputs, list(leaves))))

    expected = [*tree.flatten(subject.expected.outputs), *tree.flatten(subject.expected.states)]
    same(as_numpy(list(compile_(call)(*flat))), expected, "results", what="when compiled")


@law("dynamic_shapes", "A model for any batch and any length gives the same for those it meets.")
def dynamic_shapes(subject: Subject) -> None:
    model = functional(subject.layer(), subject.inputs)
    for rows, steps in ((slice(None), slice(None)), (slice(0, 2), slice(0, 4))):
        part = Subject.rows(Subject.slice(subject.inputs, steps), rows)
        expected = Subject.rows(Subject.slice(subject.expected.outputs, steps), rows)
        shape = tree.flatten(part)[0].shape[:2]
        same(as_numpy(model(part)), expected, "outputs", what=f"for (batch, time) = {shape}")
