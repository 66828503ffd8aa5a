"""The time-frequency LSTM: its output goes on in time and in frequency."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case
from kcells.types import Tensor
from kcells_plugin_classic._frequency import WITHIN_A_STEP, FrequencyCell, Scan
from kcells_plugin_classic._starting import clip

__all__ = ["TimeFreqLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class TimeFreqLSTMCell(FrequencyCell):
    """An LSTM that goes through the frequencies of a step, block by block.

    For each block k of features, from the lowest up:

        i^k_t = sigmoid(W_i x^k_t + U_i h^k_{t-1} + V_i h^{k-1}_t + p_i * c^k_{t-1} + b_i)
        f^k_t = sigmoid(W_f x^k_t + U_f h^k_{t-1} + V_f h^{k-1}_t + p_f * c^k_{t-1} + b_f
                        + forget_bias)
        g^k_t = activation(W_g x^k_t + U_g h^k_{t-1} + V_g h^{k-1}_t + b_g)

        c^k_t = clip(f^k_t * c^k_{t-1} + i^k_t * g^k_t, cell_clip)
        o^k_t = sigmoid(W_o x^k_t + U_o h^k_{t-1} + V_o h^{k-1}_t + p_o * c^k_t + b_o)
        h^k_t = o^k_t * activation(c^k_t)

    `x^k` are `feature_size` features, each block `frequency_skip` above the one before it;
    all have the same weights. `h` of the block below the first is zero. The output is `h`
    of all blocks, one after the other.

    Paper: Li, Mohamed, Zweig and Gong 2016, "Exploring Multidimensional LSTMs for Large
    Vocabulary ASR", ICASSP 2016; Sainath and Li 2016, "Modeling Time-Frequency Patterns with
    LSTM vs. Convolutional Architectures for LVCSR Tasks", Interspeech 2016.

    Differences: none in the equations; bound and constant are those of `TimeFreqLSTMCell` in
    `tf.contrib.rnn`, which has no peepholes unless asked to, and no bands. Features above the
    last whole block are not seen, as there. Weights start as in Keras.

    Args:
        units: the size of the state of a block, a positive int.
        feature_size: how many features a block has; None for a whole band. Default: None.
        frequency_skip: how far the blocks are apart. Default: 1.
        bands: pairs `(start, end)` of features, each a band with weights of its own, at whose
            first block the scan starts anew; None for all features in one. Default: None.
        peepholes: whether the gates see the cell. Default: True, as in the papers.
        cell_clip: a positive bound for `c`, or None. Default: None.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gate at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for all but `kernel` and `bias`; `recurrent_dropout` drops of
            what comes from the step before.

    Shapes: inputs `(batch, features)`; states `[h, c]`, both `(batch, blocks, units)`; output
    `(batch, blocks * units)`. Weights, with the number of the band behind their names if
    there are bands: `kernel` `(feature_size, 4 * units)`, `recurrent_kernel`, which is `U`,
    and `frequency_kernel`, which is `V`, `(units, 4 * units)`, and `bias` `(4 * units,)`, the
    blocks i, f, g, o; `peephole_kernel` `(3, units)`, the rows i, f, o. A band of one block
    has no `V`. The sizes are known once the cell is built; `keras.layers.RNN` takes no other.

    Raises:
        ConfigurationError: if `units`, `feature_size`, `frequency_skip`, `bands`, `cell_clip`
            or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or
            have fewer features than a band or a block.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("time_freq_lstm", 4, feature_size=8, frequency_skip=4)
    >>> tuple(layer(np.ones((2, 5, 40), "float32")).shape)  # 9 blocks
    (2, 36)
    """

    def __init__(self, units: int, peepholes: bool = True, **kwargs: Any) -> None:
        super().__init__(units, peepholes=peepholes, **kwargs)

    def advance(
        self, scan: Scan, sums: Tensor, c: Tensor, carried: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The step of one block: its new `[h, c]`, and what the next block gets."""
        i, f, g, o = ops.split(sums, 4, axis=-1)
        if scan.peephole_kernel is not None:
            i, f = i + scan.peephole_kernel[0] * c, f + scan.peephole_kernel[1] * c
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        c = clip(c, self.cell_clip)
        if scan.peephole_kernel is not None:
            o = o + scan.peephole_kernel[2] * c
        h = ops.sigmoid(o) * self.activation(c)
        return [h, c], [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        blocks = {"units": 3, "feature_size": 3, "frequency_skip": 2}
        bands = {"bands": [(0, 2), (2, 5)], "feature_size": 2}
        return Card(
            [
                Case(blocks, inputs=(6,), name="blocks"),
                Case({"units": 2, **bands, "peepholes": False}, inputs=(6,), name="bands"),
                Case({"units": 4, "cell_clip": 0.4, "use_bias": False}, name="one block"),
            ],
            others={
                "feature_size": 1,
                "frequency_skip": 2,
                "bands": [(0, 1), (0, 3)],
                "cell_clip": 3.0,
                "forget_bias": 0.5,
            },
            gates="input, forget, output",
            learning=WITHIN_A_STEP,
        )
