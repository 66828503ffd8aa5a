"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks

OF_ALL = {
    "kernel_initializer": "he_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l1",
    "recurrent_regularizer": "l2",
    "bias_regularizer": "L1L2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "non_neg",
    "bias_constraint": "unit_norm",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 7,
    "recurrent_initializer": "random_normal",
}
BLOCKS = {
    "feature_size": 1,
    "frequency_skip": 2,
    "bands": [(0, 1), (0, 3)],
    "cell_clip": 3.0,
    "activation": "softsign",
    "forget_bias": 0.5,
}
GRID = {
    **BLOCKS,
    "peepholes": True,
    "share_time_frequency_weights": True,
    "couple_input_forget_gates": True,
}
EVENTS = {"features": (3,), "time": (1,)}
OF_ONE = {
    "basic_rnn": {"activation": "softsign"},
    "basic_lstm": {"activation": "softsign", "forget_bias": 0.5},
    "lstmp": {
        "projection": 2,
        "peepholes": False,
        "cell_clip": 3.0,
        "projection_clip": 2.0,
        "activation": "softsign",
        "forget_bias": 0.5,
    },
    "cifg_lstm": {"peepholes": False, "activation": "softsign"},
    "glstm": {
        "groups": 3,
        "projection": 6,
        "activation": "softsign",
        "forget_bias": 0.5,
    },
    "gru_v1": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "gru_v3": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "ugrnn": {"activation": "softsign", "forget_bias": 0.5},
    "intersection_rnn": {
        "activation": "softsign",
        "output_activation": "elu",
        "forget_bias": 0.5,
    },
    "indrnn": {"activation": "softsign"},
    "lstm_block": {
        "peepholes": True,
        "cell_clip": 3.0,
        "activation": "softsign",
        "forget_bias": 0.5,
    },
    "gru_block": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "indy_lstm": {"activation": "softsign", "forget_bias": 0.5},
    "indy_gru": {"activation": "softsign"},
    "time_freq_lstm": {**BLOCKS, "peepholes": False},
    "grid_lstm": GRID,
    "bidirectional_grid_lstm": {**GRID, "backward_slice_offset": 1},
    "nas": {"projection": 2, "use_bias": True},
    "phased_lstm": {
        "peepholes": False,
        "activation": "softsign",
        "open_ratio": 0.3,
        "leak": 0.01,
        "shortest_period": 1.0,
        "longest_period": 7.0,
    },
}

OF_FRAMES = {
    "kernel_size": (3, 2),
    "padding": "same",
    "data_format": "channels_first",
    "dilation_rate": 2,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": False,
}
ON_FRAMES = {
    "conv_lstm": {"peepholes": True, "unit_forget_bias": False},
    "conv_gru": {"strides": (2, 1), "dilation_rate": 1},
}


@parametrize_with_checks(
    [*OF_ONE, *ON_FRAMES], marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow}
)
def test_law(check):
    check()


@pytest.mark.once
@pytest.mark.parametrize("cell", OF_ONE)
def test_every_argument_survives(cell):
    inputs = EVENTS if cell == "phased_lstm" else (3,)
    check_cell(cell, arguments={"units": 3, **OF_ALL, **OF_ONE[cell]}, inputs=inputs, only="config")


@pytest.mark.once
@pytest.mark.parametrize("cell", ON_FRAMES)
def test_every_argument_survives_on_frames(cell):
    arguments = {"filters": 3, **OF_ALL, **OF_FRAMES, **ON_FRAMES[cell]}
    check_cell(cell, arguments=arguments, inputs=(2, 4, 5), only="config")
