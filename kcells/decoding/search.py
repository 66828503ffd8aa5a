"""What becomes of the outputs of a step: one sequence a row goes on, or the best few do.

A search has some rows of the step for each row that is asked for, `rows` of them. A loop carries
`"fed"`, what the step sees next, `"states"`, `"ended"` and `"lengths"`, with one entry for each row
of the step, and `"found"`, which is the search's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from kcells.decoding.backends import current
from kcells.decoding.choices import Beam, Greedy, Sample
from kcells.decoding.result import Generated
from kcells.engine.masks import select
from kcells.structure import plain
from kcells.types import Structure, Tensor

__all__ = ["BestFew", "OneEach", "Search", "search_by"]

Choose = Greedy | Sample | Beam | Callable[[Structure], Structure] | None

_NEVER = -float("inf")


def search_by(choose: Choose, end: Any) -> Search:
    """The search for what a user has asked for."""
    return BestFew(choose, end) if isinstance(choose, Beam) else OneEach(choose, end)


class OneEach:
    """Each row goes on with what is chosen for it."""

    rows = 1

    def __init__(self, choose: Any, end: Any) -> None:
        self._choose, self._end = choose, end
        self.picks_ids = isinstance(choose, (Greedy, Sample))
        self._draws = isinstance(choose, Sample)
        self._seed = keras.random.SeedGenerator(0) if self._draws else None

    def renew(self) -> None:
        """What has to be done before every call."""
        if self._seed is not None:
            self._seed.state.assign(self._choose.first_seed())

    def chosen(self, outputs: Structure) -> Structure:
        """What the next step sees, where nothing ends."""
        if self.picks_ids:
            return ops.cast(self._choose.pick(outputs, self._seed), "int32")
        return plain(outputs if self._choose is None else self._choose(outputs))

    def begin(self, fed: Structure, states: Structure, length: int, dtype: str) -> dict[str, Any]:
        """What a loop carries at first; `fed` has the shapes and dtypes of all that is chosen."""
        batch = ops.shape(tree.flatten(fed)[0])[0]

        def buffer(leaf: Tensor) -> Tensor:
            return ops.full((length, *ops.shape(leaf)), self._padding, dtype=leaf.dtype)

        return {
            "fed": fed,
            "states": states,
            "ended": ops.zeros((batch,), "bool"),
            "lengths": ops.zeros((batch,), "int32"),
            "found": {
                "outputs": tree.map_structure(buffer, fed),
                "scores": ops.zeros((batch,), dtype) if self.picks_ids else [],
            },
        }

    def advance(self, t: Tensor, carry: Any, outputs: Structure, states: Structure) -> Any:
        """The carry after a step that gave `outputs` and `states`."""
        goes_on = ops.logical_not(carry["ended"])
        chosen, found = self.chosen(outputs), carry["found"]
        scores = found["scores"]
        if self.picks_ids:
            gains = _at(ops.log_softmax(outputs, axis=-1), chosen)
            scores = scores + ops.where(goes_on, gains, ops.zeros_like(gains))
        ended = carry["ended"]
        if self._end is not None:
            padding = tree.map_structure(lambda x: ops.full_like(x, self._padding), chosen)
            chosen = select(goes_on, chosen, padding)
            states = select(goes_on, states, carry["states"])
            ended = ended | ended_by(self._end, chosen)
        write = current().written
        return {
            "fed": chosen,
            "states": states,
            "ended": ended,
            "lengths": carry["lengths"] + ops.cast(goes_on, "int32"),
            "found": {
                "outputs": tree.map_structure(
                    lambda buffer, leaf: write(buffer, t, leaf), found["outputs"], chosen
                ),
                "scores": scores,
            },
        }

    @property
    def _padding(self) -> int:
        return 0 if self._end is None or callable(self._end) else self._end

    def finish(self, carry: Any) -> dict[str, Any]:
        """What a user wants to see of the last carry."""
        outputs = tree.map_structure(lambda x: ops.swapaxes(x, 0, 1), carry["found"]["outputs"])
        return {
            "outputs": outputs,
            "lengths": carry["lengths"],
            "scores": carry["found"]["scores"],
            "states": carry["states"],
        }

    def result(self, finished: dict[str, Any]) -> Generated:
        """The same as an object."""
        scores = finished["scores"] if self.picks_ids else None
        return Generated(**{**finished, "scores": scores})


class BestFew:
    """A beam search: of all that might follow the kept sequences of a row, the best are kept.

    A place that holds no sequence yet has the score minus infinity; all do at first, but for one
    in each row.
    """

    picks_ids = True

    def __init__(self, choose: Beam, end: Any) -> None:
        self._beam, self._end = choose, end
        self.rows = int(choose.width)

    def renew(self) -> None:
        """See `OneEach`; nothing."""

    def chosen(self, outputs: Structure) -> Structure:
        """See `OneEach`."""
        return ops.zeros(ops.shape(outputs)[:1], "int32")

    def begin(self, fed: Structure, states: Structure, length: int, dtype: str) -> dict[str, Any]:
        """See `OneEach`."""
        rows = ops.shape(fed)[0]
        first = ops.arange(rows) % self.rows == 0
        return {
            "fed": fed,
            "states": states,
            "ended": ops.logical_not(first),
            "lengths": ops.zeros((rows,), "int32"),
            "found": {
                "outputs": ops.full((rows, length), self._padding, dtype="int32"),
                "scores": ops.where(first, ops.zeros((rows,), dtype), _NEVER),
            },
        }

    def advance(self, t: Tensor, carry: Any, outputs: Tensor, states: Structure) -> Any:
        """See `OneEach`."""
        ended, found, count = carry["ended"], carry["found"], outputs.shape[-1]
        # What has ended is followed by one thing alone, nothing, which stands in the first place.
        nothing = ops.where(ops.arange(count) == 0, 0.0, _NEVER)
        gains = ops.log_softmax(outputs, axis=-1)
        gains = ops.where(ended[:, None], ops.cast(nothing, gains.dtype), gains)
        totals = found["scores"][:, None] + gains
        lengths = carry["lengths"] + ops.cast(ops.logical_not(ended), "int32")
        ranks = totals / ops.cast(self._beam.penalty(lengths), totals.dtype)[:, None]
        _, best = ops.top_k(ops.reshape(ranks, (-1, self.rows * count)), self.rows)
        best = ops.cast(best, "int32")
        # The row of the step that each place goes on from.
        before = best // count + ops.arange(best.shape[0])[:, None] * self.rows
        before, ids = ops.reshape(before, (-1,)), ops.reshape(best % count, (-1,))

        def of_those_before(leaf: Tensor) -> Tensor:
            return ops.take(leaf, before, axis=0)

        totals = _at(of_those_before(totals), ids)
        states = select(ops.logical_not(ended), states, carry["states"])
        ended = of_those_before(ended)
        ids = ops.where(ended, self._padding, ids)
        if self._end is not None:
            ended = ended | ended_by(self._end, ids)
        is_now = ops.arange(found["outputs"].shape[-1]) == t
        return {
            "fed": ids,
            "states": tree.map_structure(of_those_before, states),
            "ended": ended | (totals == _NEVER),
            "lengths": of_those_before(lengths),
            "found": {
                "outputs": ops.where(is_now, ids[:, None], of_those_before(found["outputs"])),
                "scores": totals,
            },
        }

    @property
    def _padding(self) -> int:
        return 0 if self._end is None or callable(self._end) else self._end

    def finish(self, carry: Any) -> dict[str, Any]:
        """See `OneEach`."""
        lengths, totals = carry["lengths"], carry["found"]["scores"]
        scores = totals / ops.cast(self._beam.penalty(lengths), totals.dtype)
        finished = {
            "outputs": carry["found"]["outputs"],
            "lengths": lengths,
            "scores": scores,
            "states": carry["states"],
        }
        places: dict[str, Any] = tree.map_structure(
            lambda leaf: ops.reshape(leaf, (-1, self.rows, *leaf.shape[1:])), finished
        )
        return places

    def result(self, finished: dict[str, Any]) -> Generated:
        """See `OneEach`."""
        best = tree.map_structure(lambda leaf: leaf[:, 0], finished)
        return Generated(**best, hypotheses=Generated(**finished))


Search = OneEach | BestFew


def ended_by(end: Any, chosen: Structure) -> Tensor:
    """Which rows have ended with what was chosen, `(rows,)` bool."""
    return ops.cast(end(chosen), "bool") if callable(end) else ops.equal(chosen, end)


def _at(table: Tensor, ids: Tensor) -> Tensor:
    """`table[row, ids[row]]` for each row."""
    return ops.squeeze(ops.take_along_axis(table, ids[:, None], axis=-1), axis=-1)
