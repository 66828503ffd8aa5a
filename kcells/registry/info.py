"""What is known of a declared cell before any of its code is imported."""

from __future__ import annotations

import dataclasses

__all__ = ["BUILTIN_DISTRIBUTION", "DECLARED_PATHS", "LOOP", "SESSION", "CellInfo"]

BUILTIN_DISTRIBUTION = "kcells"
"""The distribution whose cells own their bare names."""

SESSION = "session"
"""Stands for a distribution in the ids of cells registered in this process."""

LOOP = "loop"
"""The path that every cell can take."""

DECLARED_PATHS = ("fused", "parallel")
"""The paths that a declaration may add to it."""


@dataclasses.dataclass(frozen=True, order=True)
class CellInfo:
    """A declaration of a cell.

    Attributes:
        id: the bare name, `"mlstm"`.
        distribution: the normalized name of the distribution that declares it, or
            `"session"` for `kcells.register`.
        version: the distribution's version; empty for `"session"`.
        target: where the class is, `"package.module:Class"`.
        summary: the distribution's one-line description.
        requires: the distribution's requirements on kcells, such as `"kcells<1,>=0.1"`.
        paths: the paths that the cell takes in some configuration, as its distribution
            declares them: `"fused"` if it has an equivalent LSTM or GRU, `"parallel"` if it
            is linear in its state; `"loop"` is always there.
        aliases: what other libraries call the cell. It cannot be asked for by these names; the
            error gives the id.

    Examples:

    >>> import kcells
    >>> info = kcells.describe("gru")
    >>> info.id, info.distribution, info.class_name
    ('gru', 'kcells', 'GRUCell')
    >>> info.paths
    ('fused', 'loop')
    """

    id: str
    distribution: str
    version: str
    target: str
    summary: str = ""
    requires: tuple[str, ...] = ()
    paths: tuple[str, ...] = (LOOP,)
    aliases: tuple[str, ...] = ()

    @property
    def qualified_id(self) -> str:
        """The id that is never ambiguous, `"kcells-plugin-mlstm:mlstm"`."""
        return f"{self.distribution}:{self.id}"

    @property
    def class_name(self) -> str:
        """The name of the class without its module."""
        return self.target.partition(":")[2]

    @property
    def source(self) -> str:
        """Distribution and version, as messages show them."""
        return f"{self.distribution} {self.version}".rstrip()
