"""Requests begin one in a turn of the event loop, in their order, and at once where there is one alone."""

from __future__ import annotations

import asyncio
from functools import partial

from whispergpt.server.edge.connection.request_turns import AT_ONCE, PAUSE_SECONDS, RequestTurns


async def test_a_request_that_comes_alone_begins_at_once() -> None:
    turns, begun = RequestTurns(), list[int]()
    for number in range(3):
        turns.begin(partial(begun.append, number))
        assert begun[-1] == number
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_those_that_come_together_begin_one_in_a_turn() -> None:
    turns, begun = RequestTurns(), list[int]()
    for number in range(4):
        turns.begin(partial(begun.append, number))
    counts = []
    for _ in range(4):
        counts.append(len(begun))
        await asyncio.sleep(0)
    assert counts == [1, 2, 3, 4] and begun == [0, 1, 2, 3]


async def test_one_connection_does_not_hold_up_another() -> None:
    """A connection that sends its next request whenever one has begun takes every second turn, not all."""
    turns, begun = RequestTurns(), list[str]()

    def again() -> None:
        begun.append("endless")
        if len(begun) < 50:
            asyncio.get_running_loop().call_soon(turns.begin, again)

    turns.begin(again)
    turns.begin(partial(begun.append, "other"))
    for _ in range(8):
        await asyncio.sleep(0)
    assert begun[:3] == ["endless", "other", "endless"]


async def test_a_flood_leaves_the_loop_most_of_its_time() -> None:
    """As many as a page asks for begin without a pause; further ones begin after a pause each."""
    turns, begun, all_begun = RequestTurns(), list[float](), asyncio.Event()
    loop = asyncio.get_running_loop()

    def start() -> None:
        begun.append(loop.time())
        if len(begun) == AT_ONCE + 20:
            all_begun.set()

    for _ in range(AT_ONCE + 20):
        turns.begin(start)
    await all_begun.wait()
    for count, at in enumerate(begun, 1):
        assert count <= AT_ONCE + 2 + (at - begun[0]) / PAUSE_SECONDS
    assert begun[-1] - begun[0] >= 17 * PAUSE_SECONDS
