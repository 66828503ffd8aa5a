"""A cell's docstring, in its parts: summary, equations, papers, arguments.

The order is the one that the cells of kcells' own plugins have. Of a docstring in any other
order comes what is found.
"""

from __future__ import annotations

import dataclasses
import inspect
import re

__all__ = ["Documentation", "documentation_of", "read"]

_SECTION = re.compile(r"(Args|Arguments|Call arguments|Returns|Shapes|Raises|Examples?)\b.*:")
_PAPER = re.compile(r"(Papers?|Sources?|References?):\s*")
_ARGUMENT = re.compile(r"(\*{0,2}\w+(?:,\s+\*{0,2}\w+)*):\s*(.*)")


@dataclasses.dataclass(frozen=True)
class Documentation:
    """What a docstring says.

    Attributes:
        summary: its first paragraph.
        equations: its indented blocks, without the text between them.
        paper: who published the cell.
        arguments: what is said of each argument, by name.
    """

    summary: str = ""
    equations: str = ""
    paper: str = ""
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)


# Keras' docstrings have no equations, and name no paper.
_OF_KERAS = {
    "LSTMCell": (
        "i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + b_i)\n"
        "f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + b_f)\n"
        "g_t = activation(W_c x_t + U_c h_{t-1} + b_c)\n"
        "o_t = recurrent_activation(W_o x_t + U_o h_{t-1} + b_o)\n"
        "c_t = f_t * c_{t-1} + i_t * g_t\n"
        "h_t = o_t * activation(c_t)",
        "Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber and Cummins 2000.",
    ),
    "GRUCell": (
        "z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)\n"
        "r_t = recurrent_activation(W_r x_t + U_r h_{t-1} + b_r)\n"
        "\n"
        "reset_after=True:   g_t = activation(W_h x_t + b_h + r_t * (U_h h_{t-1} + d_h))\n"
        "reset_after=False:  g_t = activation(W_h x_t + U_h (r_t * h_{t-1}) + b_h)\n"
        "\n"
        "h_t = z_t * h_{t-1} + (1 - z_t) * g_t",
        "Cho et al. 2014, arXiv:1406.1078, whose first version is reset_after=True.",
    ),
    "SimpleRNNCell": (
        "h_t = activation(W x_t + U h_{t-1} + b)",
        "Elman 1990.",
    ),
}


def documentation_of(cls: type) -> Documentation:
    """What there is to read about a cell class; of its own docstring, none that it inherits.

    Of its bases come the arguments that it hands on to them, which they explain.
    """
    arguments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found = read(vars(base).get("__doc__") or "")
        arguments |= found.arguments
    found = dataclasses.replace(found, arguments=arguments)
    if cls.__module__.startswith("keras.") and cls.__name__ in _OF_KERAS:
        equations, paper = _OF_KERAS[cls.__name__]
        return dataclasses.replace(found, equations=equations, paper=paper)
    return found


def read(text: str) -> Documentation:
    """The parts of a docstring.

    Examples:

    >>> found = read('''A sum.
    ...
    ...     s_t = s_{t-1} + x_t
    ...
    ... Paper: nobody 1900, "Sums".
    ...
    ... Args:
    ...     units: the size
    ...         of the state.
    ... ''')
    >>> found.summary, found.equations, found.paper
    ('A sum.', 's_t = s_{t-1} + x_t', 'nobody 1900, "Sums".')
    >>> found.arguments
    {'units': 'the size of the state.'}
    """
    lines = inspect.cleandoc(text).splitlines()
    starts = [k for k, line in enumerate(lines) if _SECTION.match(line)]
    head = "\n".join(lines[: starts[0]] if starts else lines)
    paragraphs = [part for part in re.split(r"\n\s*\n", head) if part.strip()]
    return Documentation(
        _one_line(paragraphs[0]) if paragraphs else "",
        _equations(paragraphs),
        _paper(paragraphs),
        _arguments(lines),
    )


def _equations(paragraphs: list[str]) -> str:
    blocks = [part for part in paragraphs if all(line[:1] == " " for line in part.splitlines())]
    return "\n\n".join(inspect.cleandoc("\n" + block) for block in blocks)


def _paper(paragraphs: list[str]) -> str:
    for part in paragraphs:
        if found := _PAPER.match(part):
            return _one_line(part[found.end() :])
    return ""


def _arguments(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    for line in _section(lines, ("Args:", "Arguments:")):
        indent = len(line) - len(line.lstrip())
        entry = _ARGUMENT.match(line.strip())
        if entry and indent <= 4:
            names = [name.strip("* ") for name in entry[1].split(",")]
            found |= dict.fromkeys(names, entry[2])
        else:
            found |= {name: _one_line(f"{found[name]} {line}") for name in names}
    return found


def _section(lines: list[str], titles: tuple[str, ...]) -> list[str]:
    starts = [k for k, line in enumerate(lines) if line.strip() in titles and line[:1] != " "]
    if not starts:
        return []
    body = lines[starts[0] + 1 :]
    ends = [k for k, line in enumerate(body) if line and line[:1] != " "]
    return [line for line in body[: ends[0] if ends else None] if line.strip()]


def _one_line(text: str) -> str:
    return " ".join(text.split())
