"""Does it learn? Every cell on six problems, with equal numbers of parameters.

    python benchmarks/tasks.py --cells lstm,min_gru --problems rows,adding

Problems: `rows` and `pixels` (scikit-learn's digits), `vowels` (of different lengths,
masked), `copy`, `adding` (200 steps) and `characters`; see learning/problems.py. For each the
cell gets as many units as the problem's budget of parameters pays for, one learning rate
(its card may say otherwise), and three seeds.

What is in the file of `--runs` is not run again, so a run that was stopped goes on where it
was; `--again` runs what is asked for once more. `--report` writes the table
and the pictures of what the file holds, and runs nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

RESULTS = Path(__file__).parent / "results"


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--backend", default="jax", type=click.Choice(("tensorflow", "jax", "torch")))
@click.option("--cells", default="", help="Ids with commas between them.  [default: all]")
@click.option("--problems", default="", help="Names with commas between them.  [default: all]")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--again", is_flag=True, help="Also what the file has already.")
@click.option("--report", is_flag=True, help="Only write the table and the pictures.")
@click.option(
    "--runs",
    default=RESULTS / "tasks.jsonl",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of runs; the table and the pictures go beside it.",
)
def main(
    backend: str, cells: str, problems: str, seeds: int, again: bool, report: bool, runs: Path
) -> None:
    """Runs the benchmark."""
    os.environ["KERAS_BACKEND"] = backend
    from learning import campaign
    from learning.report import write_report

    from kcells.errors import KCellsError

    try:
        plan = campaign.plan(_names(cells), _names(problems), range(seeds))
        failures = [] if report else campaign.run(plan, runs, again)
        written = write_report(runs)
    except (KCellsError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    for path in written:
        click.echo(f"written: {path}")
    if failures:
        raise click.ClickException("not all could learn:\n  " + "\n  ".join(failures))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    main()
