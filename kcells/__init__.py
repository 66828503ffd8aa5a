"""kcells: recurrent cells for Keras 3, found by name, with structures throughout.

    import kcells

    layer = kcells.build("mlstm", 128, return_sequences=True)

Importing kcells imports Keras and no plugin.
"""

from kcells import decoding, errors
from kcells._version import __version__
from kcells.build import build, cell
from kcells.cells.base import Cell
from kcells.cells.card import Card, Case, Learning, Place, Workload
from kcells.cells.dropout import VariationalDropout
from kcells.cells.equivalence import Equivalence
from kcells.cells.linear import LinearRecurrence
from kcells.cells.standard import InputCell, StandardCell
from kcells.cells.weights import WeightsCell
from kcells.convert import to_builtin
from kcells.decoding import Generated, generate
from kcells.explain import Explanation, Explanations, explain
from kcells.layers.bidirectional import Bidirectional
from kcells.layers.rnn import RNN
from kcells.layers.stacked import StackedCells
from kcells.reasons import Reason
from kcells.registry import CellInfo, describe, list_cells, register, unregister
from kcells.saving import load_model
from kcells.streaming import StreamingModel, to_streaming
from kcells.wrapper import Wrapper

__all__ = [
    "RNN",
    "Bidirectional",
    "Card",
    "Case",
    "Cell",
    "CellInfo",
    "Equivalence",
    "Explanation",
    "Explanations",
    "Generated",
    "InputCell",
    "Learning",
    "LinearRecurrence",
    "Place",
    "Reason",
    "StackedCells",
    "StandardCell",
    "StreamingModel",
    "VariationalDropout",
    "WeightsCell",
    "Workload",
    "Wrapper",
    "__version__",
    "build",
    "cell",
    "decoding",
    "describe",
    "errors",
    "explain",
    "generate",
    "list_cells",
    "load_model",
    "register",
    "to_builtin",
    "to_streaming",
    "unregister",
]


def __getattr__(name: str) -> object:
    # Not before somebody asks: users of cells do not check them.
    if name == "testing":
        import kcells.testing

        return kcells.testing
    raise AttributeError(f"module 'kcells' has no attribute {name!r}")
