"""Ratios and their order, with a clock that moves when the test says so."""

from __future__ import annotations

import pytest

from kcells.bench.timing import Loop, Ratio, Times, compare, ratio_of, repeats_of, rotated


class FakeTime:
    """A clock that the steps push on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def step(self, name: str, *seconds: float):
        """A step that takes one of these times after the other, and then the last one."""
        left = list(seconds)

        def run() -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_ratios_are_those_of_the_rounds():
    clock = FakeTime()
    steps = {"ours": clock.step("ours", 1, 4, 9), "other": clock.step("other", 2, 4, 3)}
    times = compare(steps, 3, {"ours": 1, "other": 1}, clock)
    assert times.seconds == {"ours": [1, 4, 9], "other": [2, 4, 3]}
    assert times.median("ours") == 4
    assert times.median("other") == 3
    # 0.5, 1 and 3: not the ratio of the medians.
    assert times.ratio("ours", "other") == Ratio(1, 0.75, 2)


def test_every_side_runs_once_a_round_and_comes_first_in_turn():
    clock = FakeTime()
    steps = {name: clock.step(name, 1) for name in "abc"}
    compare(steps, 4, dict.fromkeys(steps, 1), clock)
    assert "".join(clock.order) == "abc" + "bca" + "cab" + "abc"
    assert rotated(["ours", "other"], 1) == ["other", "ours"]


def test_a_round_divides_by_its_repeats():
    clock = FakeTime()
    times = compare({"a": clock.step("a", 0.02)}, 1, {"a": 5}, clock)
    assert times.median("a") == pytest.approx(0.02)
    assert len(clock.order) == 5


@pytest.mark.parametrize(("seconds", "repeats"), [(0.001, 50), (0.02, 2), (3, 1), (0, 50_000)])
def test_short_steps_are_repeated(seconds, repeats):
    clock = FakeTime()
    assert repeats_of(clock.step("a", seconds), clock) == pytest.approx(repeats, abs=1)
    assert len(clock.order) == 3  # twice to warm up


def test_repeats_are_found_where_none_are_given():
    clock = FakeTime()
    compare({"a": clock.step("a", 0.01)}, 2, clock=clock)
    assert len(clock.order) == 3 + 2 * 5


def test_a_loop_repeats_itself():
    clock, asked = FakeTime(), []

    def run(repeats: int) -> None:
        asked.append(repeats)
        clock.now += 0.025 * repeats

    times = compare({"a": Loop(run)}, 2, {"a": 2}, clock)
    assert asked == [2, 2]
    Loop(run)()
    assert asked[-1] == 1
    assert times.median("a") == pytest.approx(0.025)


def test_one_round_has_no_spread():
    assert ratio_of([0.7]) == Ratio(0.7, 0.7, 0.7)
    assert Times({"a": [2.0], "b": [4.0]}).ratio("a", "b").median == 0.5
