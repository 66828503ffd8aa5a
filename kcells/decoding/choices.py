"""How the next output is chosen: values, which a search looks at."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["Beam", "Greedy", "Sample"]


@dataclasses.dataclass(frozen=True)
class Greedy:
    """Chooses the id with the highest score.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> def step(ids, states):
    ...     return keras.ops.one_hot((ids + 2) % 5, 5), states
    >>> result = kcells.generate(step, [], np.array([0]), 4, choose=kcells.decoding.Greedy())
    >>> keras.ops.convert_to_numpy(result.outputs).tolist()
    [[2, 4, 1, 3]]
    """

    def pick(self, scores: Tensor, seed: Any) -> Tensor:
        """The ids, `(batch,)`, for scores `(batch, ids)`."""
        return ops.argmax(scores, axis=-1)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draws an id from the distribution whose logits the scores are.

    What `top_k` and `top_p` leave out is never drawn. Both look at scores that are divided by the
    temperature, `top_p` at what `top_k` has left of them.

    Args:
        temperature: what the scores are divided by; below 1 likely ids become more likely.
        top_k: how many ids may be drawn, those with the highest scores.
        top_p: as many of the likeliest ids may be drawn as it takes for this probability
            (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
        seed: an int for the same numbers in every call of `generate`, a
            `keras.random.SeedGenerator`, or None for others in each call, which
            `keras.utils.set_random_seed` settles. Another backend draws other numbers.

    Raises:
        ConfigurationError: for a number out of its range.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> def step(ids, states):
    ...     table = np.array([[2.0, 1.0, 1.0, -9.0]] * 4, "float32")
    ...     return keras.ops.take(table, ids, axis=0), states
    >>> choose = kcells.decoding.Sample(temperature=0.5, top_k=2, seed=1)
    >>> result = kcells.generate(step, [], np.zeros(3, int), 50, choose=choose)
    >>> sorted(set(keras.ops.convert_to_numpy(result.outputs).ravel().tolist()))
    [0, 1]
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: Any = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigurationError(
                f"Sample: temperature has to be above 0; received {self.temperature!r}.\n"
                "  For the likeliest id at each step, choose=Greedy()."
            )
        if self.top_k is not None and not _is_count(self.top_k):
            raise ConfigurationError(
                f"Sample: top_k has to be an int of at least 1, or None for all ids; received"
                f" {self.top_k!r}."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigurationError(
                f"Sample: top_p has to be above 0 and at most 1, or None; received {self.top_p!r}."
            )
        is_generator = isinstance(self.seed, keras.random.SeedGenerator)
        if not (self.seed is None or is_generator or hasattr(self.seed, "__index__")):
            raise ConfigurationError(
                "Sample: seed has to be an int, a keras.random.SeedGenerator or None; received"
                f" {type(self.seed).__name__}."
            )

    def pick(self, scores: Tensor, seed: Any) -> Tensor:
        """The ids, `(batch,)`, for scores `(batch, ids)`."""
        scores = scores / self.temperature
        if self.top_k is None and self.top_p is None:
            return ops.squeeze(keras.random.categorical(scores, 1, seed=seed), axis=-1)
        # Among the likeliest ids in order, so that a tie lets no more through than asked for.
        count = scores.shape[-1]
        scores, ids = ops.top_k(scores, count if self.top_k is None else min(self.top_k, count))
        if self.top_p is not None:
            likely = ops.softmax(scores, axis=-1)
            before = ops.cumsum(likely, axis=-1) - likely
            # The likeliest one is always there, however its sum is rounded.
            is_kept = (before < self.top_p) | (ops.arange(scores.shape[-1]) == 0)
            scores = ops.where(is_kept, scores, -float("inf"))
        drawn = keras.random.categorical(scores, 1, seed=seed)
        return ops.squeeze(ops.take_along_axis(ids, ops.cast(drawn, ids.dtype), axis=-1), axis=-1)

    def first_seed(self) -> Tensor:
        """The state that a seed generator has before the first draw of a call."""
        if isinstance(self.seed, keras.random.SeedGenerator):
            return self.seed.next()
        if self.seed is not None:
            return ops.convert_to_tensor([int(self.seed), 0])
        drawn = keras.random.randint((1,), 0, 2**31 - 1)
        return ops.concatenate([drawn, ops.zeros_like(drawn)])


@dataclasses.dataclass(frozen=True)
class Beam:
    """Searches for the likeliest sequence, with the `width` best ones kept at every step.

    A sequence Y is ranked by the sum of its log-probabilities, divided by

        ((5 + |Y|) / 6) ** length_penalty

    (Wu et al. 2016, https://arxiv.org/abs/1609.08144, eq. 14), where |Y| counts the step that ends
    it. What has ended keeps its place among the `width` as long as it is good enough; a row is
    done when all of its places have ended.

    Args:
        width: how many sequences are kept for each row.
        length_penalty: 0 for none; the greater, the longer the sequences.

    Raises:
        ConfigurationError: for a number out of its range.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> def step(ids, states):  # after a 1 everything is certain, after a 0 nothing is
    ...     table = keras.ops.convert_to_tensor([[0.2, 0.1], [0.0, 9.0]])
    ...     return keras.ops.take(table, ids, axis=0), states
    >>> greedy = kcells.generate(step, [], np.array([0]), 3)
    >>> best = kcells.generate(step, [], np.array([0]), 3, choose=kcells.decoding.Beam(2))
    >>> [keras.ops.convert_to_numpy(r.outputs)[0].tolist() for r in (greedy, best)]
    [[0, 0, 0], [1, 1, 1]]
    >>> bool(best.scores[0] > greedy.scores[0])
    True
    """

    width: int
    length_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not _is_count(self.width):
            raise ConfigurationError(
                f"Beam: width has to be an int of at least 1; received {self.width!r}."
            )
        if not self.length_penalty >= 0:
            raise ConfigurationError(
                f"Beam: length_penalty has to be at least 0; received {self.length_penalty!r}."
            )

    def penalty(self, lengths: Tensor) -> Tensor:
        """What the score of a sequence of each of these lengths is divided by."""
        return ((5.0 + ops.cast(lengths, "float32")) / 6.0) ** self.length_penalty


def _is_count(number: Any) -> bool:
    return hasattr(number, "__index__") and not isinstance(number, bool) and number >= 1
