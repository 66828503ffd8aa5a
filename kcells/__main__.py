"""`python -m kcells` is the command `kcells`, in a process that has imported Keras."""

from kcells.commands.group import main

if __name__ == "__main__":
    main(prog_name="kcells")
