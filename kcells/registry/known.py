"""The cells of the distributions that are developed with kcells, for who has not installed them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources

from kcells.registry.info import CellInfo

__all__ = ["FILE", "known_cells"]

FILE = "known.json"
"""Written by `tools/catalogue.py`."""


def known_cells() -> Iterator[CellInfo]:
    """What these distributions declare, without a version."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    for distribution, cells in json.loads(text).items():
        for name, (class_name, *aliases) in cells.items():
            yield CellInfo(name, distribution, "", f":{class_name}", aliases=tuple(aliases))
