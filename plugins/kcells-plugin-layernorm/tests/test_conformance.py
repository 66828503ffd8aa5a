"""The laws that every cell keeps, and that every argument survives."""

import pytest

from kcells.testing import check_cell, parametrize_with_checks

OF_ALL = {
    "units": 3,
    "activation": "softsign",
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
    "seed": 7,
    "epsilon": 1e-3,
    "gamma_initializer": "random_uniform",
    "gamma_regularizer": "l2",
    "gamma_constraint": "non_neg",
}
EVERY_ARGUMENT = {
    "ln_gru": {
        **OF_ALL,
        "recurrent_activation": "hard_sigmoid",
        "reset_after": False,
        "normalize": True,
    },
    "ln_lstm": {
        **OF_ALL,
        "recurrent_activation": "hard_sigmoid",
        "unit_forget_bias": True,
        "normalize": "gates",
    },
    "ln_rnn": OF_ALL,
}


@parametrize_with_checks(
    ["ln_gru", "ln_lstm", "ln_rnn"],
    marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow},
)
def test_law(check):
    check()


@pytest.mark.once
@pytest.mark.parametrize("cell", EVERY_ARGUMENT)
def test_every_argument_survives(cell):
    check_cell(cell, arguments=EVERY_ARGUMENT[cell], only="config")


@pytest.mark.parametrize("cell", ["ln_gru", "ln_lstm"])
@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_without_norms_it_is_the_layer_of_keras(cell, other, use_bias):
    own = {"reset_after": other, "normalize": False}
    if cell == "ln_lstm":
        own = {"unit_forget_bias": other, "normalize": None}
    report = check_cell(
        cell, arguments={"units": 3, "use_bias": use_bias, **own}, only="equivalent"
    )
    assert [result.status for result in report.results] == ["passed"]
