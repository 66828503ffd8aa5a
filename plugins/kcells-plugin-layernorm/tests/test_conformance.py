"""The laws that every cell keeps."""

import pytest

from kcells.testing import cells_of, check_cell, parametrize_with_checks

SLOW = {"saving": pytest.mark.slow, "paths": pytest.mark.slow}


@parametrize_with_checks(cells_of("kcells-plugin-layernorm"), marks=SLOW)
def test_law(check):
    check()


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
