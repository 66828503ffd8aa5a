"""Prints what pyproject.toml requires, with the extras that are named: one a line."""

import pathlib
import sys
import tomllib


def requirements(extras: list[str]) -> list[str]:
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    chosen = list(project["dependencies"])
    for extra in extras:
        chosen += project["optional-dependencies"][extra]
    return chosen


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1:])) + "\n")
