"""The laws that every cell keeps."""

import pytest

from kcells.testing import parametrize_with_checks

CELLS = [
    *("mgu", "janet", "li_gru", "fast_rnn", "fast_grnn", "lem", "cornn", "rhn", "slstm"),
    *("on_lstm", "nested_lstm", "unicornn", "lmu", "cfc", "ltc"),
    "xlstm_mlstm",
    "esn",
]


@parametrize_with_checks(CELLS, marks={"saving": pytest.mark.slow, "paths": pytest.mark.slow})
def test_law(check):
    check()
