"""The laws that every cell keeps."""

import pytest

from kcells.testing import cells_of, parametrize_with_checks

SLOW = {"saving": pytest.mark.slow, "paths": pytest.mark.slow}


@parametrize_with_checks(cells_of("kcells-plugin-gated"), marks=SLOW)
def test_law(check):
    check()
