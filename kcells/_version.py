"""The version, in a module that imports nothing: the build reads it from here."""

__version__ = "0.5.0"
