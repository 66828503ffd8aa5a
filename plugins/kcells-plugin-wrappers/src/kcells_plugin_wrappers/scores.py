"""The scores of the papers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_wrappers.score import FARTHER_THAN_ANY, Score

__all__ = ["Bahdanau", "Location", "Luong", "Monotonic", "score_of"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
@dataclasses.dataclass(frozen=True)
class Bahdanau(Score):
    """The additive score.

        e_tj = v . tanh(W q_t + V m_j)
        e_tj = g v / |v| . tanh(W q_t + V m_j + b)          with `normalize`

    Papers: Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to
    align and translate", arXiv:1409.0473, appendix A.1.2; normalized: Salimans and Kingma 2016,
    "Weight normalization", arXiv:1602.07868, equation 2.

    Args:
        units: the length of v. Default: None, as many as the query has features.
        normalize: whether v is normalized. g starts at `units ** -0.5` and b at zero. Default:
            False.

    Shapes: `W` `(features of the query, units)`, `V` `(features, units)`, `v`
    `(units, 1)`, `b` `(units,)`.

    Raises:
        ConfigurationError: if `units` is no positive int.

    Examples:

    >>> from kcells_plugin_wrappers import Bahdanau
    >>> Bahdanau(units=8, normalize=True)
    Bahdanau(units=8, normalize=True)
    """

    units: int | None = None
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.units is not None:
            self.keep_positive("units")

    def add_weights(
        self, add: Callable[..., Any], features: int, query_features: int
    ) -> dict[str, Any]:
        units = self.units or query_features
        weights = {
            "query": add("query_kernel", (query_features, units)),
            "memory": add("memory_kernel", (features, units)),
            "v": add("score_kernel", (units, 1)),
        }
        if self.normalize:
            weights["g"] = add("score_gain", (), keras.initializers.Constant(units**-0.5))
            weights["b"] = add("score_bias", (units,), "zeros")
        return weights

    def keys(self, weights: dict[str, Any], memory: Tensor) -> Tensor:
        keys = ops.matmul(memory, weights["memory"])
        return keys + weights["b"] if self.normalize else keys

    def energies(
        self, weights: dict[str, Any], query: Tensor, keys: Tensor, last: Tensor | None
    ) -> Tensor:
        inside = keys + ops.expand_dims(ops.matmul(query, weights["query"]), 1)
        v = ops.convert_to_tensor(weights["v"])
        if self.normalize:
            # v last: of g * v in every step PyTorch makes a file for ONNX that lacks a number.
            v = weights["g"] * ops.rsqrt(ops.sum(ops.square(v))) * v
        return ops.squeeze(ops.matmul(ops.tanh(inside), v), -1)


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
@dataclasses.dataclass(frozen=True)
class Luong(Score):
    """The multiplicative score.

        e_tj = q_t . m_j                                    "dot"
        e_tj = q_t . V m_j                                  "general"
        e_tj = g q_t . V m_j                                "scaled"

    Paper: Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
    translation", arXiv:1508.04025, equation 8. The scaled one is that of tf.contrib.seq2seq.

    Args:
        kind: `"dot"`, `"general"` or `"scaled"`, whose g starts at one. Default: `"general"`.

    Shapes: `V` `(features, features of the query)`; for `"dot"` both must be the same.

    Raises:
        ConfigurationError: for another kind, and for `"dot"` if the sizes differ.

    Examples:

    >>> from kcells_plugin_wrappers import Luong
    >>> Luong("dot")
    Luong(kind='dot')
    """

    kind: Literal["dot", "general", "scaled"] = "general"

    def __post_init__(self) -> None:
        if self.kind not in ("dot", "general", "scaled"):
            raise ConfigurationError(
                f'Luong: kind must be "dot", "general" or "scaled"; received {self.kind!r}.'
            )

    def add_weights(
        self, add: Callable[..., Any], features: int, query_features: int
    ) -> dict[str, Any]:
        if self.kind == "dot":
            if features != query_features:
                raise ConfigurationError(
                    'Luong("dot") multiplies the query with the memory, and they differ in size.\n'
                    f"  features of the query:  {query_features}\n"
                    f"  features of the memory: {features}\n"
                    '  Use "general", which has a matrix in between.'
                )
            return {}
        weights = {"memory": add("memory_kernel", (features, query_features))}
        if self.kind == "scaled":
            weights["g"] = add("score_gain", (), "ones")
        return weights

    def keys(self, weights: dict[str, Any], memory: Tensor) -> Tensor:
        if self.kind == "dot":
            return memory
        keys = ops.matmul(memory, weights["memory"])
        return weights["g"] * keys if self.kind == "scaled" else keys

    def energies(
        self, weights: dict[str, Any], query: Tensor, keys: Tensor, last: Tensor | None
    ) -> Tensor:
        return ops.squeeze(ops.matmul(keys, ops.expand_dims(query, -1)), -1)


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
@dataclasses.dataclass(frozen=True)
class Location(Score):
    """The additive score that also sees where the step before has looked.

        f_t = F * a_{t-1}                                   a convolution over the positions
        e_tj = v . tanh(W q_t + V m_j + U f_tj + b)

    with a_0 zero. The shares are a state, so the number of positions has to be known.

    Paper: Chorowski, Bahdanau, Serdyuk, Cho and Bengio 2015, "Attention-based models for speech
    recognition", arXiv:1506.07503, equations 8 and 9.

    Args:
        units: the length of v. Default: None, as many as the query has features.
        filters: how many F has. Default: 10.
        width: how many positions a filter sees. Default: 31; the paper's sequences are long, and
            it has 201.

    Shapes: as `Bahdanau`; `F` `(width, 1, filters)`, `U` `(filters, units)`.

    Raises:
        ConfigurationError: if a size is no positive int.

    Examples:

    >>> from kcells_plugin_wrappers import Location
    >>> Location(filters=4, width=5)
    Location(units=None, filters=4, width=5)
    """

    units: int | None = None
    filters: int = 10
    width: int = 31

    recalls = True

    def __post_init__(self) -> None:
        self.keep_positive("filters", "width", *([] if self.units is None else ["units"]))

    def add_weights(
        self, add: Callable[..., Any], features: int, query_features: int
    ) -> dict[str, Any]:
        units = self.units or query_features
        return {
            **Bahdanau(units).add_weights(add, features, query_features),
            "filters": add("location_filters", (self.width, 1, self.filters)),
            "location": add("location_kernel", (self.filters, units)),
            "b": add("score_bias", (units,), "zeros"),
        }

    def keys(self, weights: dict[str, Any], memory: Tensor) -> Tensor:
        return ops.matmul(memory, weights["memory"]) + weights["b"]

    def energies(
        self, weights: dict[str, Any], query: Tensor, keys: Tensor, last: Tensor | None
    ) -> Tensor:
        seen = ops.conv(
            ops.expand_dims(last, -1),
            ops.convert_to_tensor(weights["filters"]),
            padding="same",
            data_format="channels_last",
        )
        moved = keys + ops.matmul(seen, weights["location"])
        return Bahdanau().energies(weights, query, moved, None)


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
@dataclasses.dataclass(frozen=True)
class Monotonic(Score):
    """Attention that only moves forward.

        p_tj = sigmoid(e_tj + r)                            of another score
        a_tj = p_tj sum_{k <= j} a_{t-1,k} prod_{l = k ... j-1} (1 - p_tl)

    with a_0 all on the first position: from the position where the step before has stopped, each
    one in turn is chosen with the probability p, and a is where that ends, in expectation; the
    shares add up to less than one where it may end nowhere. In training normal noise is added to
    e. With `hard`, inference chooses the first position whose p is more than one half.

    The sums are taken with the products in logarithms, for all pairs of positions, where the
    paper divides one cumulative product by another: that one underflows.

    Paper: Raffel, Luong, Liu, Weiss and Eck 2017, "Online and linear-time attention by enforcing
    monotonic alignments", arXiv:1704.00784, equations 10 to 13.

    Args:
        score: the other score. Default: None, which is `Bahdanau(normalize=True)`, as in the
            paper.
        noise: the standard deviation of what is added in training. Default: 1.0.
        offset: what r starts with; the paper advises a negative number. Default: -1.0.
        hard: whether inference chooses. Default: False.

    Shapes: `r` `()`; the others as the other score.

    Raises:
        ConfigurationError: for noise below zero, and if the other score needs the last shares.

    Examples:

    >>> from kcells_plugin_wrappers import Luong, Monotonic
    >>> Monotonic(Luong(), noise=0.0).score
    Luong(kind='general')
    """

    score: Any = None
    noise: float = 1.0
    offset: float = -1.0
    hard: bool = False

    recalls = True

    def __post_init__(self) -> None:
        score = Bahdanau(normalize=True) if self.score is None else score_of(self.score)
        object.__setattr__(self, "score", score)
        if score.recalls or not float(self.noise) >= 0:
            raise ConfigurationError(
                "Monotonic: score must be one that does not need the shares of the step before,"
                f" and noise at least 0; received {score!r} and {self.noise!r}."
            )

    def add_weights(
        self, add: Callable[..., Any], features: int, query_features: int
    ) -> dict[str, Any]:
        weights = self.score.add_weights(add, features, query_features)
        weights["r"] = add("score_offset", (), keras.initializers.Constant(self.offset))
        return weights  # type: ignore[no-any-return]

    def keys(self, weights: dict[str, Any], memory: Tensor) -> Tensor:
        return self.score.keys(weights, memory)

    def energies(
        self, weights: dict[str, Any], query: Tensor, keys: Tensor, last: Tensor | None
    ) -> Tensor:
        return self.score.energies(weights, query, keys, last) + weights["r"]

    def alignments(
        self, energies: Tensor, mask: Tensor, last: Tensor | None, training: bool
    ) -> Tensor:
        if self.hard and not training:
            chosen = ops.cast(ops.logical_and(energies > 0, mask), energies.dtype)
            passed = _FARTHER_THAN_EXP * chosen
        else:
            nothing = ops.zeros_like(energies)
            chosen = ops.where(mask, ops.sigmoid(energies), nothing)
            passed = ops.where(mask, -ops.softplus(energies), nothing)
        # From position k to j: the product of what is between them, k too and j not.
        before = ops.cumsum(passed, axis=-1) - passed
        way = ops.expand_dims(before, -2) - ops.expand_dims(before, -1)
        position = ops.arange(0, ops.shape(mask)[-1])
        forward = ops.expand_dims(position, -1) <= ops.expand_dims(position, 0)
        way = ops.exp(ops.where(forward, way, ops.full_like(way, FARTHER_THAN_ANY)))
        last = ops.expand_dims(ops.cast(last, way.dtype), -2)
        return chosen * ops.squeeze(ops.matmul(last, way), -2)

    def first(self, batch: Tensor, positions: int, dtype: str) -> Tensor:
        at_first = ops.expand_dims(ops.one_hot(0, positions, dtype=dtype), 0)
        return ops.broadcast_to(at_first, (batch, positions))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "score": keras.saving.serialize_keras_object(self.score)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Score:
        score = keras.saving.deserialize_keras_object(config["score"])
        return cls(**{**config, "score": score})


_FARTHER_THAN_EXP = -1e4
"""Its exponential is zero, and sums of it are exact."""

_KNOWN = {
    "bahdanau": Bahdanau,
    "luong": Luong,
    "location": Location,
    "monotonic": Monotonic,
}


def score_of(given: Any) -> Score:
    """`given`, a score or the name of one, as a score.

    Raises:
        ConfigurationError: if it is neither.

    Examples:

    >>> score_of("luong")
    Luong(kind='general')
    """
    made = _KNOWN[given]() if isinstance(given, str) and given in _KNOWN else given
    if not isinstance(made, Score):
        known = ", ".join(f'"{name}"' for name in _KNOWN)
        raise ConfigurationError(
            f"attention: score must be {known}, or an object such as Bahdanau(units=8,"
            f' normalize=True) or Luong("dot"); received {given!r}.'
        )
    return made
