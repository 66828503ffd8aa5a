"""Text that others wrote, made safe to show.

Ids, versions, summaries and errors come from the metadata of any package, and from files. A
terminal does what control characters in them say: it moves the cursor, colours, deletes, sets its
title, and turns the order of letters round.
"""

from __future__ import annotations

from typing import Any

__all__ = ["message", "one_line", "printable", "printable_data", "shortened"]


def printable(text: object) -> str:
    """Text without control characters, in the lines that it has.

    What is no letter, mark, digit, sign or space becomes a question mark: escapes, the marks by
    which writing changes its direction, halves of letters that no encoding has.

    Examples:

    >>> printable("a" + chr(27) + "[31mb")
    'a?[31mb'
    """
    plain = str(text).replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in plain)


def one_line(text: object) -> str:
    """Text without control characters and in one line, which nobody takes for lines of ours.

    Examples:

    >>> one_line("1.0" + chr(10) + "Nothing is broken.")
    '1.0 Nothing is broken.'
    """
    return " ".join(printable(text).split("\n"))


def message(text: str) -> str:
    """The text of an error, as `printable` has it.

    Keras raises an error again that came out of a layer, with its text in bold: not any more.

    Examples:

    >>> message("Exception encountered when calling RNN.call()." + chr(27) + "[1m Why" + chr(27))
    'Exception encountered when calling RNN.call(). Why?'
    """
    if text.startswith("Exception encountered when calling"):
        text = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return printable(text)


def printable_data(data: Any) -> Any:
    """Plain data with every text in it, keys too, as `printable` has it.

    Examples:

    >>> printable_data({"id": ["a" + chr(7), 1]})
    {'id': ['a?', 1]}
    """
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, dict):
        return {printable_data(key): printable_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [printable_data(entry) for entry in data]
    return data


def shortened(text: object, length: int = 200) -> str:
    """The start of a text, in one line.

    Examples:

    >>> shortened("abcdefgh", 6)
    'abc...'
    """
    shown = " ".join(one_line(text).split())
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."
