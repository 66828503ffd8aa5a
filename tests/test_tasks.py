"""benchmarks/tasks.py: what it runs is learned, kept, gone on with, and shown."""

import dataclasses
import importlib
import pathlib

import keras
import numpy as np
import pytest
from click.testing import CliRunner

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "tasks.jsonl"


@pytest.fixture
def learning(monkeypatch):
    """A function that imports a module of benchmarks/learning."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"learning.{name}")


@pytest.fixture
def shortened(learning, monkeypatch):
    """The problem `rows`, with three points of a few steps."""
    problems = learning("problems").PROBLEMS
    short = dataclasses.replace(problems["rows"], budget=600, steps=4, points=2)
    monkeypatch.setitem(problems, "rows", short)
    return short


@pytest.mark.parametrize("name", ["rows", "pixels", "vowels", "copy", "adding", "characters"])
def test_problems(name, learning):
    """Held-out examples are no training examples; chance is what a constant answer scores.

    But for `copy`, of whose few examples a training run sees most.
    """
    problem = learning("problems").PROBLEMS[name]
    rng = np.random.default_rng(1)
    inputs, targets = problem.data.draw(rng, 4000)
    held_out, answers = problem.data.held_out
    assert inputs.shape[1:] == held_out.shape[1:]
    assert targets.shape[1:] == answers.shape[1:]
    seen = {example.tobytes() for example in inputs}
    assert name == "copy" or not seen & {example.tobytes() for example in held_out}
    constants = {
        "accuracy": lambda: max(np.mean(answers == k) for k in range(problem.outputs)),
        "error": lambda: min(np.mean((answers - k) ** 2) for k in np.arange(0.8, 1.2, 1e-4)),
        "bits": lambda: _entropy(np.unique(answers, return_counts=True)[1] / answers.size),
    }
    assert problem.chance == pytest.approx(constants[problem.measure](), abs=1e-6)


def _entropy(shares):
    return -shares @ np.log2(shares)


def test_no_text_is_in_both_parts(learning, monkeypatch):
    """The last tenth is held out: training windows, with what follows them, end before it."""
    topics = {"a": "".join(map(chr, range(1000, 2000)))}
    monkeypatch.setattr("pydoc_data.topics.topics", topics)
    data = learning("problems")._characters(64)
    drawn = np.concatenate([np.ravel(part) for part in data.draw(np.random.default_rng(0), 5000)])
    held_out = np.concatenate([np.ravel(part) for part in data.held_out])
    assert drawn.max() < 900 <= held_out.min()
    assert drawn.max() > 890


def test_what_the_made_up_problems_ask_for(learning):
    problems = learning("problems").PROBLEMS
    inputs, sums = problems["adding"].data.draw(np.random.default_rng(0), 5)
    np.testing.assert_allclose((inputs[..., 0] * inputs[..., 1]).sum(1), sums[:, 0], rtol=1e-6)
    assert (inputs[:, :100, 1].sum(1) == 1).all()
    assert (inputs[:, 100:, 1].sum(1) == 1).all()
    inputs, symbols = problems["copy"].data.draw(np.random.default_rng(0), 5)
    assert (inputs[:, :5] == symbols).all()
    assert (inputs == 9).sum() == 5  # one sign each, where the first answer is due
    assert (inputs[:, -5] == 9).all()
    inputs, following = problems["characters"].data.held_out
    assert (inputs[:, 1:] == following[:, :-1]).all()


@pytest.mark.once
@pytest.mark.parametrize("problem", ["rows", "adding"])
@pytest.mark.parametrize(
    "name",
    [
        *("lstm", "lru", "conv_lstm", "parallel", "nested", "phased_lstm", "xlstm_mlstm"),
        *("intersection_rnn", "rg_lru", "s5", "sru"),  # with as many features as units, another
    ],
)
def test_models_keep_to_the_budget(name, problem, learning):
    models, campaign = learning("models"), learning("campaign")
    if not campaign.takes_part(name, problem):
        pytest.skip("it takes no part")
    asked = dataclasses.replace(learning("problems").PROBLEMS[problem], budget=1500)
    units = models.units_for(name, asked)
    step = learning("cells").learning_of(name).multiple
    sizes = [
        models.parameters(models.make_model(name, asked, count)) for count in (units, units + step)
    ]
    assert sizes[0] <= asked.budget < sizes[1]


def test_a_model_that_is_no_polynomial_keeps_to_the_budget(learning, shortened, monkeypatch):
    """As where a cell leaves out a matrix at one number of units."""
    models = learning("models")
    monkeypatch.setattr(models, "make_model", lambda name, problem, units: units)
    monkeypatch.setattr(models, "parameters", lambda units: 10 * units + 5 * (units == 60))
    assert models.units_for("gru", shortened) == 59


@pytest.mark.once
def test_a_budget_below_every_model(learning, shortened):
    small = dataclasses.replace(shortened, budget=20)
    with pytest.raises(ValueError, match="lstm: no model for rows has 20 parameters"):
        learning("models").units_for("lstm", small)


@pytest.mark.once
def test_seeds_start_anew(learning, shortened):
    learner = learning("training").Learner("gru", shortened)
    curves = [learner.learn(seed, lambda point, score: None)["curve"] for seed in (0, 1, 0)]
    assert curves[0] == curves[2] != curves[1]
    assert len(curves[0]) == 3


@pytest.mark.once
def test_a_problem_that_is_solved_is_left(learning, shortened):
    easy = dataclasses.replace(shortened, points=30, steps=30, enough=0.3)
    curve = learning("training").Learner("gru", easy).learn(0, lambda point, score: None)["curve"]
    reached = [easy.above_chance(score) >= 0.3 for score in curve]
    assert reached == [False] * (len(curve) - 1) + [True]
    assert len(curve) < 31


@pytest.mark.once
def test_a_run_that_was_stopped_goes_on(learning, shortened, monkeypatch, tmp_path):
    """Only what is missing runs; a line that was cut off is none."""
    path = tmp_path / "runs.jsonl"
    campaign, store = learning("campaign"), learning("store")
    assert not campaign.run(campaign.plan(["gru"], ["rows"], range(2)), path)
    whole = path.read_text()
    path.write_text(whole[:-30])
    learned = []
    learn = learning("training").Learner.learn
    monkeypatch.setattr(
        learning("training").Learner,
        "learn",
        lambda self, seed, shown: learned.append(seed) or learn(self, seed, shown),
    )
    assert list(store.read(path)) == [("gru", "rows", 0)]
    assert not campaign.run(campaign.plan(["gru"], ["rows"], range(2)), path)
    assert learned == [1]
    assert list(store.read(path)) == [("gru", "rows", 0), ("gru", "rows", 1)]


@pytest.mark.once
def test_one_cell_that_fails_stops_no_other(learning, shortened, tmp_path):
    path = tmp_path / "runs.jsonl"
    campaign = learning("campaign")
    groups = [("no_such_cell", shortened, (0,)), ("gru", shortened, (0,))]
    (failure,) = campaign.run(groups, path)
    assert failure.startswith("rows no_such_cell: UnknownCellError")
    assert list(learning("store").read(path)) == [("gru", "rows", 0)]


def test_what_is_asked_for_is_known_before_anything_runs(learning, tmp_path):
    campaign = learning("campaign")
    with pytest.raises(ValueError, match="'sorting' is none of the problems: rows"):
        campaign.plan([], ["sorting"], range(3))
    with pytest.raises(LookupError, match="grv"):
        campaign.plan(["grv"], [], range(3))
    path = tmp_path / "runs.jsonl"
    path.write_text('{"cell": "gru"}\n')
    with pytest.raises(ValueError, match="line 1, is no run"):
        learning("store").read(path)


def test_the_table(learning):
    """Median, best and worst; little is in brackets, and no number is the worst."""
    run = dict.fromkeys(("units", "parameters", "rate", "seconds"), 1) | {"steps": 50}
    run |= {"backend": keras.backend.backend(), "versions": {}, "date": "2026-01-01"}

    def runs(problem, chance, curves):
        facts = {**run, "problem": problem, "chance": chance}
        return [
            learning("training").Run(**facts, cell=cell, seed=seed, curve=curve)
            for cell, found in curves.items()
            for seed, curve in enumerate(found)
        ]

    nan = float("nan")
    rows = {
        "good": ([0.1, 0.7], [0.1, 0.9], [0.1, 0.8]),
        "poor": ([0.1, 0.12],),
        "torn": ([0.1, 0.9], [0.1, nan], [0.1, 0.8]),
        "gone": ([0.1, nan], [0.1, nan], [0.1, 0.8]),
    }
    adding = {
        "good": ([0.2, 0.1, 0.001], [0.2, 0.002], [0.2, 0.0019]),
        "poor": ([0.2, 0.1, 0.0005], [0.2, 0.0015]),
        "slow": ([0.2, 0.0001], [0.2, 0.1], [0.2, 0.2]),
    }
    made = [*runs("rows", 0.1, rows), *runs("adding", 0.18, adding)]
    report = learning("report")
    lines = report.table(made).splitlines()
    assert "steps until solved" in lines[0]
    assert lines[2] == "| *chance* | 10.0 | 0.1800 |"
    assert lines[3:] == [
        "| `gone` | [nan (80.0 to nan)] |  |",
        "| `good` | 80.0 (90.0 to 70.0) | 0.0019 (100 steps to 0.0020) |",
        "| `poor` | [12.0] | 100 steps (50 steps to 100 steps) |",
        "| `slow` |  | 0.1000 (50 steps to 0.2000) |",
        "| `torn` | 80.0 (90.0 to nan) |  |",
    ]
    problems = learning("problems").PROBLEMS
    assert list(report.by_cell(made, problems["rows"])) == ["good", "torn", "poor", "gone"]
    assert list(report.by_cell(made, problems["adding"])) == ["poor", "good", "slow"]


def test_the_table_of_results_is_that_of_the_runs(learning):
    runs = learning("store").read(RESULTS)
    assert (
        RESULTS.with_suffix(".md").read_text() == learning("report").table([*runs.values()]) + "\n"
    )
    budgets = {name: problem.budget for name, problem in learning("problems").PROBLEMS.items()}
    assert all(run.parameters <= budgets[run.problem] for run in runs.values())
    units = {run.key[:2]: run.units for run in runs.values()}
    assert all(run.units == units[run.key[:2]] for run in runs.values())


@pytest.mark.once
def test_the_command(learning, shortened, tmp_path, monkeypatch):
    """It runs, writes the table and the picture, and says what went wrong."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    learning("campaign")
    tasks = importlib.import_module("tasks")
    path = tmp_path / "runs.jsonl"
    options = ["--backend", keras.backend.backend(), "--runs", str(path), "--problems", "rows"]
    result = CliRunner().invoke(tasks.main, [*options, "--cells", "gru", "--seeds", "1"])
    assert result.exit_code == 0, result.output
    assert "`gru`" in path.with_suffix(".md").read_text()
    assert (tmp_path / "runs-rows.png").stat().st_size > 5000
    wrong = CliRunner().invoke(tasks.main, [*options, "--cells", "grv"])
    assert wrong.exit_code == 2
    assert "grv" in wrong.output
