"""`to_streaming`: a trained model as a model of one time step, with its states in and out."""

from kcells.streaming.convert import to_streaming
from kcells.streaming.model import StreamingModel

__all__ = ["StreamingModel", "to_streaming"]
