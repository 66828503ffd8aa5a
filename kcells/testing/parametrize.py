"""The checks as tests of pytest, which is imported when somebody asks for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from kcells.errors import ConfigurationError
from kcells.registry import list_cells
from kcells.testing.law import Law
from kcells.testing.result import ConformanceError
from kcells.testing.runner import check_expected, check_names, expectation, planned, result_of
from kcells.testing.subject import Subject
from kcells.testing.target import Target

__all__ = ["Check", "cells_of", "parametrize_with_checks"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One law for one cell in one case; a test calls it.

    Attributes:
        law: the law.
        subject: the cell, in a case.
        expected: why the law does not hold, if that is known.
    """

    law: Law
    subject: Subject
    expected: str | None = None

    @property
    def name(self) -> str:
        """The id of the test."""
        subject = self.subject
        return "-".join(filter(None, [subject.target.name, subject.case.name, self.law.name]))

    def __call__(self) -> None:
        """Raises `ConformanceError` if the law is broken; skips and fails as pytest does."""
        import pytest

        result = result_of(self.law, self.subject, self.expected)
        if result.is_bad:
            raise ConformanceError(str(result))
        if result.status == "skipped":
            pytest.skip(result.reason)
        if result.status == "failed as expected":
            pytest.xfail(result.reason)


def cells_of(distribution: str) -> list[str]:
    """The ids of all cells that an installed distribution declares, for its own tests.

    Args:
        distribution: its name.

    Raises:
        ConfigurationError: if it declares none: a test of no cell would pass.

    Examples:

    >>> from kcells.testing import cells_of
    >>> cells_of("kcells")
    ['gru', 'lstm', 'simple_rnn']
    """
    found = [info for info in list_cells() if info.distribution == canonicalize_name(distribution)]
    if not found:
        raise ConfigurationError(
            f"no installed distribution {distribution} declares a cell.\n"
            "  Install it (pip install -e .), and look at its entry points in the group"
            ' "kcells.cells".'
        )
    return [info.id for info in found]


def parametrize_with_checks(
    cells: Sequence[Any],
    expected_failures: Mapping[Any, Mapping[str, str]] | None = None,
    marks: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Any:
    """A decorator that runs a test once for each cell, case and law.

    Args:
        cells: ids, classes, cells, or pairs `(cell, options)` with the options `arguments` and
            `inputs` of `check_cell`.
        expected_failures: for a cell, the laws that it is known to break, with reasons.
        marks: for a law, a mark of pytest; `{"saving": pytest.mark.slow}`.
        seed: of weights and sequences.

    Returns:
        A decorator for a test with one argument, `check`, which it has to call.

    Raises:
        ConfigurationError: for an unknown law, or expectations of a cell that is not there.

    Examples:

    >>> from kcells.testing import parametrize_with_checks
    >>> @parametrize_with_checks(["gru"])
    ... def test_cell(check):
    ...     check()
    """
    import pytest

    if isinstance(cells, (str, type)) or not isinstance(cells, Sequence):
        raise ConfigurationError(
            f"parametrize_with_checks takes a list of cells; received {cells!r}."
        )
    found = []
    marks, failures = marks or {}, expected_failures or {}
    pairs = [entry if isinstance(entry, tuple) else (entry, {}) for entry in cells]
    check_names(marks)
    for expected in failures.values():
        check_expected(expected)
    _check_cells(failures, [cell for cell, _ in pairs])
    for cell, options in pairs:
        expected = failures.get(cell, {})
        for subject, law in planned(Target(cell, **options), seed=seed):
            check = Check(law, subject, expectation(expected, subject, law))
            mark = marks.get(law.name, ())
            found.append(pytest.param(check, id=check.name, marks=mark))
    return pytest.mark.parametrize("check", found)


def _check_cells(failures: Mapping[Any, Any], cells: Sequence[Any]) -> None:
    for cell in failures:
        if cell not in cells:
            raise ConfigurationError(
                f"expected_failures speaks of {cell!r}, which is not among the cells to check."
            )
