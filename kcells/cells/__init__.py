"""What a cell is, and what the engine asks of it.

`BoundCell`, `built_outputs` and `infer_step` are for cells that are made of other cells, as is
`marked`, for what they say of them in their configuration. `positive` checks a size;
`sizes_are_made_up` is for cells that compare sizes.
"""

from kcells.cells.inference import built_outputs, infer_step, sizes_are_made_up
from kcells.cells.numbers import positive
from kcells.cells.protocol import BoundCell
from kcells.cells.sharing import marked

__all__ = ["BoundCell", "built_outputs", "infer_step", "marked", "positive", "sizes_are_made_up"]
