"""The nested cell of the Keras guide in Keras 2, which could run it.

Stock Keras 3 cannot, so what `nested` is compared with is `tf_keras`, on TensorFlow.
"""

from __future__ import annotations

from typing import Any

from kcells.bench.timing import Step

__all__ = ["guide"]


def guide(units: int, inputs: tuple[Any, Any], workload: str) -> Step:
    """A step of a Keras 2 model: the guide's cell in `tf_keras.layers.RNN`.

    Args:
        units: the size of the first state; the second has twice and three times as many.
        inputs: a vector and a matrix a time step.
        workload: `"train"` or `"predict"`.

    Raises:
        ImportError: if tf_keras is not installed.
    """
    import tensorflow as tf
    import tf_keras

    specs = tuple(tf_keras.Input(tuple(x.shape[1:])) for x in inputs)
    model = tf_keras.Model(specs, tf_keras.layers.RNN(_cell(units, 2 * units, 3 * units))(specs))
    model.compile("adam", "mse")
    if workload == "predict":
        return lambda: model.predict_on_batch(inputs)
    targets = tuple(tf.random.normal((len(inputs[0]), *o.shape[1:])) for o in model.outputs)
    return lambda: model.train_on_batch(inputs, targets)


def _cell(unit_1: int, unit_2: int, unit_3: int) -> Any:
    """Two running sums: of a projected vector, and of a projected matrix."""
    import tensorflow as tf
    import tf_keras

    class Nested(tf_keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.state_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
            self.output_size = self.state_size

        def build(self, shapes: Any) -> None:
            vector, matrix = shapes
            self.kernel_1 = self.add_weight("kernel_1", (vector[1], unit_1), None, "uniform")
            shape = (*matrix[1:], unit_2, unit_3)
            self.kernel_2 = self.add_weight("kernel_2", shape, None, "uniform")

        def call(self, inputs: Any, states: Any) -> Any:
            vector, matrix = tf.nest.flatten(inputs)
            outputs = (
                tf.matmul(vector, self.kernel_1),
                tf.einsum("bij,ijkl->bkl", matrix, self.kernel_2),
            )
            return outputs, tuple(s + o for s, o in zip(states, outputs, strict=True))

    return Nested()
