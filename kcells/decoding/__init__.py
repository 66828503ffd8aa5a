"""`generate`: a step writes on, with what is chosen from its outputs fed back to it."""

from kcells.decoding.choices import Beam, Greedy, Sample
from kcells.decoding.generate import generate
from kcells.decoding.result import Generated

__all__ = ["Beam", "Generated", "Greedy", "Sample", "generate"]
