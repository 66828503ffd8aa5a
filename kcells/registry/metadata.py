"""From installed entry points to `CellInfo`; nothing is imported here.

Reading the metadata of every installed distribution takes some 20 ms, so the result
is kept. It is read again when `sys.path` or one of its folders has changed, so that
a plugin installed from a running notebook is found. If a distribution stands on
`sys.path` twice, the first one counts, as it does for `import`.

What other libraries call a cell stands in a group of its own too, alias by alias:
`PeepholeLSTMCell = "lstmp"`.

Which paths a cell takes besides the loop nobody can know before an import, so a plugin
may say it in a group of its own: `min_gru = "parallel"`. Build tools want a dotted name
there and no list: several paths have dots between them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kcells.registry.info import BUILTIN_DISTRIBUTION, DECLARED_PATHS, LOOP, CellInfo
from kcells.text import one_line

__all__ = ["ALIASES_GROUP", "GROUP", "TRAITS_GROUP", "declared_cells", "refresh"]

GROUP = "kcells.cells"

TRAITS_GROUP = "kcells.cells.traits"
"""Where a plugin may say which paths its cells take."""

ALIASES_GROUP = "kcells.cells.aliases"
"""Where a plugin may say what others call its cells."""

_Fingerprint = tuple[tuple[str, int], ...]

# No lock: two threads may both read, and get the same; a lock that a fork copies while it is
# held would stop the child for good. What was read is dated instead: a thread that has begun
# before a `refresh` may end after it.
_age: object = object()
_cache: tuple[object, _Fingerprint, tuple[CellInfo, ...]] | None = None


def declared_cells() -> tuple[CellInfo, ...]:
    """All declarations of all installed distributions, sorted by id.

    Trust (`KCELLS_PLUGINS`) is not applied here.
    """
    global _cache
    age, fingerprint, cached = _age, _path_fingerprint(), _cache
    if cached is None or cached[:2] != (age, fingerprint):
        infos = sorted(read_distributions(importlib_metadata.distributions()))
        cached = _cache = (age, fingerprint, tuple(infos))
    return cached[2]


def refresh() -> None:
    """Forgets what was read, so that the next look-up reads the metadata again."""
    global _age
    _age = object()


def read_distributions(
    distributions: Iterable[Any],
) -> Iterator[CellInfo]:
    """The declarations of `distributions`; of two with one name, the first counts."""
    seen: set[str] = set()
    for distribution in distributions:
        try:
            infos = _read(distribution)
        except Exception as error:
            # Metadata that cannot be read must not hide the cells of everybody else.
            warnings.warn(
                f"kcells: the metadata of {one_line(_location(distribution))} cannot be read, and"
                f" its cells are left out: {type(error).__name__}: {one_line(error)}",
                stacklevel=2,
            )
            continue
        for info in infos:
            if info.distribution not in seen:
                yield info
        seen.update(info.distribution for info in infos)


def _read(distribution: Any) -> list[CellInfo]:
    # Most distributions declare no cell: look before parsing anything.
    if GROUP not in (distribution.read_text("entry_points.txt") or ""):
        return []
    name = canonicalize_name(distribution.metadata.get("Name") or "")
    if not name:
        return []
    with contextlib.suppress(importlib_metadata.PackageNotFoundError):
        # What stands first on sys.path under this name; it may have given up the cells.
        distribution = importlib_metadata.distribution(name)
    metadata = distribution.metadata
    requires = tuple(_requirements_on_kcells(metadata.get_all("Requires-Dist") or ()))
    text = distribution.read_text("entry_points.txt") or ""
    traits = dict(_entries(text, TRAITS_GROUP))
    aliases = list(_entries(text, ALIASES_GROUP))
    return [
        CellInfo(
            id=cell_id,
            distribution=name,
            version=_folded(metadata.get("Version")),
            target=target,
            summary=_folded(metadata.get("Summary")),
            requires=requires,
            paths=_paths(traits.get(cell_id, "")),
            aliases=tuple(alias for alias, meant in aliases if meant == cell_id),
        )
        for cell_id, target in dict(_entries(text, GROUP)).items()
    ]


def _folded(text: str | None) -> str:
    """A field of one line; the format lets it go on in further ones."""
    return " ".join((text or "").split())


def _entries(text: str, wanted: str) -> Iterator[tuple[str, str]]:
    """Name and target of the entry points of a group; damaged lines are passed over.

    importlib-metadata reads such a file too, and fails as a whole on one bad line.
    """
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[] ")
        elif group == wanted and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            target = "".join(value.partition("[")[0].split())
            if name.strip() and target:
                yield name.strip(), target


def _paths(traits: str) -> tuple[str, ...]:
    """The paths that traits name; words of a later kcells are passed over."""
    words = traits.split(".")
    return (*(path for path in DECLARED_PATHS if path in words), LOOP)


def _location(distribution: Any) -> str:
    return str(distribution.locate_file("")) if hasattr(distribution, "locate_file") else "one"


def _requirements_on_kcells(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and canonicalize_name(requirement.name) == BUILTIN_DISTRIBUTION:
            yield str(requirement)


def _path_fingerprint() -> _Fingerprint:
    return tuple((entry, _modified(entry or os.curdir)) for entry in sys.path)


def _modified(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
