"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks


@parametrize_with_checks(["nested", "parallel"], marks={"saving": pytest.mark.slow})
def test_law(check):
    check()


@pytest.mark.once
def test_every_argument_survives():
    arguments = {
        "unit_1": 1,
        "unit_2": 2,
        "unit_3": 3,
        "kernel_initializer": "he_normal",
        "kernel_regularizer": "l2",
        "kernel_constraint": "non_neg",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "seed": 5,
    }
    check_cell("nested", arguments=arguments, inputs=[(2,), (3, 5)], only="config")
