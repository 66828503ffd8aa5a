"""The GRU of DreamerV3: gates from block-diagonal matrices, behind a normalized layer."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Place, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_gated.initial import stacked

__all__ = ["BlockGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class BlockGRUCell(StandardCell):
    """A GRU of blocks, whose gates are two layers deep and see all blocks through a smaller vector.

        n(a) = scale * a / sqrt(mean(a^2) + 1e-4)

        e_t = activation(n(W x_t + b))
        s_t = activation(n(U h_{t-1} + b_s))
        a_1 = activation(n(B_1 [h_{t-1}, s_t, e_t] + b_1))
        a_k = activation(n(B_k a_{k-1} + b_k))    for k = 2, ..., layers
        r_t, k_t, v_t = B a_{layers} + b_g

        g_t = tanh(sigmoid(r_t) * k_t)
        u_t = sigmoid(v_t - 1)
        h_t = (1 - u_t) * h_{t-1} + u_t * g_t

    The matrices `B` are block-diagonal: each block of units has its own, and what it sees of the
    others is in `s_t`. It sees all of `s_t` and `e_t`, and its own part of all else. Each `n`
    has a `scale` of its own, which starts at one.

    Paper: Hafner, Pasukonis, Ba and Lillicrap 2023, "Mastering Diverse Domains through World
    Models", arXiv:2301.04104, and the authors' code.

    Differences: in that code the inputs are two vectors, a latent and an action, each with a
    layer to `e_t` of its own; here they are one vector, with one layer. Weights start as in that
    code, whose defaults are 4096 units and 2048 hidden ones.

    Args:
        units: the size of the state, a positive int.
        blocks: the number of blocks, a positive int that divides `units`. Default: 8.
        hidden_units: the size of `e` and `s`, a positive int; None for as many as `units`.
            Default: None.
        layers: how many layers the gates have before the last, a positive int. Default: 1.
        activation: for the layers. Default: `"silu"`.
        kernel_initializer: for `kernel`. Default: `"lecun_normal"`.
        recurrent_initializer: for the other matrices, block by block. Default: `"lecun_normal"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, hidden_units)`, `recurrent_kernel`
    `(units, hidden_units)`, with `bias` and `bias_state`, `scale` and `scale_state`
    `(hidden_units,)`; `recurrent_kernel_1`
    `(blocks, units / blocks + 2 * hidden_units, units / blocks)`, further ones
    `(blocks, units / blocks, units / blocks)`, each with a `bias_1` and a `scale_1` `(units,)`;
    `recurrent_kernel_gates` `(blocks, units / blocks, 3 * units / blocks)`, the parts r, k, v,
    and `bias_gates` `(3 * units,)`.

    Raises:
        ConfigurationError: if `units`, `blocks`, `hidden_units`, `layers` or a dropout rate is
            out of range, or if `blocks` does not divide `units`.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("block_gru", 16, hidden_units=4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 16)
    >>> layer.cell.recurrent_kernel_gates.shape == (8, 2, 6)
    True
    """

    def __init__(
        self,
        units: int,
        blocks: int = 8,
        hidden_units: int | None = None,
        layers: int = 1,
        activation: Any = "silu",
        kernel_initializer: Any = "lecun_normal",
        recurrent_initializer: Any = "lecun_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        self.blocks = self.positive("blocks", blocks)
        self.layers = self.positive("layers", layers)
        self.activation = activations.get(activation)
        if units % blocks:
            raise ConfigurationError(
                f"BlockGRUCell: blocks must divide units; received blocks={blocks!r},"
                f" units={units!r}."
            )
        self.hidden_units: Any = hidden_units
        if hidden_units is not None:
            self.positive("hidden_units", hidden_units)

    def add_weights(self, features: int) -> None:
        """Makes matrices, biases and scales."""
        hidden, size = self.hidden_units or self.units, self.units // self.blocks
        self.kernel = self.add("kernel", (features, hidden))
        self.bias = self.add("bias", (hidden,))
        self.scale = self._scale("scale", hidden)
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, hidden))
        self.bias_state = self.add("bias_state", (hidden,))
        self.scale_state = self._scale("scale_state", hidden)
        self.steps: list[tuple[Any, Any, Any]] = []
        for layer in range(1, self.layers + 1):
            rows = size + 2 * hidden if layer == 1 else size
            kernel = self._blocks(f"recurrent_kernel_{layer}", rows, size)
            bias = self.add(f"bias_{layer}", (self.units,))
            self.steps.append((kernel, bias, self._scale(f"scale_{layer}", self.units)))
        self.recurrent_kernel_gates = self._blocks("recurrent_kernel_gates", size, 3 * size)
        self.bias_gates = self.add("bias_gates", (3 * self.units,))

    def _scale(self, name: str, size: int) -> Any:
        """What a normalized vector is multiplied by."""
        return self.add_weight(shape=(size,), name=name, initializer="ones")

    def _blocks(self, name: str, rows: int, columns: int) -> Any:
        """The blocks of a block-diagonal matrix."""
        start = stacked(self.recurrent_initializer)
        return self.add(name, (self.blocks, rows, columns), initializer=start)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """What the first layer sees of the inputs."""
        e = self.activation(_normal(super().project_inputs(inputs, training), self.scale))
        kernel, bias, _ = self.steps[0]
        return _plus(ops.matmul(e, _flat(kernel[:, -self.scale.shape[0] :])), bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        s = _plus(ops.matmul(seen, self.recurrent_kernel), self.bias_state)
        s = self.activation(_normal(s, self.scale_state))
        size, hidden = self.units // self.blocks, self.scale.shape[0]
        kernel, _, scale = self.steps[0]
        a = projected + ops.matmul(s, _flat(kernel[:, size : size + hidden]))
        a = self.activation(_normal(a + self._each(seen, kernel[:, :size]), scale))
        for kernel, bias, scale in self.steps[1:]:
            a = self.activation(_normal(_plus(self._each(a, kernel), bias), scale))
        gates = _plus(self._each(a, self.recurrent_kernel_gates), self.bias_gates)
        parts = ops.split(ops.reshape(gates, (-1, self.blocks, 3 * size)), 3, axis=-1)
        r, g, u = (ops.reshape(part, (-1, self.units)) for part in parts)
        g, u = ops.tanh(ops.sigmoid(r) * g), ops.sigmoid(u - 1)
        h = (1 - u) * h + u * g
        return h, [h]

    def _each(self, a: Tensor, kernel: Tensor) -> Tensor:
        """Each block of a vector times its own matrix."""
        parts = ops.reshape(a, (-1, self.blocks, self.units // self.blocks))
        products = ops.einsum("bki,kio->bko", parts, kernel)
        return ops.reshape(products, (-1, self.blocks * kernel.shape[-1]))

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "blocks": 2, "hidden_units": 3, "layers": 2}, name="default")],
            arguments=_arguments,
            gates="update, reset",
            also_in="",
            others={"hidden_units": 5, "blocks": 1, "layers": 3},
        )


def _flat(kernel: Tensor) -> Tensor:
    """The matrices of all blocks, which see one vector, side by side."""
    blocks, rows, columns = kernel.shape
    return ops.reshape(ops.transpose(kernel, (1, 0, 2)), (rows, blocks * columns))


def _plus(a: Tensor, bias: Tensor | None) -> Tensor:
    """With the bias, if there is one."""
    return a if bias is None else a + bias


def _normal(a: Tensor, scale: Tensor) -> Tensor:
    """Divided by the root of the mean of the squares, in single precision at least."""
    dtype = keras.backend.standardize_dtype(a.dtype)
    wide = a if dtype == "float64" else ops.cast(a, "float32")
    wide = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + 1e-4)
    return scale * ops.cast(wide, dtype)


def _arguments(at: Place) -> dict[str, int]:
    """As many blocks as the units allow, up to the default."""
    return {"units": at.units, "blocks": math.gcd(at.units, 8)}
