"""What a cell is, and what the engine asks of it.

`BoundCell` and `infer_step` are for cells that are made of other cells.
"""

from kcells.cells.inference import infer_step
from kcells.cells.protocol import BoundCell

__all__ = ["BoundCell", "infer_step"]
