"""The JSON in a model file, which may come from anybody, and may be damaged on its way.

A `.keras` file is a zip archive with a configuration, metadata and weights in it. Nothing here
needs Keras.
"""

from __future__ import annotations

import json
import lzma
import os
import struct
import zipfile
import zlib
from typing import IO, Any, Literal, TypeAlias

from kcells.errors import ModelFileError
from kcells.text import one_line, shortened

__all__ = ["COPY_AGAIN", "Part", "broken_member", "quoted", "read", "unreadable"]

Part: TypeAlias = Literal["archive", "configuration", "weights"]

CONFIGURATION, METADATA = "config.json", "metadata.json"

LARGEST_CONFIGURATION = 256 * 2**20
"""In bytes: more than any model has."""

COPY_AGAIN = "Copy it again from where it is whole, or save the model again."

_OF_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    # An unknown compression, a password, a name that is none.
    *(NotImplementedError, RuntimeError, ValueError),
)


def unreadable(path: Any, part: Part, what: str, remedy: str = COPY_AGAIN) -> ModelFileError:
    """The error for a model file, in one line."""
    error = ModelFileError(f"{one_line(path)} cannot be loaded: {what}. {remedy}")
    error.part = part
    return error


def quoted(error: BaseException) -> str:
    """What an error says, in short."""
    text = shortened(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration of a model file and, if it has some, its metadata, by member.

    Raises:
        ModelFileError: if it is no archive, or if these cannot be read.
        OSError: if it cannot be opened.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            size = os.fstat(file.fileno()).st_size
            what = f"it is no zip archive, or the end of it is missing ({size} bytes are there)"
            raise unreadable(path, "archive", what)
        texts = _texts(path, file)
    if CONFIGURATION not in texts:
        raise unreadable(path, "archive", f"there is no {CONFIGURATION} in its archive")
    return {name: _parsed(path, name, text) for name, text in texts.items()}


def _texts(path: Any, file: IO[bytes]) -> dict[str, bytes]:
    texts = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in (CONFIGURATION, METADATA):
                if name not in archive.namelist():
                    continue
                size = archive.getinfo(name).file_size
                if size > LARGEST_CONFIGURATION:
                    raise ValueError(f"{name} has {size} bytes, which no model has")
                texts[name] = archive.read(name)
    except _OF_ZIP as error:
        raise unreadable(path, "archive", f"its archive is damaged ({quoted(error)})") from error
    return texts


def _parsed(path: Any, name: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if name == METADATA:
            return None  # Nobody needs them, Keras as little as we.
        what = f"its configuration is damaged ({quoted(error)})"
        raise unreadable(path, "configuration", what) from error


def broken_member(path: str | os.PathLike[str]) -> str:
    """What is wrong with the first member of an archive that cannot be read; empty if all can."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    while member.read(2**20):
                        pass
    except _OF_ZIP as error:
        return quoted(error)
    return ""
