"""A `site-packages` of its own for every test of the registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_dists import FakeSite, temporary_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    """An empty folder in front of `sys.path`."""
    with temporary_site(tmp_path / "site") as made:
        yield made
