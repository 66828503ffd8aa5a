"""What the checks need in a backend's own terms; one module a backend.

Each has `differentiated(call, trained, others)`, a function of leaves and cotangents that gives
results and gradients; `compiled(function)`, the function as one program, or None where Keras
compiles nothing; and `double_precision()`, a context in which float64 exists.
"""

from __future__ import annotations

from typing import Any

from kcells.running import backend_module

__all__ = ["current"]


def current() -> Any:
    """The module of the running backend."""
    return backend_module(__name__)
