"""From a cell to results: every law that applies, in every case."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

import keras
import numpy as np

from kcells.errors import ConfigurationError, KCellsError
from kcells.testing.checks import LAWS
from kcells.testing.checks.backends import key_of, numbers_of
from kcells.testing.law import Law, NotApplicableError, ViolationError
from kcells.testing.result import Report, Result, Status
from kcells.testing.subject import Subject
from kcells.testing.target import Target, errors_as_they_are, policy
from kcells.types import Structure

__all__ = [
    "check_cell",
    "check_expected",
    "check_names",
    "expectation",
    "laws",
    "planned",
    "record",
    "result_of",
    "run_checks",
]

Path: TypeAlias = str | PathLike[str]

_KERAS = os.path.dirname(keras.__file__)


def laws() -> tuple[Law, ...]:
    """All laws, in the order in which they are looked at.

    Examples:

    >>> from kcells.testing import laws
    >>> [law.text for law in laws() if law.name == "causality"]
    ['A change at time t changes nothing before t.']
    """
    return LAWS


def check_cell(
    cell: Any,
    *,
    arguments: Mapping[str, Any] | None = None,
    inputs: Structure = None,
    only: str | Collection[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    seed: int = 0,
    recorded: Path | Sequence[Path] = (),
) -> Report:
    """Checks that a cell keeps the laws that every recurrent cell should keep.

    Each law that does not concern the cell, since it makes no such claim, is skipped with
    the reason. The random seeds of Keras, NumPy and Python are set on the way.

    Args:
        cell: an id such as `"mlstm"`, a cell class, or a cell.
        arguments: for the constructor, unless `cell` is made already. Left out, the
            cases of its card say what to check, or else it is made with `units=4`.
        inputs: the shapes of one step of one sample; `(3,)` if nobody says otherwise.
        only: the name of a law, or several. Left out, all.
        expected_failures: for laws that the cell is known to break, the reason. One that
            passes counts as a failure. The key is the name of a law, `"mask"`, or of a law
            in one case, `"mask[relu]"`.
        seed: of weights and sequences.
        recorded: files that `record` wrote in processes of other backends, to compare with.

    Returns:
        A report with a `Result` for each law and case.

    Raises:
        ConformanceError: with every failure: the law, the leaf, a line that reproduces it.
        ConfigurationError: for an unknown law, or arguments that cannot be guessed.
        ArgumentError, CellError: if no such cell can be made.

    Examples:

    >>> from kcells.testing import check_cell
    >>> report = check_cell("gru", only=["state_size", "causality"])
    >>> [(result.law, result.status) for result in report.results]
    [('state_size', 'passed'), ('causality', 'passed')]
    """
    report = Report(
        tuple(
            run_checks(
                cell,
                arguments=arguments,
                inputs=inputs,
                only=only,
                expected_failures=expected_failures,
                seed=seed,
                recorded=recorded,
            )
        )
    )
    report.raise_if_failed()
    return report


def run_checks(
    cell: Any,
    *,
    arguments: Mapping[str, Any] | None = None,
    inputs: Structure = None,
    only: str | Collection[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    seed: int = 0,
    recorded: Path | Sequence[Path] = (),
) -> Iterator[Result]:
    """What `check_cell` does, one `Result` after the other, without an error at the end.

    Args:
        cell, arguments, inputs, only, expected_failures, seed, recorded: see `check_cell`.
    """
    target = Target(cell, arguments, inputs)
    expected = {} if expected_failures is None else expected_failures
    check_names(_names(only))
    check_expected(expected)
    _check_question(target, seed)
    for subject, law in planned(target, only, seed, _files(recorded)):
        yield result_of(law, subject, expectation(expected, subject, law))


def _check_question(target: Target, seed: int) -> None:
    """Raises what is wrong with the question, and says nothing of the cell."""
    if not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"seed must be an int that is not negative; received {seed!r}.")
    for case in target.cases:
        target.make(case)


def _files(recorded: Path | Sequence[Path]) -> Sequence[Path]:
    return [recorded] if isinstance(recorded, (str, PathLike)) else recorded


def expectation(expected: Mapping[str, str], subject: Subject, law: Law) -> str | None:
    """Why a law is expected to fail in this case; None if it is not."""
    return expected.get(f"{law.name}[{subject.case.name}]", expected.get(law.name))


def planned(
    target: Target,
    only: str | Collection[str] | None = None,
    seed: int = 0,
    recorded: Sequence[Path] = (),
) -> Iterator[tuple[Subject, Law]]:
    """What is to be looked at: case by case, the laws of the class with the first."""
    names = _names(only)
    for position, case in enumerate(target.cases):
        subject = Subject(target, case, seed, recorded)
        for law in LAWS:
            if (not names or law.name in names) and not (law.of_class and position):
                yield subject, law


def result_of(law: Law, subject: Subject, expected: str | None = None) -> Result:
    """Looks whether a law holds.

    Args:
        law: the law.
        subject: the cell, in a case.
        expected: why it does not hold, if that is known.
    """
    known: dict[str, Any] = {
        "law": law.name,
        "case": subject.case.name,
        "cell": subject.target.title,
        "backend": keras.backend.backend(),
        "text": law.text,
        "reproduce": subject.target.reproduce(law.name, subject.seed, subject.recorded),
    }
    status: Status
    try:
        with policy("float32"), errors_as_they_are():
            law.check(subject)
    except NotApplicableError as error:
        return Result(**known, status="skipped", reason=str(error))
    except Exception as error:
        status = "failed" if expected is None else "failed as expected"
        return Result(**known, status=status, **_what_is_wrong(error, expected))
    if expected is not None:
        reason = f"it was expected to fail: {expected}"
        return Result(**known, status="passed unexpectedly", reason=reason)
    return Result(**known, status="passed")


def _what_is_wrong(error: Exception, expected: str | None) -> dict[str, Any]:
    if expected is not None:
        return {"reason": expected}
    if isinstance(error, ViolationError):
        return {
            "reason": str(error),
            "leaf": error.leaf,
            "difference": error.difference,
            "allowed": error.allowed,
        }
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, KCellsError):
        return {"reason": reason}
    return {"reason": reason, "traceback": _where(error)}


def _where(error: Exception) -> str:
    """Where it was raised, below the call of the law; what it says stands above."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    shown = [frame for frame in frames if not frame.filename.startswith(_KERAS)]
    return "".join(["Traceback (most recent call last):\n", *traceback.format_list(shown)])


def record(
    cell: Any,
    path: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    inputs: Structure = None,
    seed: int = 0,
) -> None:
    """Writes what a cell computes on this backend, for the law `backends` on another one.

    Args:
        cell, arguments, inputs, seed: see `check_cell`; they have to be the same there.
        path: the file, `.npz`.

    Examples:

    >>> import os, tempfile
    >>> from kcells.testing import check_cell, record
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "here.npz")
    ...     record("gru", path)
    ...     [r.status for r in check_cell("gru", only="backends", recorded=[path]).results]
    ['passed']
    """
    arrays: dict[str, Any] = {"backend": keras.backend.backend()}
    target = Target(cell, arguments, inputs)
    for case in target.cases:
        subject = Subject(target, case, seed)
        with policy("float32"):
            found = numbers_of(subject)
        values = {f"value {position}": value for position, value in enumerate(subject.weights)}
        arrays |= {key_of(subject, name): value for name, value in {**found, **values}.items()}
    with open(path, "wb") as file:  # savez would add an ending to a name.
        np.savez(file, **arrays)


def _names(only: str | Collection[str] | None) -> list[str]:
    if only is not None and not isinstance(only, (str, Collection)):
        raise ConfigurationError(f"only= takes the name of a law, or several; received {only!r}.")
    return [only] if isinstance(only, str) else list(only or ())


def check_expected(failures: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` for an expected failure of no law, or without a reason."""
    if not isinstance(failures, Mapping):
        raise ConfigurationError(
            f"expected_failures maps the name of a law to the reason; received {failures!r}."
        )
    check_names([name.partition("[")[0] for name in failures])
    for name, reason in failures.items():
        if not (isinstance(reason, str) and reason.strip()):
            raise ConfigurationError(
                f"{name!r} is expected to fail without a reason; received {reason!r}.\n"
                '  Say why, as in expected_failures={"saving": "it holds a function"}.'
            )


def check_names(names: Collection[str]) -> None:
    """Raises `ConfigurationError` for a name that is no law's."""
    every = [law.name for law in LAWS]
    for name in names:
        if name not in every:
            near = difflib.get_close_matches(name, every, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"there is no law {name!r}.{hint}\n  The laws are {', '.join(every)}."
            )
