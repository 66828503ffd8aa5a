"""Writes the sessions of docs/command.md: what the commands print today.

    python tools/sessions.py [FOLDER]

A command that reads a file runs if FOLDER has the file. Those that measure, or that need a
machine or a plugin of their own, stay as they were recorded.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "command.md"
SESSION = re.compile(r"^```text\n\$ ([^\n]+)\n.*?^```$", flags=re.M | re.S)
REPEATED = frozenset({"list", "info", "new", "check", "explain", "inspect"})
"""The subcommands that print the same on every machine."""


def page(text: str, folder: Path, repeated: Collection[str] = REPEATED) -> str:
    """`text` with the sessions of these subcommands as they are today."""

    def renewed(session: re.Match[str]) -> str:
        line = session[1]
        subcommand, *arguments = line.partition("kcells ")[2].split()
        files = [word for word in arguments if word.endswith(".keras")]
        if subcommand not in repeated or not all((folder / file).exists() for file in files):
            return session.group()
        return f"```text\n$ {line}\n{printed(line, folder)}```"

    return SESSION.sub(renewed, text)


def printed(line: str, folder: Path) -> str:
    """What a command prints, in a copy of the folder, 80 columns wide."""
    words = shlex.split(line)
    count = next(number for number, word in enumerate(words) if "=" not in word)
    settings = dict(word.split("=", 1) for word in words[:count])
    command = [Path(sys.executable).with_name("kcells"), *words[count + 1 :]]
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        done = subprocess.run(  # noqa: S603
            command,
            cwd=copy,
            env={**os.environ, **settings, "COLUMNS": "80", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            encoding="utf-8",
        )
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"{line}\n{done.stderr}\n  Nothing was written.")
    return "".join(f"{shown.rstrip()}\n" for shown in done.stdout.splitlines())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else empty)
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), folder), encoding="utf-8")
