"""The laws that every cell keeps."""

import pytest

from kcells.testing import parametrize_with_checks


@parametrize_with_checks(["ln_gru"], marks={"saving": pytest.mark.slow})
def test_law(check):
    check()
