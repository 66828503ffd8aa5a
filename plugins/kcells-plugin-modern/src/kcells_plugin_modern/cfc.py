"""The closed-form continuous-time cell: an interpolation in time that needs no solver."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.errors import StructureError
from kcells.types import Tensor

__all__ = ["CfCCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class CfCCell(StandardCell):
    """An RNN that goes, with the time that has passed, from one answer to another.

        q_t = backbone_activation(W x_t + U h_{t-1} + b), and so on through further layers

        g_t = activation(W_g q_t + b_g)
        k_t = activation(W_k q_t + b_k)
        f_t = (W_a q_t + b_a) * time_t + (W_f q_t + b_f)

        h_t = sigmoid(-f_t) * g_t + (1 - sigmoid(-f_t)) * k_t

    `time_t` is the time since the step before. With `timed=True` it is the last entry of the
    inputs, and no part of `x_t`; otherwise it is 1.

    Paper: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl and Rus 2022,
    "Closed-form continuous-time neural networks", Nature Machine Intelligence 4,
    arXiv:2106.13898. The paper's `f * t` is written as in the authors' code.

    Differences: the modes "pure" and "no_gate" of that code, wirings, mixed memory, which is an
    LSTM in front, and dropout between the layers are left out, and there always is a backbone.
    This is the authors' cell for PyTorch; theirs for Keras, in ncps 1.0.1, has no tanh around `g`
    and `k`, which is `activation="linear"`, and the other sign at `W_a`, and drops 0.1 in the
    backbone unless told otherwise, where that for PyTorch drops nothing. Weights start as in
    Keras' own cells; the four matrices after the backbone are drawn one by one, as theirs are.

    Args:
        units: the size of the state, a positive int.
        activation: for `g` and `k`. Default: `"tanh"`.
        backbone_units: the size of a layer of the backbone, a positive int. Default: 128.
        backbone_layers: the number of them, a positive int. Default: 1.
        backbone_activation: theirs: `"lecun_tanh"`, or an activation of Keras. Default:
            `"lecun_tanh"`, which is `1.7159 * tanh(0.666 * x)`.
        timed: whether the last entry of the inputs is a time. Default: False.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`, or `(batch, features + 1)` with `timed=True`; states
    `[h]`; `h` and the output, which is `h`, `(batch, units)`. Weights: `kernel`
    `(features, backbone_units)`, `recurrent_kernel` `(units, backbone_units)` and `bias`; for
    each further layer `kernel_<n>` `(backbone_units, backbone_units)` and `bias_<n>`;
    `kernel_heads` `(backbone_units, 4 * units)` and `bias_heads`, the blocks g, k, a, f.

    Raises:
        ConfigurationError: if `units`, a size of the backbone or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or hold
            nothing but a time.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("cfc", 4, backbone_units=8, timed=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[:2]}
    {'kernel': (2, 8), 'recurrent_kernel': (4, 8)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        backbone_units: int = 128,
        backbone_layers: int = 1,
        backbone_activation: Any = "lecun_tanh",
        timed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.backbone_units = self.positive("backbone_units", backbone_units)
        self.backbone_layers = self.positive("backbone_layers", backbone_layers)
        is_lecun = isinstance(backbone_activation, str) and backbone_activation == "lecun_tanh"
        self.backbone_activation = _lecun_tanh if is_lecun else activations.get(backbone_activation)
        self.timed = timed

    def add_weights(self, features: int) -> None:
        """Makes the backbone and the four matrices after it, as one."""
        features -= int(self.timed)
        if features < 1:
            raise StructureError(
                "CfCCell: with timed=True the inputs of a step must have a time and at least one"
                " more feature; received 1 feature."
            )
        size = self.backbone_units
        self.kernel = self.add("kernel", (features, size))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, size))
        self.bias = self.add("bias", (size,))
        self.further = [
            (self.add(f"kernel_{layer}", (size, size)), self.add(f"bias_{layer}", (size,)))
            for layer in range(2, self.backbone_layers + 1)
        ]
        self.heads = (
            self.add("kernel_heads", (size, 4 * self.units), initializer=self._first_heads),
            self.add("bias_heads", (4 * self.units,)),
        )

    def _first_heads(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Four matrices side by side, each with numbers of its own."""
        return ops.concatenate(
            [
                _another(self.kernel_initializer, number)((shape[0], self.units), dtype)
                for number in range(4)
            ],
            axis=1,
        )

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`W x + b` and the time, `(..., backbone_units)` and `(..., 1)`."""
        kept = self.input_dropout.drop(inputs, training)
        time = inputs[..., -1:] if self.timed else ops.ones_like(inputs[..., -1:])
        products = ops.matmul(kept[..., :-1] if self.timed else kept, self.kernel)
        return [products if self.bias is None else products + self.bias, time]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        of_inputs, time = projected
        h = self.dropped(states[0], training)
        q = self.backbone_activation(of_inputs + ops.matmul(h, self.recurrent_kernel))
        for layer in self.further:
            q = self.backbone_activation(_affine(q, *layer))
        g, k, slope, offset = ops.split(_affine(q, *self.heads), 4, axis=-1)
        f = slope * time + offset
        h = ops.sigmoid(-f) * self.activation(g) + ops.sigmoid(f) * self.activation(k)
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        if self.backbone_activation is _lecun_tanh:
            config["backbone_activation"] = "lecun_tanh"
        return config

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        more = {"timed": True, "backbone_layers": 2, "backbone_activation": "silu"}
        return Card(
            [
                Case({"units": 4, "backbone_units": 5}, name="default"),
                Case({"units": 4, "backbone_units": 5, **more}, name="timed"),
            ],
            others={"backbone_units": 5, "backbone_layers": 2},
            gates="time",
            also_in="ncps",
            learning=Learning(lambda at: {"backbone_units": 2 * at.units}),
        )


def _affine(x: Tensor, matrix: Any, bias: Any) -> Tensor:
    """`matrix x + bias`, with a bias or without."""
    products = ops.matmul(x, matrix)
    return products if bias is None else products + bias


def _lecun_tanh(x: Tensor) -> Tensor:
    """A tanh that keeps a variance of one."""
    return 1.7159 * ops.tanh(0.666 * x)


def _another(initializer: Any, number: int) -> Any:
    """An initializer of the same kind; with a seed, which would give equal numbers, another one."""
    if not isinstance(initializer, initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += number
    return type(initializer).from_config(config)
