"""`python -m kcells` is the command `kcells`."""

from kcells.cli import main

if __name__ == "__main__":
    main(prog_name="kcells")
