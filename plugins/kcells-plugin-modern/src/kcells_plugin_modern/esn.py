"""The echo state network: a recurrent network that stays as it was drawn."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import activations, initializers, ops

from kcells import Card, Case, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_modern.initial import drawn

__all__ = ["ESNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class ESNCell(StandardCell):
    """A reservoir: a vanilla RNN, sparse and random, of which nothing is trained.

        g_t = activation(W x_t + U h_{t-1} + b)
        h_t = (1 - leaky) * h_{t-1} + leaky * g_t

    `U` is drawn when the cell is built. A share `connectivity` of its entries is kept, and all
    are scaled, so that the largest of its eigenvalues has the absolute value `spectral_radius`.
    Below one, the network tends to forget where it started. What is learned is up to the layers
    after it. The weights are in files, but no optimizer sees them.

    Paper: Jaeger 2001, "The 'echo state' approach to analysing and training recurrent neural
    networks", GMD report 148.

    Differences: the paper also feeds outputs back, and has one more constant in the leak, which
    is one here. The arguments and defaults are those of `ESNCell` in TensorFlow Addons, which has
    neither a seed nor dropout. A `U` without cycles, which has no eigenvalue but zero, stays as
    it was drawn, where theirs becomes zero.

    Where few entries are kept, the largest eigenvalue may be tiny, such as that of a lone small
    number on the diagonal. `U` is scaled up all the same, to entries in the hundreds. Small `units`
    want a higher `connectivity`, by which a row keeps 4 entries or more, or `use_norm2=True`.

    Args:
        units: the size of the state, a positive int.
        connectivity: which share of the entries of `U` is kept, on average, above 0 and at most
            1. Default: 0.1.
        leaky: which share of the state is new, above 0 and at most 1. Default: 1.
        spectral_radius: the largest absolute eigenvalue of `U`, a positive float. Default: 0.9.
        use_norm2: whether the root of the sum of squares of `U` is scaled to `spectral_radius` in
            place of the eigenvalues, which are then smaller. Default: False.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_initializer: for `U` before it is thinned out and scaled. Default:
            `"glorot_uniform"`.
        seed: an int for the dropout masks, for which entries are kept, and for initializers
            without a seed of their own; or None. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`. Regularizers and constraints act
            on what is trained, which here is nothing.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights, none of them trained: `kernel` `(features, units)`,
    `recurrent_kernel` `(units, units)` and `bias` `(units,)`.

    Raises:
        ConfigurationError: if an argument or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("esn", 50, spectral_radius=0.8, seed=1)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape), len(layer.trainable_weights)
    ((2, 50), 0)
    >>> eigenvalues = np.linalg.eigvals(np.asarray(layer.cell.recurrent_kernel))
    >>> round(float(np.abs(eigenvalues).max()), 3)
    0.8
    """

    def __init__(
        self,
        units: int,
        connectivity: float = 0.1,
        leaky: float = 1.0,
        spectral_radius: float = 0.9,
        use_norm2: bool = False,
        activation: Any = "tanh",
        recurrent_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.connectivity = self._positive("connectivity", connectivity, most=1.0)
        self.leaky = self._positive("leaky", leaky, most=1.0)
        self.spectral_radius = self._positive("spectral_radius", spectral_radius)
        self.use_norm2 = use_norm2
        self.activation = activations.get(activation)

    def _positive(self, name: str, value: float, most: float = float("inf")) -> float:
        is_number = isinstance(value, (int, float))
        if not is_number or not 0.0 < value <= most or value == float("inf"):
            wanted = "a positive float" if most > 1.0 else "above 0 and at most 1"
            raise ConfigurationError(f"ESNCell: {name} must be {wanted}; received {value!r}.")
        return value

    def add_weights(self, features: int) -> None:
        """Draws the reservoir."""
        # Dropout has the seed itself and the one after it.
        kernel, bias = self._seeded("kernel", 2), self._seeded("bias", 3)
        self.kernel = self.add("kernel", (features, self.units), initializer=kernel)
        self.bias = self.add("bias", (self.units,), initializer=bias)
        self.recurrent_kernel = self.add(
            "recurrent_kernel", (self.units, self.units), initializer=self._reservoir
        )

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """A weight that is not trained."""
        return super().add_weight(*args, **{**kwargs, "trainable": False})

    def _seeded(self, part: str, place: int) -> Any:
        """The initializer of a part, with the seed of this cell if it has none of its own."""
        initializer = getattr(self, f"{part}_initializer")
        if initializer is None:
            # What Keras takes for it.
            initializer = initializers.GlorotUniform()
        if self.seed is None or not isinstance(initializer, initializers.Initializer):
            return initializer
        config = initializer.get_config()
        if config.get("seed", "takes none") is not None:
            return initializer
        return initializer.from_config({**config, "seed": self.seed + place})

    def _reservoir(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """`U`, sparse and scaled."""
        dense = drawn(self._seeded("recurrent", 4), shape, "float32")
        seed = None if self.seed is None else self.seed + 5
        kept = keras.random.uniform(shape, dtype="float32", seed=seed)
        matrix = np.asarray(ops.convert_to_numpy(dense), "float64")
        matrix = matrix * (ops.convert_to_numpy(kept) < self.connectivity)
        if self.use_norm2:
            size = np.sqrt(np.square(matrix).sum())
        else:
            size = np.abs(np.linalg.eigvals(matrix)).max()
        matrix = matrix * (self.spectral_radius / size) if size > 0.0 else matrix
        return ops.convert_to_tensor(matrix, dtype=dtype)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        h = (1.0 - self.leaky) * h + self.leaky * self.activation(projected + products)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        norm = {"units": 4, "leaky": 0.3, "use_norm2": True, "spectral_radius": 1.5}
        return Card(
            [
                Case({"units": 5, "connectivity": 0.5}, name="default"),
                Case({**norm, "connectivity": 1.0}, name="leaky, norm"),
            ],
            others={"connectivity": 0.5, "leaky": 0.5, "spectral_radius": 0.5},
            gates="",
        )
