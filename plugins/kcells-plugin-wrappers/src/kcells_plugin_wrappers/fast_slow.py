"""The Fast-Slow recurrent network, made of any cells."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.cells import BoundCell, built_outputs, marked
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells.structure import map_leaves, outline, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["FastSlowCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class FastSlowCell(kcells.Cell):
    """Several fast cells in a row, which share one state, and a slow one between the first two.

        y_1, f_1 = F_1(x_t, f at t-1)
        z, s_t = S(y_1, s_{t-1})
        y_2, f_2 = F_2(z, f_1)
        y_i, f_i = F_i(1, f_{i-1})          for i = 3 ... k
        o_t = y_k, and f at t = f_k

    The state passes k cells in one time step, so that it can change quickly, and s only one, so
    that it can last.

    Paper: Mujika, Meier and Steger 2017, "Fast-slow recurrent neural networks",
    arXiv:1705.08639, equations 1 to 5; with LSTMs it is their FS-LSTM-k. Their layer
    normalization and zoneout are those of the cells: `fast_slow` around `zoneout`, say.

    Differences: F_3 and later, which have no inputs there, get one that is always 1 here; what a
    cell makes of it is another bias.

    Args:
        cell: F: a list of at least two cells, ids or classes; or one of these, which is made
            `depth` times.
        *args: for the constructors of the cells that are not made yet.
        slow: S: a cell, an id or a class. Default: None, which makes another one like F_1.
        depth: k, how many fast cells are made of one, at least 2. Default: 2.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructors of the cells.

    Shapes: inputs as F_1 takes them; states `{"fast": f, "slow": s}`, of F and of S; outputs those
    of the last F. All F have states of the same shapes.

    Raises:
        CellError: for a list of less than two cells.
        ConfigurationError: if `depth` is less than 2, or is not the number of cells in a list.
        StructureError: if the states of two fast cells have different shapes.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("fast_slow", "lstm", 4, slow=kcells.cell("lstm", 3))
    >>> layer(np.ones((2, 5, 6), "float32")).shape == (2, 4)
    True
    >>> sorted(layer.cell.state_size.items())
    [('fast', [4, 4]), ('slow', [3, 3])]
    """

    def __init__(
        self, cell: Any, *args: Any, slow: Any = None, depth: int | None = None, **kwargs: Any
    ) -> None:
        own = {key: kwargs.pop(key) for key in _OF_EVERY_LAYER if key in kwargs}
        super().__init__(**own)
        if "dtype" in own:
            kwargs["dtype"] = self.dtype_policy
        fast = list(cell) if isinstance(cell, (list, tuple)) else [cell]
        if depth is not None and (not isinstance(depth, int) or depth < 2):
            raise ConfigurationError(
                f"FastSlowCell: depth must be an int of at least 2; received {depth!r}."
            )
        if not isinstance(cell, (list, tuple)):
            fast = [_like(cell) if k else cell for k in range(depth or 2)]
        elif len(fast) < 2 or depth not in (None, len(fast)):
            raise CellError(
                f"FastSlowCell: a list must hold at least two fast cells, and depth, where it is"
                f" given, is their number; received {len(fast)} and depth={depth!r}.\n"
                "  Pass one cell to have it made depth times."
            )
        slow = _like(fast[0]) if slow is None else slow
        self.fast = [_made(one, args, kwargs) for one in fast]
        self.slow = _made(slow, args, kwargs)
        self._bounds = tuple(BoundCell(one, self) for one in self.fast)
        self._bound_slow = BoundCell(self.slow, self)

    @property
    def depth(self) -> int:
        """How many fast cells there are."""
        return len(self.fast)

    @property
    def state_size(self) -> Structure:
        """The states of the fast cells, which share them, and those of the slow one."""
        if any(cell.state_size is None for cell in (*self.fast, self.slow)):
            return None
        return {"fast": self._bounds[0].entry_size, "slow": self._bound_slow.entry_size}

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError("state_size of FastSlowCell follows from its cells.")

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        return {
            "fast": self._bounds[0].initial_entry(batch_size),
            "slow": self._bound_slow.initial_entry(batch_size),
        }

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        first, second, *others = self._bounds
        inputs: Structure = map_leaves(
            lambda spec, _: keras.KerasTensor(spec.shape, dtype=self.compute_dtype),
            shape_leaves(input_shape),
        )
        one = keras.KerasTensor((None, 1), dtype=self.compute_dtype)
        for bound in (first, self._bound_slow, second, *others):
            inputs = built_outputs(bound, one if bound in others else inputs, constants_shape)
        self._check_states()
        self.built = True

    def _check_states(self) -> None:
        first = self._bounds[0]
        for k, bound in enumerate(self._bounds[1:], 2):
            if bound.sizes != first.sizes:
                raise StructureError(
                    "FastSlowCell: the fast cells share one state, and two have different ones.\n"
                    f"  cell 1, {first.name}: {outline(first.sizes)}\n"
                    f"  cell {k}, {bound.name}: {outline(bound.sizes)}\n"
                    "  Give them the same number of units."
                )

    @property
    def splits_step(self) -> bool:
        # `call` is overridden to pass constants on, and is still step after project_inputs.
        return type(self).call is FastSlowCell.call and self._bounds[0].hoists

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        return self._bounds[0].project(inputs, training)

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        return self._run(projected, states, training, None, projected=True)

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        return self._run(inputs, states, training, constants, projected=False)

    def _run(
        self,
        inputs: Structure,
        states: Structure,
        training: bool,
        constants: Structure,
        *,
        projected: bool,
    ) -> tuple[Structure, Structure]:
        first, second, *others = self._bounds
        batch = ops.shape(tree.flatten(states)[0])[0]
        y, fast = first.step_entry(inputs, states["fast"], training, constants, projected=projected)
        z, slow = self._bound_slow.step_entry(y, states["slow"], training, constants)
        y, fast = second.step_entry(z, fast, training, constants)
        for bound in others:
            one = ops.ones((batch, 1), dtype=self.compute_dtype)
            y, fast = bound.step_entry(one, fast, training, constants)
        return y, {"fast": fast, "slow": slow}

    def get_config(self) -> dict[str, Any]:
        cells = [marked(one, keras.saving.serialize_keras_object(one)) for one in self.fast]
        slow = marked(self.slow, keras.saving.serialize_keras_object(self.slow))
        return {**super().get_config(), "cell": cells, "slow": slow, "depth": self.depth}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FastSlowCell:
        config = dict(config)
        cells, slow = (
            keras.saving.deserialize_keras_object(config.pop(key), custom_objects=custom_objects)
            for key in ("cell", "slow")
        )
        return cls(cells, slow=slow, **config)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        lstm, gru = keras.layers.LSTMCell, keras.layers.GRUCell
        return Card(
            [
                Case({"cell": lstm(4), "slow": lstm(3)}, name="two"),
                Case({"cell": gru(4), "slow": lstm(3), "depth": 4}, name="four"),
                Case({"cell": [gru(3), gru(3)]}, name="list"),
            ],
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units)},
            gates="",
            note="of LSTMs",
        )


_OF_EVERY_LAYER = ("name", "dtype", "trainable", "activity_regularizer", "autocast")


def _is_made(cell: Any) -> bool:
    return not isinstance(cell, (str, type))


def _made(cell: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kcells.cell(cell) if _is_made(cell) else kcells.cell(cell, *args, **kwargs)


def _like(cell: Any) -> Any:
    """Another cell like this one, without its weights; an id or a class stands for many.

    Without its name too: PyTorch knows weights by their path, and would keep one of two.
    """
    if not _is_made(cell):
        return cell
    config = {key: value for key, value in cell.get_config().items() if key != "name"}
    return type(cell).from_config(config)
