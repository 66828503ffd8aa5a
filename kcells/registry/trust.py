"""Which plugins may be used: the environment variable `KCELLS_PLUGINS`.

Unset, every installed plugin may. Set, only the distributions that it names,
separated by commas; set to nothing, none. The cells of kcells itself are no plugin
and are always there. The variable is read at every look-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from packaging.utils import canonicalize_name

from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo

__all__ = ["VARIABLE", "split_by_trust"]

VARIABLE = "KCELLS_PLUGINS"


def allowed_distributions() -> frozenset[str] | None:
    """The normalized names in `KCELLS_PLUGINS`; None if it is not set."""
    value = os.environ.get(VARIABLE)
    if value is None:
        return None
    return frozenset(canonicalize_name(name.strip()) for name in value.split(",") if name.strip())


def split_by_trust(infos: Iterable[CellInfo]) -> tuple[tuple[CellInfo, ...], tuple[CellInfo, ...]]:
    """Parts declarations into those that may be used and those that are hidden."""
    infos = tuple(infos)
    allowed = allowed_distributions()
    if allowed is None:
        return infos, ()

    def trusted(info: CellInfo) -> bool:
        return info.distribution == BUILTIN_DISTRIBUTION or info.distribution in allowed

    return (
        tuple(info for info in infos if trusted(info)),
        tuple(info for info in infos if not trusted(info)),
    )
