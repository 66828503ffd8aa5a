"""The multiplicative LSTM.

The work on the inputs, and the norms that weight normalization takes, depend on no
state; they are all in `project_inputs`, so that the loop is left with two products.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell, Workload
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["MultiplicativeLSTMCell"]

_OUTPUT_GATES = ("outside", "inside")
_SMALLEST_SQUARED_NORM = 1e-12


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class MultiplicativeLSTMCell(StandardCell):
    r"""An LSTM whose recurrent product is chosen by the input: `m` stands in for `h`.

        m_t = (W_mx x_t) * (W_mh h_{t-1})
        i_t = recurrent_activation(W_ix x_t + W_im m_t + b_i)
        f_t = recurrent_activation(W_fx x_t + W_fm m_t + b_f)
        o_t = recurrent_activation(W_ox x_t + W_om m_t + b_o)
        u_t =                      W_ux x_t + W_um m_t + b_u

        output_gate="outside":  c_t = f_t * c_{t-1} + i_t * activation(u_t)
                                h_t = o_t * activation(c_t)
        output_gate="inside":   c_t = f_t * c_{t-1} + i_t * u_t
                                h_t = activation(o_t * c_t)

    With weight normalization every column of every matrix, one for each unit that it
    feeds, is `w = gain * v / ||v||`. The gains start as the norms of the columns, which
    leaves the function as it was.

    Papers: Krause, Lu, Murray and Renals 2016, "Multiplicative LSTM for sequence
    modelling", arXiv:1609.07959. Weight normalization: Salimans and Kingma 2016,
    arXiv:1602.07868, on the matrices on which Radford, Jozefowicz and Sutskever 2017,
    arXiv:1704.01444, use it: all of them, and not the bias.

    Versions differ. The authors' later code (Chainer), OpenAI's "sentiment neuron" code and
    torchrecurrent have the gate outside. Equation 16 of the paper's workshop version (ICLR 2017)
    has it inside. So has the authors' first code (MATLAB), which leaves the candidate unsquashed,
    and adds `b_u` inside of the last `tanh` rather than here. torchrecurrent gives both factors
    of `m` a bias of their own. OpenAI's gates come in the order i, f, o, u.

    Args:
        units: the size of both states, a positive int.
        activation: for candidate and output. Default: `"tanh"`.
        recurrent_activation: for the three gates. Default: `"sigmoid"`.
        use_bias: whether the gates and the candidate have a bias, which the paper's
            equations leave out. `m` has none. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`; the authors' later
            code is orthogonal throughout.
        recurrent_initializer: for `recurrent_kernel` and `multiplicative_kernel`.
            Default: `"orthogonal"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        unit_forget_bias: whether the bias of the forget gate starts at 1. Default: True;
            it starts at 3 in both codes of the authors.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: for the weights that
            the initializers of these names are for; with weight normalization for `v`,
            whose length does not count, and not for the gains. Default: None.
        kernel_constraint, recurrent_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        recurrent_dropout: the share of `h_{t-1}` that is dropped in `m_t`, the same at
            every step. Default: 0.
        seed: an int for the dropout masks, or None. Default: None.
        output_gate: `"outside"` or `"inside"` of the last activation. Default: `"outside"`.
        weight_normalization: whether the matrices are normalized. Default: False.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: the inputs of one step.
        states: `[h, c]`.
        training: whether dropout is on.

    Shapes: inputs `(batch, features)`; `h`, `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 5 * units)`, the blocks i, f, u, o, as
    in `keras.layers.LSTMCell`, and then `W_mx`; `recurrent_kernel` `(units, 4 * units)`,
    which acts on `m`; `multiplicative_kernel` `(units, units)`, which is `W_mh`; `bias`
    `(4 * units,)`. A gain has one entry a column.

    Raises:
        ConfigurationError: if `units`, `output_gate` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mlstm", 4, weight_normalization=True, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [tuple(weight.shape) for weight in layer.weights if "gain" in weight.name]
    [(20,), (16,), (4,)]
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        unit_forget_bias: bool = True,
        output_gate: Literal["outside", "inside"] = "outside",
        weight_normalization: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if output_gate not in _OUTPUT_GATES:
            raise ConfigurationError(
                'MultiplicativeLSTMCell: output_gate must be "outside" or "inside";'
                f" received {output_gate!r}."
            )
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.output_gate = output_gate
        self.weight_normalization = weight_normalization
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the three matrices, each with its gains if it has any, and the bias."""
        units = self.units
        self.kernel, self.kernel_gain = self._add_kernel("kernel", (features, 5 * units))
        self.recurrent_kernel, self.recurrent_kernel_gain = self._add_kernel(
            "recurrent_kernel", (units, 4 * units)
        )
        self.multiplicative_kernel, self.multiplicative_kernel_gain = self._add_kernel(
            "multiplicative_kernel", (units, units)
        )
        self.bias = self.add("bias", (4 * units,), initializer=self._first_bias)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The products with the inputs, and what weight normalization needs per sequence."""
        inputs = self.input_dropout.drop(inputs, training)
        products = ops.matmul(inputs, self.kernel)
        if self.weight_normalization:
            products = products * self._scale(self.kernel, self.kernel_gain)
        gates, factor = products[..., : 4 * self.units], products[..., 4 * self.units :]
        if self.bias is not None:
            gates = gates + self.bias
        if not self.weight_normalization:
            return {"gates": gates, "factor": factor}
        # W_mh scales the columns of what `factor` is multiplied with: done here, it is free.
        factor = factor * self._scale(self.multiplicative_kernel, self.multiplicative_kernel_gain)
        # That of recurrent_kernel has to wait for m. The loop wants a row of it for each step.
        scale = self._scale(self.recurrent_kernel, self.recurrent_kernel_gain)
        rows = ops.broadcast_to(scale, (*ops.shape(inputs)[:-2], 1, 4 * self.units))
        return {"gates": gates, "factor": factor, "scale": rows}

    def step(
        self, projected: dict[str, Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        seen = self.dropped(h, training)
        m = projected["factor"] * ops.matmul(seen, self.multiplicative_kernel)
        gates = ops.matmul(m, self.recurrent_kernel)
        if self.weight_normalization:
            gates = gates * projected["scale"]
        i, f, u, o = ops.split(gates + projected["gates"], 4, axis=-1)
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        if self.output_gate == "outside":
            c = f * c + i * self.activation(u)
            h = o * self.activation(c)
        else:
            c = f * c + i * u
            h = self.activation(o * c)
        return h, [h, c]

    def _add_kernel(self, name: str, shape: tuple[int, int]) -> tuple[Any, Any]:
        """A matrix and, with weight normalization, the gains of its columns."""
        kernel = self.add(name, shape, "kernel" if name == "kernel" else "recurrent")
        if not self.weight_normalization:
            return kernel, None

        def norms(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
            return ops.cast(ops.sqrt(_squared_norms(kernel)), dtype)

        return kernel, self.add_weight(shape=shape[1:], name=f"{name}_gain", initializer=norms)

    def _scale(self, kernel: Tensor, gain: Tensor) -> Tensor:
        """`gain / ||v||` for every column of `kernel`."""
        squared_norms = _squared_norms(kernel)
        scale = ops.cast(gain, squared_norms.dtype) * ops.rsqrt(squared_norms)
        return ops.cast(scale, self.compute_dtype)

    def _first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        bias = self.bias_initializer(shape, dtype=dtype)
        if not self.unit_forget_bias:
            return bias
        i, _, u, o = ops.split(bias, 4)
        return ops.concatenate([i, ops.ones((self.units,), dtype=dtype), u, o])

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        inside = {"units": 4, "output_gate": "inside", "weight_normalization": True}
        return Card(
            [Case({"units": 4}, name="default"), Case(inside, name="inside, normalized")],
            others={"output_gate": "inside"},
            gates="input, forget, output",
            also_in="torchrecurrent",
            workload=Workload(peers={"torchrecurrent": "MultiplicativeLSTM"}),
        )


def _squared_norms(kernel: Tensor) -> Tensor:
    """The squared norm of every column, kept away from zero.

    In float32, or float64 if that is what there is: bfloat16 has no digit left for a sum
    over thousands of rows.
    """
    is_double = keras.backend.standardize_dtype(kernel.dtype) == "float64"
    kernel = ops.cast(kernel, "float64" if is_double else "float32")
    return ops.maximum(ops.sum(ops.square(kernel), axis=0), _SMALLEST_SQUARED_NORM)
