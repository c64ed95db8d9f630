"""Batches: every example once, positions by number, buffers that stay where they are."""

import numpy as np
import pytest

from dlc.runtime.data import DataError, Split, batches, order, sequential, steps_per_epoch


@pytest.fixture
def split():
    return Split("train", {"x": np.arange(20, dtype=np.float32).reshape(10, 2), "y": np.arange(10)}, "")


def test_an_epoch_follows_its_order_and_drops_the_partial_batch(split):
    got = [(b["x"].copy(), b["y"].copy()) for b in batches(split, 3, seed=4, epoch=2)]
    assert len(got) == 3 == steps_per_epoch(split, 3)
    rows = order(10, 4, 2)[:9]
    assert np.concatenate([y for _, y in got]).tolist() == rows.tolist()
    assert (np.concatenate([x for x, _ in got]) == split.fields["x"][rows]).all()


def test_starting_in_the_middle(split):
    whole = [b["y"].tolist() for b in batches(split, 3, 0, 0)]
    assert [b["y"].tolist() for b in batches(split, 3, 0, 0, start=2)] == whole[2:]
    assert list(batches(split, 3, 0, 0, start=3)) == []


def test_buffers_are_filled_in_place(split):
    mine = {"x": np.empty((5, 2), np.float32)}
    addresses = set()
    for b in batches(split, 5, 0, 0, into=mine):
        assert b["x"] is mine["x"] and list(b) == ["x"]
        addresses.add(b["x"].ctypes.data)
    assert len(addresses) == 1


@pytest.mark.parametrize("bad", [{"x": np.empty((4, 2), np.float32)}, {"x": np.empty((5, 2))}, {"z": np.empty(5)}])
def test_buffers_that_do_not_fit(split, bad):
    with pytest.raises(DataError, match="does not fit"):
        batches(split, 5, 0, 0, into=bad)


def test_batches_that_cannot_be(split):
    with pytest.raises(DataError, match="`train` has 10 examples, less than one batch of 11"):
        batches(split, 11, 0, 0)
    for make in (lambda: batches(split, 0, 0, 0), lambda: sequential(split, 0)):
        with pytest.raises(DataError, match="at least 1"):
            make()


def test_sequential_keeps_all_as_views(split):
    got = list(sequential(split, 4))
    assert [b["y"].tolist() for b in got] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(np.shares_memory(b["x"], split.fields["x"]) for b in got)
    assert len(list(sequential(split, 100))) == 1
