"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks

OF_MOST = {
    "units": 3,
    "use_bias": True,
    "kernel_initializer": "he_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l1",
    "bias_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "bias_constraint": "non_neg",
    "dropout": 0.1,
    "seed": 7,
}
EVERY_ARGUMENT = {
    "min_gru": {**OF_MOST, "activation": "softsign"},
    "min_lstm": {**OF_MOST, "activation": "softsign", "normalize_gates": False},
    "qrnn": {**OF_MOST, "activation": "softsign", "pooling": "ifo"},
    "sru": {**OF_MOST, "activation": "softsign", "highway_scale": 1.5},
    "rg_lru": {**OF_MOST, "r_min": 0.5, "r_max": 0.75, "power": 2.0},
    "hgru": {
        **OF_MOST,
        "activation": "softsign",
        "gate_activation": "sigmoid",
        "lower_bound": 0.5,
        "gate_first": False,
        "epsilon": 0.01,
    },
    "s5": {
        **OF_MOST,
        "state_units": 4,
        "blocks": 2,
        "conjugate": False,
        "min_step": 0.25,
        "max_step": 0.5,
        "feedthrough": "matrix",
        "timed": True,
    },
    "lru": {
        "units": 3,
        "state_units": 4,
        "r_min": 0.4,
        "r_max": 0.9,
        "max_phase": 0.3,
        "feedthrough": "diagonal",
        "kernel_initializer": "he_normal",
        "output_initializer": "random_normal",
        "feedthrough_initializer": "ones",
        "kernel_regularizer": "l1",
        "output_regularizer": "l2",
        "feedthrough_regularizer": "L1L2",
        "kernel_constraint": "max_norm",
        "output_constraint": "non_neg",
        "feedthrough_constraint": "unit_norm",
        "dropout": 0.1,
        "seed": 7,
    },
}


@parametrize_with_checks(
    ["min_gru", "min_lstm", "qrnn", "sru", "lru", "rg_lru", "hgru", "s5"],
    marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow},
)
def test_law(check):
    check()


@pytest.mark.once
@pytest.mark.parametrize("cell", EVERY_ARGUMENT)
def test_every_argument_survives(cell):
    check_cell(cell, arguments=EVERY_ARGUMENT[cell], only="config")
