"""Sizes as they are written, and those of a sweep."""

import pytest

from kcells.bench.campaign import Campaign, tasks
from kcells.bench.sizes import BASE, LoopSize, sweep


def test_written_and_read():
    assert LoopSize.parse(" 8X200x32x64 ") == LoopSize(8, 200, 32, 64)
    assert str(LoopSize.parse("1x2x3x4")) == "1x2x3x4"


@pytest.mark.parametrize("text", ["", "8", "8x200x32", "8x200x32x0", "8x200x32x-1", "axbxcxd"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"is no size: write batch, time steps, .*8x200x32x64"):
        LoopSize.parse(text)


def test_a_sweep_changes_one_number_at_a_time():
    sizes = sweep()
    assert sizes[0] == BASE
    assert len(sizes) == len(set(sizes)) == 7
    for size in sizes[1:]:
        assert sum(a != b for a, b in zip(astuple(size), astuple(BASE), strict=True)) == 1


def astuple(size):
    return (size.batch, size.length, size.features, size.units)


@pytest.mark.parametrize(("name", "divisor"), [("nested", 8), ("lstm", 1)])
def test_a_cell_that_multiplies_its_units_gets_fewer(name, divisor):
    grown = (BASE, LoopSize(1, 1, 1, 1))
    found = {task.case.size for task in tasks(Campaign((name,), sizes=(), grown=grown))}
    assert found == {LoopSize(8, 100, 32, BASE.units // divisor), LoopSize(1, 1, 1, 1)}
