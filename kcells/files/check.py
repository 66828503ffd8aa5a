"""Whether a file computes what the model does that it was written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from kcells.files.inputs import inputs_of
from kcells.files.run import RUNTIMES, run_file
from kcells.types import Structure

__all__ = ["Checked", "MissingRuntimeError", "check_file"]

BATCH, TIME = 2, 7


class MissingRuntimeError(ImportError):
    """The runtime of a format is not installed; nothing is known of the file."""


class Checked(NamedTuple):
    """What a run of a file has shown.

    Attributes:
        difference: by how much its outputs and those of the model differ at most.
        largest: the largest of the model's outputs, without its sign.
    """

    difference: float
    largest: float

    def agrees(self, tolerance: float = 1e-5) -> bool:
        """Whether that is no more than what float32 rounds off."""
        return self.difference <= tolerance * max(1.0, self.largest)


def check_file(model: keras.Model, form: str, path: Path, seed: int = 0) -> Checked:
    """Runs a file on random numbers, and the model too.

    Args:
        model: what was exported; for a `kcells.StreamingModel` its `flat()`.
        form: the format.
        path: the file.
        seed: for the numbers.

    Raises:
        MissingRuntimeError: if what runs the format is not installed.
        Exception: what the runtime says if it cannot run the file.
    """
    given = drawn(model, seed)
    wanted = tree.flatten(model(tree.map_structure(ops.convert_to_tensor, given)))
    try:
        found = run_file(form, path, given, [spec.name for spec in model.inputs])
    except ImportError as error:
        raise MissingRuntimeError(
            f"{RUNTIMES[form]} is not installed, and it runs files of the format {form}.\n"
            f"  pip install {RUNTIMES[form]}"
        ) from error
    pairs = [
        (np.asarray(one), ops.convert_to_numpy(other))
        for one, other in zip(found, wanted, strict=True)
    ]
    differences = [
        np.abs(one - other).max(initial=0.0) if one.shape == other.shape else np.inf
        for one, other in pairs
    ]
    # NaN is no number, and no agreement.
    difference = float(np.nan_to_num(np.max(differences), nan=np.inf))
    return Checked(difference, max(float(np.abs(other).max(initial=0.0)) for _, other in pairs))


def drawn(model: keras.Model, seed: int = 0) -> Structure:
    """Random numbers for a model: normal ones, or small ints, such as tokens."""
    rng = np.random.default_rng(seed)

    def leaf(spec: Any) -> Any:
        unknown = iter((BATCH, TIME))
        shape = [next(unknown) if size is None else size for size in spec.shape]
        if "float" in spec.dtype:
            return rng.normal(size=shape).astype(spec.dtype)
        return rng.integers(0, 2, size=shape).astype(spec.dtype)

    return tree.map_structure(leaf, inputs_of(model))
