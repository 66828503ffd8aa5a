"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks

EVERY_ARGUMENT = {
    "units": 3,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "random_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l1",
    "recurrent_regularizer": "l2",
    "bias_regularizer": "L1L2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "non_neg",
    "bias_constraint": "unit_norm",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "reset_after": False,
    "seed": 7,
    "normalize": True,
    "epsilon": 1e-3,
    "gamma_initializer": "random_uniform",
    "gamma_regularizer": "l2",
    "gamma_constraint": "non_neg",
}


@parametrize_with_checks(["ln_gru"], marks={"saving": pytest.mark.slow})
def test_law(check):
    check()


def test_every_argument_survives():
    check_cell("ln_gru", arguments=EVERY_ARGUMENT, only="config")


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_without_norms_it_is_a_gru(reset_after, use_bias):
    arguments = {"units": 3, "normalize": False, "reset_after": reset_after, "use_bias": use_bias}
    report = check_cell("ln_gru", arguments=arguments, only="equivalent")
    assert [result.status for result in report.results] == ["passed"]
