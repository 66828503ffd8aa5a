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
    """Held-out examples are no training examples; chance is what a constant answer scores."""
    problem = learning("problems").PROBLEMS[name]
    rng = np.random.default_rng(1)
    inputs, targets = problem.data.draw(rng, 64)
    held_out, answers = problem.data.held_out
    assert inputs.shape[1:] == held_out.shape[1:]
    assert targets.shape[1:] == answers.shape[1:]
    seen = {example.tobytes() for example in inputs}
    assert not seen & {example.tobytes() for example in held_out}
    assert problem.above_chance(problem.chance) == 0
    assert problem.above_chance(problem.best) == 1
    if problem.measure == "accuracy":
        assert problem.chance == max(np.mean(answers == k) for k in range(problem.outputs))


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
@pytest.mark.parametrize("name", ["lstm", "lru", "conv_lstm", "parallel", "nested", "phased_lstm"])
def test_models_keep_to_the_budget(name, learning, shortened):
    models = learning("models")
    units = models.units_for(name, shortened)
    step = learning("cells").setting_of(name).multiple
    sizes = [
        models.parameters(models.make_model(name, shortened, count))
        for count in (units, units + step)
    ]
    assert sizes[0] <= shortened.budget < sizes[1]


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
    """What is no better than chance is in brackets; the rest has median and range."""
    run = dict.fromkeys(("units", "parameters", "rate", "steps", "seconds"), 1)
    run |= {"backend": keras.backend.backend(), "versions": {}, "date": "2026-01-01"}
    made = [
        learning("training").Run(**run, cell=cell, problem="rows", seed=seed, curve=[0.1, score])
        for cell, scores in {"good": (0.7, 0.9, 0.8), "poor": (0.12,)}.items()
        for seed, score in enumerate(scores)
    ]
    table = learning("report").table(made)
    assert "| `good` | 80.0 (70.0 to 90.0) |" in table
    assert "| `poor` | [12.0] |" in table


def test_the_table_of_results_is_that_of_the_runs(learning):
    runs = learning("store").read(RESULTS)
    assert (
        RESULTS.with_suffix(".md").read_text() == learning("report").table([*runs.values()]) + "\n"
    )
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
