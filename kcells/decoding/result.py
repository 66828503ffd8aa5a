"""`Generated`: what `kcells.generate` gives."""

from __future__ import annotations

import dataclasses

from kcells.types import Structure, Tensor

__all__ = ["Generated"]


@dataclasses.dataclass(frozen=True)
class Generated:
    """What was generated, one sequence a row.

    Attributes:
        outputs: what was chosen at each step: ids, `(batch, max_length)` int32, or a structure of
            `(batch, max_length, ...)`. After the end of a row there is the id that ends one, and
            zeros where no id does.
        lengths: `(batch,)` int32, how many steps of each row count, with the one that ended it.
        scores: `(batch,)`, the sum of the log-probabilities of what was chosen, over the steps that
            count; after a beam search divided by the length penalty. None if no ids were chosen.
        states: those after the last step that counts, as the step gives them. Handed to
            `generate` once more, with the last output as `start`, they go on from there.
        hypotheses: after a beam search everything that was kept, the best first: a `Generated`
            with one axis more, `(batch, width, ...)`. What has the score minus infinity is none:
            there are fewer. Else None.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> def count(number, states):
    ...     return number + 1, states
    >>> result = kcells.generate(count, [], np.zeros((1, 1)), 4, choose=None)
    >>> keras.ops.convert_to_numpy(result.outputs)[0, :, 0].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    outputs: Structure
    lengths: Tensor
    scores: Tensor | None
    states: Structure
    hypotheses: Generated | None = None
