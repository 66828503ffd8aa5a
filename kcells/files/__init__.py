"""Files that `model.export` has written: run by their runtimes, and held against the model."""

from kcells.files.check import Checked, MissingRuntimeError, check_file
from kcells.files.run import SUFFIXES, export_options, run_file

__all__ = [
    "SUFFIXES",
    "Checked",
    "MissingRuntimeError",
    "check_file",
    "export_options",
    "run_file",
]
