"""What the cells that scan frequencies have in common: blocks of features, and the scan.

The features of a step are frequencies in order. A block is some of them that lie next to each
other, the next block the same further up. A step goes through the blocks as a loop goes through
time, so each block has states of its own, and gets something from the block before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import activations, ops

from kcells import Learning, StandardCell
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells.types import Structure, Tensor
from kcells_plugin_classic._starting import checked_bound

__all__ = ["WITHIN_A_STEP", "FrequencyCell", "Scan"]


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """A way through the blocks of one band, which share their weights.

    Attributes:
        features: which features each block sees, `(blocks, feature_size)`.
        first: where its blocks are among those of the cell.
        kernel, recurrent_kernel, bias: for the features, and for the state of a block.
        frequency_kernel: for what the block before gives; None where there is one block.
        peephole_kernel: None where there are no peepholes.
    """

    features: np.ndarray[Any, Any]
    first: int
    kernel: Any
    recurrent_kernel: Any
    frequency_kernel: Any
    bias: Any
    peephole_kernel: Any

    @property
    def blocks(self) -> range:
        """The positions of its blocks among those of the cell."""
        return range(self.first, self.first + len(self.features))


class FrequencyCell(StandardCell):
    """Base class for LSTMs that go through blocks of features at every step.

    A subclass says how wide its matrices are and of which shape its peepholes, and overrides
    `advance`, the step of one block.

    Args:
        units: the size of the states of a block, a positive int.
        feature_size: how many features a block has; None for a whole band. Default: None.
        frequency_skip: how far the blocks are apart. Default: 1.
        bands: pairs `(start, end)` of features; None for all features in one. Default: None.
        peepholes: whether the gates see the cells.
        cell_clip: a positive bound for the cells, or None. Default: None.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gates at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.
    """

    outputs_of_block = 1
    padding = (0, 0)

    def __init__(
        self,
        units: int,
        feature_size: int | None = None,
        frequency_skip: int = 1,
        bands: Sequence[Sequence[int]] | None = None,
        peepholes: bool = False,
        cell_clip: float | None = None,
        activation: Any = "tanh",
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.feature_size = feature_size
        if feature_size is not None:
            self.positive("feature_size", feature_size)
        self.frequency_skip = self.positive("frequency_skip", frequency_skip)
        self.bands = bands
        self._pairs = None if bands is None else self._checked(bands)
        self.peepholes = peepholes
        self.cell_clip = checked_bound(self, "cell_clip", cell_clip)
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias
        # How many blocks there are is known once the features are.
        self.state_size = self.output_size = None

    def _checked(self, bands: Any) -> tuple[tuple[int, int], ...]:
        if isinstance(bands, Sequence) and bands and all(map(_is_band, bands)):
            return tuple((start, end) for start, end in bands)
        raise ConfigurationError(
            f"{type(self).__name__}: bands must be None or pairs of ints (start, end) with"
            f" 0 <= start < end, such as [(0, 4), (4, 8)]; received {bands!r}."
        )

    @property
    def state_size(self) -> Any:
        """The shapes of both states; None until the cell is built."""
        return self._state_size

    @state_size.setter
    def state_size(self, value: Any) -> None:
        self._state_size = value

    # -- Weights

    @property
    def columns(self) -> int:
        """How many blocks of `units` columns the matrices have."""
        return 4

    @property
    def peephole_shape(self) -> tuple[int, ...]:
        """The shape of the peepholes."""
        return (3, self.units)

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`, and settles the sizes."""
        super().build(input_shape)
        self.features = input_shape[-1]
        blocks = self.scans[-1].blocks.stop
        self.state_size = [(blocks, self.units)] * 2
        self.output_size = self.outputs_of_block * blocks * self.units
        self.state_dropout.build((None, blocks, self.units))

    def add_weights(self, features: int) -> None:
        """Creates the weights of each band."""
        self.scans: list[Scan] = []
        self.add_scans(features)

    def add_scans(self, features: int, prefix: str = "", shift: int = 0, turn: int = 1) -> None:
        """A scan for each band, moved up by `shift`, and from the top down if `turn` is -1."""
        for number, (start, end) in enumerate(self._pairs or [(0, features)]):
            size = self.feature_size or end - start
            if end > features or size > end - start:
                raise self._too_few(features, start, end, size)
            starts = np.arange(start + shift, end + shift - size + 1, self.frequency_skip)[::turn]
            suffix = "" if self._pairs is None else f"_{number}"
            self._add_scan(starts[:, None] + np.arange(size), prefix, suffix)

    def _add_scan(self, features: np.ndarray[Any, Any], prefix: str, suffix: str) -> None:
        def add(name: str, part: str, *shape: int) -> Any:
            return self.add(f"{prefix}{name}{suffix}", shape, part)

        width, frequency_kernel, peephole_kernel = self.columns * self.units, None, None
        kernel = add("kernel", "kernel", features.shape[1], width)
        recurrent_kernel = add("recurrent_kernel", "recurrent", self.units, width)
        if len(features) > 1:
            frequency_kernel = add("frequency_kernel", "recurrent", self.units, width)
        bias = add("bias", "bias", width)
        if self.peepholes:
            peephole_kernel = add("peephole_kernel", "recurrent", *self.peephole_shape)
        first = self.scans[-1].blocks.stop if self.scans else 0
        matrices = (kernel, recurrent_kernel, frequency_kernel)
        self.scans.append(Scan(features + self.padding[0], first, *matrices, bias, peephole_kernel))

    def _too_few(self, features: int, start: int, end: int, size: int) -> StructureError:
        return StructureError(
            f"{type(self).__name__}: a block has {size} features and the band is from {start} to"
            f" {end}, but the inputs have {features} features; make feature_size smaller, or pass"
            " other bands."
        )

    # -- A step

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x + b` of every block, `(..., blocks, columns * units)`."""
        # The blocks are taken from wherever they were: of more features some would not be seen.
        if inputs.shape[-1] not in (None, self.features):
            raise StructureError(
                f"{type(self).__name__}: the inputs have {inputs.shape[-1]} features, but the cell"
                f" was built for {self.features}; pass as many, or make another cell for these."
            )
        inputs = self.input_dropout.drop(inputs, training)
        if any(self.padding):
            inputs = ops.pad(inputs, [(0, 0)] * (len(inputs.shape) - 1) + [self.padding])
        return ops.concatenate([_projected(scan, inputs) for scan in self.scans], axis=-2)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output and `[h, c]`."""
        h, c = states
        seen, outputs, pairs = self.dropped(h, training), [], []
        for scan in self.scans:
            rows = slice(scan.first, scan.blocks.stop)
            products = projected[:, rows] + ops.matmul(seen[:, rows], scan.recurrent_kernel)
            # Below the first block there is nothing.
            carried = [ops.zeros_like(c[:, 0])] * 2
            for position, block in enumerate(scan.blocks):
                sums = products[:, position]
                if position:
                    sums = sums + ops.matmul(carried[0], scan.frequency_kernel)
                pair, carried = self.advance(scan, sums, c[:, block], carried)
                pairs.append(pair)
                outputs.extend([pair[0], carried[0]][: self.outputs_of_block])
        new_h, new_c = (ops.stack(vectors, axis=1) for vectors in zip(*pairs, strict=True))
        return ops.concatenate(outputs, axis=-1), [new_h, new_c]

    def advance(
        self, scan: Scan, sums: Tensor, c: Tensor, carried: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The step of one block.

        Args:
            scan: its weights.
            sums: what the gates get through matrices, `(batch, columns * units)`.
            c: its cell.
            carried: the output and the cell of the block before it.

        Returns:
            Its new `[h, c]`, and what the next block gets.
        """
        raise CellError(
            f"{type(self).__name__} has no advance(scan, sums, c, carried), the step of one block."
        )


def _is_band(pair: Any) -> bool:
    is_pair = isinstance(pair, Sequence) and [type(bound) for bound in pair] == [int, int]
    return is_pair and 0 <= pair[0] < pair[1]


def _projected(scan: Scan, inputs: Tensor) -> Tensor:
    # Not by ops.take: on PyTorch that is an operation which no file for ONNX has.
    blocks = [inputs[..., row[0] : row[-1] + 1] for row in scan.features.tolist()]
    products = ops.matmul(ops.stack(blocks, axis=-2), scan.kernel)
    return products if scan.bias is None else products + scan.bias


WITHIN_A_STEP = Learning(
    # Blocks of four features, where there are several.
    lambda at: {"feature_size": 4, "frequency_skip": 4} if at.features > 4 else {}
)
"""What the cells that run over the features of a step learn with."""
