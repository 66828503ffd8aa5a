"""What is measured in a backend's own terms: bare products, and the layers of others.

One module a backend, and each is imported in a process of that backend alone; a backend
itself is imported inside of the functions, so that looking at a module costs nothing.
`products(shapes, batch, steps)` is in each: the floor of `kcells.bench.floor`.
"""

from __future__ import annotations

from typing import Any

from kcells.running import backend_module

__all__ = ["current"]


def current() -> Any:
    """The module of the running backend."""
    return backend_module(__name__)
