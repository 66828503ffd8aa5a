"""The grid LSTM over time and frequency: a cell for each."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case
from kcells.types import Tensor
from kcells_plugin_classic._frequency import WITHIN_A_STEP, FrequencyCell, Scan
from kcells_plugin_classic._starting import clip

__all__ = ["GridLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class GridLSTMCell(FrequencyCell):
    """Two LSTMs at every block of features: one goes on in time, the other in frequency.

    For each block k of features, from the lowest up, and for s = 1 (time) and 2 (frequency):

        i^s = sigmoid(W^s_i x^k_t + U^s_i h^k_{t-1} + V^s_i e^{k-1}_t + b^s_i
                      + p^s_i * c^k_{t-1} + q^s_i * d^{k-1}_t)
        f^s = sigmoid(W^s_f x^k_t + U^s_f h^k_{t-1} + V^s_f e^{k-1}_t + b^s_f + forget_bias
                      + p^s_f * c^k_{t-1} + q^s_f * d^{k-1}_t)
        g^s = activation(W^s_g x^k_t + U^s_g h^k_{t-1} + V^s_g e^{k-1}_t + b^s_g)

        c^k_t = clip(f^1 * c^k_{t-1} + i^1 * g^1, cell_clip)
        d^k_t = clip(f^2 * d^{k-1}_t + i^2 * g^2, cell_clip)
        o^s = sigmoid(W^s_o x^k_t + U^s_o h^k_{t-1} + V^s_o e^{k-1}_t + b^s_o
                      + p^s_o * c^k_t + q^s_o * d^k_t)

        h^k_t = o^1 * activation(c^k_t)
        e^k_t = o^2 * activation(d^k_t)

    `x^k` are `feature_size` features, each block `frequency_skip` above the one before it;
    all have the same weights. `e` and `d` below the first block are zero. The output is `h`
    and `e` of the first block, then of the second, and so on.

    Paper: Kalchbrenner, Danihelka and Graves 2015, "Grid Long Short-Term Memory",
    arXiv:1507.01526; for time and frequency, with inputs at every block and peepholes,
    Sainath and Li 2016, "Modeling Time-Frequency Patterns with LSTM vs. Convolutional
    Architectures for LVCSR Tasks", Interspeech 2016.

    Differences: Kalchbrenner et al. write `activation(o * c)` for the output of an LSTM, let
    inputs come in at the sides of the grid alone, and have no biases. The rest is
    `GridLSTMCell` of `tf.contrib.rnn`, where one says how many blocks there are; here they
    are counted. Features above the last whole block are not seen, as there. Weights start
    as in Keras.

    Args:
        units: the size of the states of a block, a positive int.
        share_time_frequency_weights: whether s = 1 and 2 have the same weights. Default: False.
        couple_input_forget_gates: whether `f^s` is `1 - i^s`. Default: False.
        peepholes: whether the gates see both cells. Default: False.
        **kwargs: the other arguments of `TimeFreqLSTMCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`, both `(batch, blocks, units)`; output
    `(batch, 2 * blocks * units)`. Weights, with the number of the band behind their names if
    there are bands: `kernel` `(feature_size, 8 * units)`, `recurrent_kernel`, which is `U`,
    and `frequency_kernel`, which is `V`, `(units, 8 * units)`, and `bias` `(8 * units,)`, the
    blocks i, f, g, o of s = 1, then of 2; `peephole_kernel` `(2, 2, 3, units)`, for each s
    `p` and `q` with the rows i, f, o. Shared weights are for one s, coupled gates have no f,
    and a band of one block has no `V`.

    Raises:
        ConfigurationError: if `units`, `feature_size`, `frequency_skip`, `bands`, `cell_clip`
            or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or
            have fewer features than a band or a block.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("grid_lstm", 4, feature_size=8, frequency_skip=4)
    >>> tuple(layer(np.ones((2, 5, 40), "float32")).shape)  # 9 blocks
    (2, 72)
    """

    outputs_of_block = 2

    def __init__(
        self,
        units: int,
        share_time_frequency_weights: bool = False,
        couple_input_forget_gates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.share_time_frequency_weights = share_time_frequency_weights
        self.couple_input_forget_gates = couple_input_forget_gates

    @property
    def columns(self) -> int:
        """How many blocks of `units` columns the matrices have."""
        blocks = 3 if self.couple_input_forget_gates else 4
        return blocks if self.share_time_frequency_weights else 2 * blocks

    @property
    def peephole_shape(self) -> tuple[int, ...]:
        """For each s, each cell and each gate."""
        gates = 2 if self.couple_input_forget_gates else 3
        return (1 if self.share_time_frequency_weights else 2, 2, gates, self.units)

    def advance(
        self, scan: Scan, sums: Tensor, c: Tensor, carried: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The step of one block: its new `[h, c]`, and `[e, d]` for the next block."""
        shared, count = (
            self.share_time_frequency_weights,
            3 if self.couple_input_forget_gates else 4,
        )
        both = [sums, sums] if shared else ops.split(sums, 2, axis=-1)
        both = [ops.split(blocks, count, axis=-1) for blocks in both]
        cells = [self._new_cell(scan, s, both[s], [c, carried[1]]) for s in (0, 1)]
        h, e = (
            ops.sigmoid(both[s][-1] + self._seen(scan, s, -1, cells)) * self.activation(cells[s])
            for s in (0, 1)
        )
        return [h, cells[0]], [e, cells[1]]

    def _new_cell(self, scan: Scan, s: int, blocks: list[Tensor], cells: list[Tensor]) -> Tensor:
        """`c` or `d` from the blocks i, f, g, o, or i, g, o, of its LSTM, and both cells."""
        i = blocks[0] + self._seen(scan, s, 0, cells)
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        f = -i
        if not self.couple_input_forget_gates:
            f = blocks[1] + self._seen(scan, s, 1, cells) + self.forget_bias
        new = ops.sigmoid(f) * cells[s] + ops.sigmoid(i) * self.activation(blocks[-2])
        return clip(new, self.cell_clip)

    def _seen(self, scan: Scan, s: int, gate: int, cells: list[Tensor]) -> Tensor:
        """What a gate gets through its peepholes."""
        if scan.peephole_kernel is None:
            return 0.0
        weights = scan.peephole_kernel[0 if self.share_time_frequency_weights else s]
        return weights[0, gate] * cells[0] + weights[1, gate] * cells[1]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        blocks = {"units": 2, "feature_size": 3, "frequency_skip": 2}
        shared = {"share_time_frequency_weights": True, "cell_clip": 0.4}
        coupled = {"couple_input_forget_gates": True, "bands": [(0, 2), (2, 5)]}
        return Card(
            [
                Case(blocks, inputs=(6,), name="blocks"),
                Case({**blocks, **shared, "peepholes": True}, inputs=(5,), name="shared weights"),
                Case({"units": 2, "feature_size": 2, **coupled}, inputs=(5,), name="coupled gates"),
                Case({"units": 2, "peepholes": True, "use_bias": False}, name="one block"),
            ],
            others={
                "feature_size": 1,
                "frequency_skip": 2,
                "bands": [(0, 1), (0, 3)],
                "cell_clip": 3.0,
                "forget_bias": 0.5,
            },
            gates="input, forget, output, in time and frequency",
            learning=WITHIN_A_STEP,
        )
