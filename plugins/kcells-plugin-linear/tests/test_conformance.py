"""The laws that every cell keeps."""

import pytest

from kcells.testing import parametrize_with_checks


@parametrize_with_checks(["min_gru", "lru"], marks={"saving": pytest.mark.slow})
def test_law(check):
    check()
