"""What runs a decoding loop; one module a backend.

Each has `compiled(parts)`, a function from flat lists of tensors to flat lists of tensors that runs
the `kcells.decoding.parts.Parts` of a loop, and `written(buffer, position, entry)`, which gives a
buffer with one more entry.
"""

from __future__ import annotations

from typing import Any

from kcells.running import backend_module

__all__ = ["current"]


def current() -> Any:
    """The module of the running backend."""
    return backend_module(__name__)
