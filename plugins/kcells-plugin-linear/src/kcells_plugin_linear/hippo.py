"""Where a diagonal state space starts: at a matrix of HiPPO, in the basis of its eigenvectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import initializers, ops

from kcells.types import Tensor

__all__ = ["Eigenbasis"]


class Eigenbasis:
    """Eigenvalues and eigenvectors of copies of the normal part of the HiPPO-LegS matrix.

    That part is `-1/2` on the diagonal and antisymmetric beside it. So its eigenvalues have the
    real part -1/2, its eigenvectors are orthonormal, and both come in conjugate pairs.

    Args:
        size: how many eigenvalues are kept.
        blocks: the number of copies, which divides `size`.
        conjugate: whether of each pair one is kept, or both.
        seed: an int for the random matrices, or None.
    """

    def __init__(self, size: int, blocks: int, conjugate: bool, seed: int | None) -> None:
        kept = size // blocks
        frequencies, vectors = _eigen(2 * kept if conjugate else kept)
        self._frequencies = np.tile(frequencies[:kept], blocks)
        self._vectors = np.kron(np.eye(blocks), vectors[:, :kept])
        self._seed = seed

    def imaginary_parts(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Those of the eigenvalues."""
        return ops.convert_to_tensor(self._frequencies, dtype=dtype)

    def from_inputs(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """`V^-1 B` of a random real `B`, for rows: `(features, 2 * size)`."""
        real, imaginary = self._parts()
        b = self._draw((shape[0], len(self._vectors)), "fan_out", 0)
        # V^-1 is the conjugate of V transposed.
        return _joined([ops.matmul(b, real), -ops.matmul(b, imaginary)], 1, dtype)

    def to_outputs(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """`C V` of a random complex `C`, for rows: `(2 * size, units)`."""
        real, imaginary = (ops.transpose(part) for part in self._parts())
        c, d = (self._draw((len(self._vectors), shape[1]), "fan_in", k) for k in (1, 2))
        blocks = [
            ops.matmul(real, c) - ops.matmul(imaginary, d),
            ops.matmul(imaginary, c) + ops.matmul(real, d),
        ]
        return _joined(blocks, 0, dtype)

    def _parts(self) -> list[Tensor]:
        parts = (self._vectors.real, self._vectors.imag)
        return [ops.convert_to_tensor(part, dtype="float32") for part in parts]

    def _draw(self, shape: tuple[int, ...], mode: Any, number: int) -> Tensor:
        """Random numbers with the variance one by the size of the state with its conjugates."""
        seed = None if self._seed is None else self._seed + number
        draw = initializers.VarianceScaling(1.0, mode, "truncated_normal", seed=seed)
        return draw(shape, dtype="float32")


def _joined(blocks: list[Tensor], axis: int, dtype: Any) -> Tensor:
    return ops.cast(ops.concatenate(blocks, axis=axis), dtype)


def _eigen(size: int) -> tuple[Any, Any]:
    """The imaginary parts of the eigenvalues, the smallest first, and the eigenvectors."""
    root = np.sqrt(np.arange(size) + 0.5)
    below = np.tril(np.outer(root, root), -1)
    # An antisymmetric matrix by i is Hermitian.
    return np.linalg.eigh(-1j * (below.T - below))
