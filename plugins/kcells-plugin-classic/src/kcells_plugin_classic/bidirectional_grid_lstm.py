"""The grid LSTM that goes through the frequencies both up and down."""

from __future__ import annotations

from typing import Any

import keras

from kcells import Card, Case
from kcells.errors import ConfigurationError
from kcells_plugin_classic._frequency import WITHIN_A_STEP
from kcells_plugin_classic.grid_lstm import GridLSTMCell

__all__ = ["BidirectionalGridLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class BidirectionalGridLSTMCell(GridLSTMCell):
    """Two grid LSTMs: one goes up through the frequencies, the other down.

        y^up_t, s^up_t = up(x_t, s^up_{t-1})
        y^down_t, s^down_t = down(x_t, s^down_{t-1})

    `up` and `down` are `GridLSTMCell`, each with weights of its own; `down` begins with the
    highest block of each band. Both go on in time alone, so a step needs no later one. The
    output is `y^up` and then `y^down`, in the order in which each goes through the blocks.

    Paper: Kalchbrenner, Danihelka and Graves 2015, "Grid Long Short-Term Memory",
    arXiv:1507.01526; Sainath and Li 2016, "Modeling Time-Frequency Patterns with LSTM vs.
    Convolutional Architectures for LVCSR Tasks", Interspeech 2016.

    Differences: both directions in frequency are those of `BidirectionalGridLSTMCell` in
    `tf.contrib.rnn`, and not in the papers. For the equations see `GridLSTMCell`.

    Args:
        units: the size of the states of a block, a positive int.
        backward_slice_offset: by how much the blocks of `down` are above those of `up`, an
            int, below zero if they are below. Beyond the features are zeros. Default: 0.
        **kwargs: the other arguments of `GridLSTMCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`, both `(batch, 2 * blocks, units)`;
    output `(batch, 4 * blocks * units)`. Weights: those of `GridLSTMCell` for `up`, and for
    `down` the same with `backward_` in front of their names.

    Raises:
        ConfigurationError: if `backward_slice_offset` is no int, or for what `GridLSTMCell`
            raises it.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or
            have fewer features than a band or a block.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("bidirectional_grid_lstm", 4, feature_size=8, frequency_skip=4)
    >>> tuple(layer(np.ones((2, 5, 40), "float32")).shape)  # 9 blocks
    (2, 144)
    """

    def __init__(self, units: int, backward_slice_offset: int = 0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if type(backward_slice_offset) is not int:
            raise ConfigurationError(
                "BidirectionalGridLSTMCell: backward_slice_offset must be an int; received"
                f" {backward_slice_offset!r}."
            )
        self.backward_slice_offset = backward_slice_offset
        self.padding = (max(0, -backward_slice_offset), max(0, backward_slice_offset))

    def add_weights(self, features: int) -> None:
        """Creates the weights of each band, for the way up and for the way down."""
        super().add_weights(features)
        self.add_scans(features, "backward_", shift=self.backward_slice_offset, turn=-1)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        blocks = {"units": 2, "feature_size": 3, "frequency_skip": 2}
        bands = {"feature_size": 2, "bands": [(0, 2), (2, 5)], "backward_slice_offset": -1}
        return Card(
            [
                Case(blocks, inputs=(6,), name="blocks"),
                Case({**blocks, "backward_slice_offset": 2}, inputs=(5,), name="offset"),
                Case({"units": 2, **bands, "peepholes": True}, inputs=(5,), name="bands"),
            ],
            others={
                "feature_size": 1,
                "frequency_skip": 2,
                "bands": [(0, 1), (0, 3)],
                "cell_clip": 3.0,
                "forget_bias": 0.5,
                "backward_slice_offset": 1,
            },
            gates="input, forget, output, in time and frequency",
            learning=WITHIN_A_STEP,
        )
