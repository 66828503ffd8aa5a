"""From installed entry points to `CellInfo`; nothing is imported here.

Reading the metadata of every installed distribution takes some 20 ms, so the result
is kept. It is read again when `sys.path` or one of its folders has changed, so that
a plugin installed from a running notebook is found. If a distribution stands on
`sys.path` twice, the first one counts, as it does for `import`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo

__all__ = ["GROUP", "declared_cells", "refresh"]

GROUP = "kcells.cells"

_Fingerprint = tuple[tuple[str, int], ...]

_lock = threading.Lock()
_cache: tuple[_Fingerprint, tuple[CellInfo, ...]] | None = None


def declared_cells() -> tuple[CellInfo, ...]:
    """All declarations of all installed distributions, sorted by id.

    Trust (`KCELLS_PLUGINS`) is not applied here.
    """
    global _cache
    fingerprint = _path_fingerprint()
    with _lock:
        if _cache is None or _cache[0] != fingerprint:
            infos = sorted(read_distributions(importlib_metadata.distributions()))
            _cache = (fingerprint, tuple(infos))
        return _cache[1]


def refresh() -> None:
    """Forgets what was read, so that the next look-up reads the metadata again."""
    global _cache
    with _lock:
        _cache = None


def read_distributions(
    distributions: Iterable[Any],
) -> Iterator[CellInfo]:
    """The declarations of `distributions`; of two with one name, the first counts."""
    seen: set[str] = set()
    for distribution in distributions:
        # Most distributions declare no cell: look before parsing anything.
        if GROUP not in (distribution.read_text("entry_points.txt") or ""):
            continue
        metadata = distribution.metadata
        name = canonicalize_name(metadata["Name"] or "")
        if not name or name in seen:
            continue
        seen.add(name)
        requires = tuple(_requirements_on_kcells(metadata.get_all("Requires-Dist") or ()))
        for entry_point in distribution.entry_points.select(group=GROUP):
            yield CellInfo(
                id=entry_point.name,
                distribution=name,
                version=metadata["Version"] or "",
                target=entry_point.value,
                summary=metadata["Summary"] or "",
                requires=requires,
            )


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
