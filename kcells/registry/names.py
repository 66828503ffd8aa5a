"""From a name to one declaration, or to an error that says what would have worked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from packaging.utils import canonicalize_name

from kcells.errors import AmbiguousCellError, UnknownCellError, table
from kcells.registry.info import BUILTIN_DISTRIBUTION, CellInfo
from kcells.registry.known import known_cells
from kcells.registry.metadata import GROUP
from kcells.registry.trust import VARIABLE

__all__ = ["resolve"]

_NO_MORE_THAN_A_CELL = re.compile(r"(cell|cells|layer|wrapper)\Z")

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


def resolve(name: str, infos: Sequence[CellInfo], hidden: Sequence[CellInfo] = ()) -> CellInfo:
    """Finds the one declaration that `name` means.

    Args:
        name: an id (`"mlstm"`) or a qualified id (`"kcells-plugin-mlstm:mlstm"`).
        infos: the declarations to choose from.
        hidden: declarations that trust has ruled out, for the message.

    Raises:
        UnknownCellError: with the nearest names.
        AmbiguousCellError: with the qualified ids.
    """
    found = _matching(name, infos)
    owned = [info for info in found if info.distribution == BUILTIN_DISTRIBUTION]
    if owned:
        return owned[0]
    if len(found) > 1:
        raise _ambiguous(name, found)
    if not found:
        raise _unknown(name, infos, hidden)
    return found[0]


def _matching(name: str, infos: Sequence[CellInfo]) -> list[CellInfo]:
    if ":" not in name:
        return [info for info in infos if info.id == name]
    # An id may hold a colon itself. On its own it means nothing: it could pose as the qualified
    # id of another distribution.
    return [
        info
        for info in infos
        if name.endswith(f":{info.id}")
        and canonicalize_name(name.removesuffix(f":{info.id}")) == info.distribution
    ]


def _ambiguous(name: str, found: Sequence[CellInfo]) -> AmbiguousCellError:
    rows = [(f'"{info.qualified_id}"', f"{info.source}", info.target) for info in found]
    return AmbiguousCellError(
        f'{len(found)} declarations of a cell "{name}".\n{table(rows)}\n'
        "  Say which one you mean by its qualified id, the first column."
    )


def _unknown(name: str, infos: Sequence[CellInfo], hidden: Sequence[CellInfo]) -> UnknownCellError:
    lines = [f'no installed plugin declares a cell "{name}".']
    meant = _meant(name, infos)
    missing = [] if meant else _not_installed(name, infos, hidden)
    near = [] if meant or missing else _nearest(name, infos)
    for info in meant:
        lines.append(f'  It is "{info.id}" here ({info.source}, class {info.class_name}).')
    for info in missing:
        lines.append(
            f'  "{info.id}" (class {info.class_name}) is a cell of {info.distribution}, which is'
            f" not installed: pip install {info.distribution}"
        )
    if near:
        lines.append("  Nearest: " + ", ".join(f'"{i.id}" ({i.source})' for i in near) + ".")
    distributions = {info.distribution for info in infos}
    lines.append(
        f'  Searched: entry-point group "{GROUP}",'
        f" {_count(len(distributions), 'distribution')}, {_count(len(infos), 'cell')}."
    )
    hiding = sorted({info.distribution for info in hidden})
    if hiding:
        lines.append(f"  Hidden by {VARIABLE}: {', '.join(hiding)}.")
    if _matching(name, hidden):
        lines.append(f"  One of these declares it. To use it, add its name to {VARIABLE}.")
    elif not (near or meant or missing) and _PLAIN_NAME.match(name):
        # Only where nothing is near: a typo must not recommend an unknown package.
        package = canonicalize_name(f"kcells-plugin-{name}")
        lines.append(
            "  If a plugin of the conventional name exists, this installs it:"
            f" pip install {package}"
        )
    return UnknownCellError("\n".join(lines))


def _meant(name: str, infos: Iterable[CellInfo]) -> list[CellInfo]:
    """What goes by this name elsewhere, or when spelled in another way."""
    asked = _plain(name)
    return [
        info
        for info in infos
        if asked and asked in map(_plain, (info.id, info.class_name, *info.aliases))
    ]


def _plain(name: str) -> str:
    """A name without case, signs, and words that say no more than that it is a cell."""
    return _NO_MORE_THAN_A_CELL.sub("", re.sub(r"[^a-z0-9]", "", name.lower()))


def _not_installed(
    name: str, infos: Sequence[CellInfo], hidden: Sequence[CellInfo]
) -> list[CellInfo]:
    there = {info.distribution for info in (*infos, *hidden)}
    return [info for info in _meant(name, known_cells()) if info.distribution not in there]


def _nearest(name: str, infos: Sequence[CellInfo]) -> list[CellInfo]:
    by_name: dict[str, CellInfo] = {}
    for info in infos:
        by_name.setdefault(info.id, info)
        by_name.setdefault(info.qualified_id, info)
    matches = difflib.get_close_matches(name, by_name, n=3, cutoff=0.6)
    return list(dict.fromkeys(by_name[match] for match in matches))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
