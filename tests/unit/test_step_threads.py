"""The threads that share a step."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial

import pytest

from whispergpt.engine.backends.step_threads import StepThreads


def native_id(parts: threading.Barrier) -> int:
    """Of the thread that a part runs on, with all parts under way at once."""
    parts.wait(10)
    return threading.get_native_id()


def test_parts_run_at_once_the_first_on_the_thread_that_asks() -> None:
    threads = StepThreads(3)
    ids = threads.run([partial(native_id, threading.Barrier(3))] * 3)
    assert ids[0] == threading.get_native_id() and len(set(ids)) == 3
    assert StepThreads(1).run([threading.get_native_id]) == [threading.get_native_id()]


def test_a_step_is_over_when_all_its_parts_are_even_where_one_fails() -> None:
    done: list[int] = []

    def slow() -> None:
        time.sleep(0.05)
        done.append(1)

    def broken() -> None:
        raise ValueError("broken")

    threads = StepThreads(2)
    for parts in ([broken, slow], [slow, broken]):
        with pytest.raises(ValueError, match="broken"):
            threads.run(parts)
    assert done == [1, 1]
    assert threads.run([lambda: 1, lambda: 2]) == [1, 2], "and the next is one like any other"


@pytest.mark.skipif(sys.platform != "linux", reason="processors are chosen on Linux alone")
def test_no_two_threads_share_a_processor() -> None:
    own = os.sched_getaffinity(0)
    if len(own) < 2:
        pytest.skip("one processor")
    threads = StepThreads(len(own))
    for _ in range(3):  # helpers begin in the first, and have their places from the second on
        ids = threads.run([partial(native_id, threading.Barrier(len(own)))] * len(own))
    places = [os.sched_getaffinity(helper) for helper in ids[1:]]
    assert all(len(place) == 1 for place in places) and len(set.union(*places)) == len(places)
    assert os.sched_getaffinity(0) == own, "the thread that asks goes where it likes"


@pytest.mark.skipif(sys.platform != "linux", reason="processors are chosen on Linux alone")
def test_more_threads_than_processors_share_them() -> None:
    count = len(os.sched_getaffinity(0)) + 2
    threads = StepThreads(count)
    for _ in range(3):
        assert len(set(threads.run([partial(native_id, threading.Barrier(count))] * count))) == count
