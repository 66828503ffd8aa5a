"""Shared by the tests of the command."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kcells.commands.group import main
from tests.bench.conftest import counted
from tests.fake_dists import FakeSite, temporary_site

__all__ = ["counted", "kcells_command", "site"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    """An empty folder in front of `sys.path`."""
    with temporary_site(tmp_path / "site") as made:
        yield made


@pytest.fixture
def kcells_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in this process, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run
