"""Losses of a cell that several threads call at once: each has its own."""

import threading

import keras
import numpy as np
from keras import ops

from kcells.cells.losses import losses_noted


def numbers(losses):
    return [float(ops.convert_to_numpy(loss)) for loss in losses]


def test_each_thread_has_its_own():
    """One begins while another is at it, and ends after it."""
    cell = keras.layers.Dense(2)
    inside, ended = threading.Event(), threading.Event()
    found = []

    def other():
        with losses_noted(cell) as noted:
            inside.set()
            assert ended.wait(10)
            cell.add_loss(ops.convert_to_tensor(2.0))
        found.append(numbers(noted))

    thread = threading.Thread(target=other)
    with losses_noted(cell) as noted:
        thread.start()
        assert inside.wait(10)
        cell.add_loss(ops.convert_to_tensor(1.0))
    assert numbers(noted) == [1.0]
    # What nobody notes here is the layer's, while the other is still at it.
    cell.add_loss(ops.convert_to_tensor(3.0))
    np.testing.assert_equal(numbers(cell.losses), [3.0])
    ended.set()
    thread.join()
    assert found == [[2.0]]
    assert "add_loss" not in vars(cell)


def test_the_innermost_takes_it():
    cell = keras.layers.Dense(2)
    with losses_noted(cell) as outer:
        with losses_noted(cell) as inner:
            cell.add_loss(ops.convert_to_tensor(1.0))
        cell.add_loss(ops.convert_to_tensor(2.0))
    assert (numbers(inner), numbers(outer)) == ([1.0], [2.0])
