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
}
OF_GATES = {**OF_ALL, "recurrent_activation": "hard_sigmoid"}
OF_VECTORS = {"alpha_initializer": "random_uniform", "beta_initializer": "zeros"}
EVERY_ARGUMENT = {
    "mlstm": {
        **OF_GATES,
        "unit_forget_bias": False,
        "output_gate": "inside",
        "weight_normalization": True,
    },
    "mrnn": {**OF_ALL, "factors": 5},
    "mgru": OF_GATES,
    "mi_rnn": {**OF_ALL, **OF_VECTORS},
    "mi_gru": {**OF_GATES, **OF_VECTORS},
    "mi_lstm": {**OF_GATES, **OF_VECTORS, "unit_forget_bias": True},
}


@parametrize_with_checks(
    ["mlstm", "mrnn", "mgru", "mi_rnn", "mi_gru", "mi_lstm"],
    marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow},
)
def test_law(check):
    check()


@pytest.mark.once
@pytest.mark.parametrize("cell", EVERY_ARGUMENT)
def test_every_argument_survives(cell):
    check_cell(cell, arguments=EVERY_ARGUMENT[cell], only="config")
