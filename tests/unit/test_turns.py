"""Turns between callers who want the same few places."""

from __future__ import annotations

import asyncio
import os

import pytest

from whispergpt.server.decoding.turns import TooManyWait, Turns
from whispergpt.server.workers.board import Board


class Visitors:
    """Tasks that take a place and keep it until they are told to leave; ``came`` has their names in order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.came: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, caller: str, name: str, most: int = 2) -> None:
        self._leave[name] = asyncio.Event()

        async def visit() -> None:
            await self.turns.take(caller, most)
            self.came.append(name)
            await self._leave[name].wait()
            self.turns.give_back(caller)

        self._tasks[name] = asyncio.create_task(visit())
        await settled()

    async def leave(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            await self._tasks[name]
            await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_take_turns_however_much_one_of_them_asks() -> None:
    visitors = Visitors(Turns(1, 100))
    for number in range(5):
        await visitors.send("a", f"a{number}")
    await visitors.send("b", "b0")
    await visitors.send("c", "c0")
    await visitors.send("b", "b1")
    for name in ("a0", "a1", "b0", "c0", "a2", "b1"):
        await visitors.leave(name)
    assert visitors.came == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_a_caller_leaves_a_place_to_others() -> None:
    visitors = Visitors(Turns(2, 100))
    for number in range(3):
        await visitors.send("a", f"a{number}", most=1)
    assert visitors.came == ["a0"]
    await visitors.send("b", "b0", most=1)
    assert visitors.came == ["a0", "b0"]
    await visitors.leave("b0")
    assert visitors.came == ["a0", "b0"]
    await visitors.leave("a0")
    assert visitors.came == ["a0", "b0", "a1"]


async def test_who_waits_too_often_is_refused() -> None:
    turns = Turns(1, 2)
    visitors = Visitors(turns)
    for number in range(3):
        await visitors.send("a", f"a{number}")
    with pytest.raises(TooManyWait):
        await turns.take("a", 2)
    await visitors.send("b", "b0")
    await visitors.leave("a0", "a1")
    assert visitors.came == ["a0", "a1", "b0"]


async def test_who_leaves_the_line_costs_nobody_a_place() -> None:
    turns = Turns(1, 100)
    visitors = Visitors(turns)
    for name in ("a0", "a1", "a2"):
        await visitors.send("a", name)
    await visitors.send("b", "b0")
    await visitors.cancel("a1")
    await visitors.cancel("b0")
    await visitors.leave("a0", "a2")
    assert visitors.came == ["a0", "a2"]
    async with asyncio.timeout(5):
        await turns.take("c", 2)


async def test_who_is_cancelled_in_its_turn_gives_it_back() -> None:
    turns = Turns(1, 100)
    await turns.take("a", 1)
    waiting = asyncio.create_task(turns.take("b", 1))
    await settled()
    turns.give_back("a")  # the turn is b's, which has not run since
    waiting.cancel()
    await settled()
    assert waiting.cancelled()
    async with asyncio.timeout(5):
        await turns.take("c", 1)


async def test_nothing_is_kept_of_callers_who_have_gone() -> None:
    turns = Turns(2, 100)
    for number in range(100):
        await turns.take(str(number), 1)
        turns.give_back(str(number))
    assert not turns._waiting and not turns._limits and not turns._taken.total


async def test_front_ends_share_the_places() -> None:
    board = Board.make(3)
    first, second = (Turns(2, 100, "places", Board(os.dup(board.descriptor), 3, lane)) for lane in (1, 2))
    await first.take("a", 1)
    assert not second.take_free("a", 1), "a caller's bound is one for all front ends"
    waiting = asyncio.create_task(second.take("a", 1))
    await second.take("b", 1)
    assert not first.take_free("c", 1), "two places in all"
    first.give_back("a")
    async with asyncio.timeout(5):
        await waiting
    assert not first.take_free("c", 1)
    lost = asyncio.create_task(first.take("c", 2))
    await settled()
    assert not lost.done()
    board.clear(2)  # the front end with both places has ended
    async with asyncio.timeout(5):
        await lost
