"""A step's samples on their way to the server: one block, handed on without a copy, and split by streams."""

from __future__ import annotations

import tempfile

import msgspec
import numpy as np
import pytest
import torch
import zmq

from whispergpt.engine.block_pool import BlockPool
from whispergpt.engine.messages.events import StepDone, StreamStarted, pack_event, unpack_event


def step_done(samples: np.ndarray, numbers: list[int]) -> StepDone:
    ids, indices = np.array(numbers), np.arange(len(numbers)) + 7
    return StepDone("speech", ids.data.cast("B"), indices.data.cast("B"), samples.data.cast("B"), 0.5, {"lm": 0.25}, 3)


def test_a_step_is_split_by_streams() -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (3, 320), np.int16)
    parts = pack_event(step_done(samples, [5, 2**40, 6]))
    assert len(parts) == 2 and np.shares_memory(np.frombuffer(parts[1], np.int16), samples), "no copy"
    event = unpack_event([bytes(part) for part in parts])
    assert isinstance(event, StepDone) and event.count == 3
    assert (event.model, event.step_seconds, event.stage_seconds) == ("speech", 0.5, {"lm": 0.25})
    assert list(event.frames) == [(number, 7 + row, samples[row].tobytes()) for row, number in enumerate((5, 2**40, 6))]


def test_parts_that_do_not_fit_are_no_event() -> None:
    samples = np.zeros((2, 320), np.int16)
    header, block = pack_event(step_done(samples, [1, 2]))
    other = pack_event(StreamStarted(1, 0.5))
    for parts in ([header], [header, block, block], [*other, block], [block]):
        with pytest.raises(msgspec.ValidationError):
            unpack_event(parts)
    short = unpack_event([header, block[:640]])
    assert isinstance(short, StepDone)
    with pytest.raises(ValueError, match="zip"):
        list(short.frames)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_block_is_used_again_once_nobody_has_it(pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, pin_memory: empty(shape, dtype=dtype))  # without a GPU
    pool, source = BlockPool(4, pinned), np.arange(4 * 320, dtype=np.int16).reshape(4, 320)
    first = pool.gather(source, [2, 0])
    assert (first == source[[2, 0]]).all()
    kept = first[1:].data.cast("B")  # as a message holds it
    address = first.ctypes.data
    del first
    other = pool.gather(source, [3, 1])
    assert other.ctypes.data != address and bytes(kept) == source[0].tobytes()
    del kept
    assert pool.take(4).ctypes.data == address
    held = [pool.take(1) for _ in range(20)]
    assert len({block.ctypes.data for block in held}) == 20


def test_no_block_is_overwritten_before_it_is_sent() -> None:
    """A server that reads nothing for a while: blocks wait in the socket's queue, without a copy."""
    pool = BlockPool(200)
    with (
        tempfile.TemporaryDirectory(prefix="blocks-") as folder,
        zmq.Context() as context,
        context.socket(zmq.PAIR) as server,
        context.socket(zmq.PAIR) as engine,
    ):
        server.bind(f"ipc://{folder}/engine.sock")
        engine.connect(f"ipc://{folder}/engine.sock")
        for number in range(100):
            block = pool.take(200)
            block[:] = number
            assert block.nbytes > zmq.COPY_THRESHOLD
            engine.send_multipart(pack_event(step_done(block, list(range(200)))), copy=False)
            del block
        for number in range(100):
            assert server.poll(30_000)
            event = unpack_event(server.recv_multipart())
            assert isinstance(event, StepDone)
            assert (np.frombuffer(event.samples, np.int16) == number).all()
