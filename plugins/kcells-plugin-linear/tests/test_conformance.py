"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks

EVERY_ARGUMENT = {
    "min_gru": {
        "units": 3,
        "activation": "softsign",
        "use_bias": True,
        "kernel_initializer": "he_normal",
        "bias_initializer": "ones",
        "kernel_regularizer": "l1",
        "bias_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "bias_constraint": "non_neg",
        "dropout": 0.1,
        "seed": 7,
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


@parametrize_with_checks(["min_gru", "lru"], marks={"saving": pytest.mark.slow})
def test_law(check):
    check()


@pytest.mark.parametrize("cell", EVERY_ARGUMENT)
def test_every_argument_survives(cell):
    check_cell(cell, arguments=EVERY_ARGUMENT[cell], only="config")
