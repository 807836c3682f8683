"""Short slices of a thread, as the kernel has them."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
import threading

import pytest

from whispergpt.engine.short_slices import SLICE_NS, take_short_slices

_GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_OWN_SLICES = (6, 12)
"""Linux from which a thread can have its own slice."""


def kernel() -> tuple[int, int]:
    major, minor = platform.release().split("-")[0].split(".")[:2]
    return int(major), int(minor)


def attributes() -> tuple[int, ...]:
    """Policy, flags, nice, priority and runtime of the calling thread."""
    answer = ctypes.create_string_buffer(64)
    assert ctypes.CDLL(None).syscall(_GET_ATTRIBUTES[platform.machine()], 0, answer, len(answer), 0) == 0
    return _ATTRIBUTES.unpack(answer.raw[: _ATTRIBUTES.size])[1:6]


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in _GET_ATTRIBUTES, reason="its kernel is asked by number"
)
def test_the_thread_has_them_and_those_that_it_starts_have_the_usual_ones() -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def look(name: str) -> None:
        seen[name] = attributes()

    def thread() -> None:
        look("before")
        assert take_short_slices()
        look("after")
        child = threading.Thread(target=look, args=("child",))
        child.start()
        child.join()

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    assert seen["after"][0] == seen["before"][0] and seen["after"][2] == seen["before"][2], "policy and nice stay"
    if kernel() >= _OWN_SLICES:
        assert seen["after"][4] == SLICE_NS < seen["before"][4]
        assert seen["child"][4] == seen["before"][4]
