"""A cell of one's own: dicts in, dicts as states, in `keras.ops`, so on every backend.

A step of handwriting is a move of the pen and its pressure; the cell keeps ink and grip.
Run: python examples/custom_cell.py        (KERAS_BACKEND=jax or torch for another backend)
"""

import tempfile
from typing import Any

import keras
import numpy as np
from keras import ops

import kcells


@kcells.register("pen")  # a name to build it by, in this process
@keras.saving.register_keras_serializable(package="examples")  # a name to load it by
class PenCell(keras.layers.Layer):
    """grip' = tanh(pressure W + grip U);  ink' = ink + sigmoid(grip') * (move V)."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = {"ink": units, "grip": units}

    def build(self, shapes: dict[str, tuple[int, ...]]) -> None:
        sizes = (shapes["pressure"][-1], self.units, shapes["move"][-1])
        self.w, self.u, self.v = (self.add_weight(shape=(n, self.units)) for n in sizes)

    def call(self, inputs: dict[str, Any], states: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        grip = ops.tanh(ops.matmul(inputs["pressure"], self.w) + ops.matmul(states["grip"], self.u))
        ink = states["ink"] + ops.sigmoid(grip) * ops.matmul(inputs["move"], self.v)
        return ink, {"ink": ink, "grip": grip}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def main() -> dict[str, float]:
    """Learns how far the pen got while it was pressed; squared errors, and what loading changed."""
    keras.utils.set_random_seed(0)
    pressure = np.random.choice([-1.0, 1.0], (512, 20, 1)).astype("float32")
    data = {"move": np.random.normal(size=(512, 20, 2)).astype("float32"), "pressure": pressure}
    target = np.sum(data["move"] * (pressure > 0), axis=1)
    inputs = {key: keras.Input(x.shape[1:], name=key) for key, x in data.items()}
    model = keras.Model(inputs, keras.layers.Dense(2)(kcells.build("pen", 16)(inputs)))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = model.evaluate(data, target, verbose=0)
    model.fit(data, target, batch_size=64, epochs=15, verbose=2)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/pen.keras")
        loaded = keras.models.load_model(f"{folder}/pen.keras")
    changed = np.abs(loaded.predict(data, verbose=0) - model.predict(data, verbose=0)).max()
    return {"before": before, "after": loaded.evaluate(data, target), "changed": float(changed)}


if __name__ == "__main__":
    print(main())  # noqa: T201  # a script talks to its reader with print
