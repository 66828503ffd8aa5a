"""The plugin author's kit: laws that every recurrent cell should keep, and what checks them.

    from kcells.testing import cells_of, parametrize_with_checks

    @parametrize_with_checks(["foo"])
    def test_cell(check):
        check()

pytest is needed for that alone; `check_cell("foo")` needs none.
"""

from kcells.cells.card import Case
from kcells.testing.differentiate import Differentiated
from kcells.testing.law import Law
from kcells.testing.parametrize import cells_of, parametrize_with_checks
from kcells.testing.result import ConformanceError, Report, Result
from kcells.testing.runner import check_cell, laws, record, run_checks

__all__ = [
    "Case",
    "ConformanceError",
    "Differentiated",
    "Law",
    "Report",
    "Result",
    "cells_of",
    "check_cell",
    "laws",
    "parametrize_with_checks",
    "record",
    "run_checks",
]
