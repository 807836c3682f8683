"""The front ends together: as many as the settings say, told of the engines, replaced when they end, cleared away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from whispergpt.engine.messages.commands import CloseLink, OpenLink
from whispergpt.server.access.caller import name_of
from whispergpt.server.access.guard import Guard
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.supervisor import pause_after
from whispergpt.server.listener import FLUSH_SECONDS
from whispergpt.server.observe import logs
from whispergpt.server.settings import Settings
from whispergpt.server.workers import messages as m
from whispergpt.server.workers.addresses import AddressKeeper
from whispergpt.server.workers.board import Board
from whispergpt.server.workers.counts import CountsReader
from whispergpt.server.workers.front_end_process import FrontEndProcess

log = logs.get("server.front_ends")
_LOOK_SECONDS = 1.0
_MOST_FAILED_STARTS = 5
"""Starts in a row that may fail before a server that never served gives up."""


class FrontEnds:
    """Keeps as many front ends running as the settings say.

    Args:
        port: that they listen at.
        metrics: folder of the metrics' files.
        fail: called with a reason if the server must end.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        guard: Guard,
        keeper: AddressKeeper,
        port: int,
        metrics: Path,
        fail: Callable[[str], None],
    ) -> None:
        self._settings, self._board, self._guard, self._keeper = settings, board, guard, keeper
        self._port, self._metrics, self._fail = port, metrics, fail
        self._counts = CountsReader(metrics)
        self._running: dict[int, FrontEndProcess] = {}
        """Front ends by the number of their link."""
        self._engines: dict[int, tuple[int, EngineLink]] = {}
        """Ready engines by number, each with the number of its run."""
        self._links = self._runs = self._failed_starts = 0
        self._begun = False
        self._last_told: m.Drain | m.End | None = None
        """The message by which all of them are to end; None while the server goes on."""
        self._past_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._rolling, self._filling = asyncio.Lock(), asyncio.Lock()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Start them all, and watch them.

        Raises:
            OSError: there are no processes to be had.
        """
        await self._fill()
        self._go(self._watch())

    async def all_serve(self) -> None:
        """Wait until every front end takes connections."""
        while sum(one.serving.is_set() for one in self._staying()) < self._settings.front_ends:
            await self._change()

    def _staying(self) -> list[FrontEndProcess]:
        return [one for one in self._running.values() if not one.leaving]

    async def _change(self) -> None:
        """Wait until a front end serves or has ended."""
        self._changed.clear()
        await self._changed.wait()

    async def all_ended(self) -> None:
        """Wait until none is left."""
        while self._running:
            await self._change()

    def drain(self) -> None:
        """Have all of them take no new work, and end with their last streams."""
        self._end_all_by(m.Drain())

    def end(self) -> None:
        """Have all of them cut their streams off, and end once the clients were told why; called again, kill them."""
        if isinstance(self._last_told, m.End):
            for one in self._running.values():
                one.kill()
        else:
            self._end_all_by(m.End())

    def _end_all_by(self, told: m.Drain | m.End) -> None:
        """Tell all, and those that are just being started later."""
        self._last_told = told
        for one in self._running.values():
            one.channel.post(told)

    @property
    def _draining(self) -> bool:
        return self._last_told is not None

    async def close(self) -> None:
        """End all of them at once."""
        self._last_told = m.End()
        for one in self._running.values():
            one.kill()
        await self.all_ended()
        for task in self._tasks:
            task.cancel()

    async def replace_all(self) -> None:
        """Replace one after the other; a new one serves before the old one leaves."""
        async with self._rolling:
            log.info("replacing the front ends", front_ends=len(self._running))
            for old in list(self._running.values()):
                await self._replace(old)
            log.info("front ends replaced")

    async def _replace(self, old: FrontEndProcess) -> None:
        """Have another front end take over from one."""
        if self._draining or old.leaving or old.ended.is_set():
            return
        old.leaving = True
        try:
            await self._fill()
        except OSError as error:
            log.error("no front end can be started in its place", worker=old.worker, error=str(error))
            old.leaving = False
            if old.ended.is_set():  # meanwhile, and nobody took its place
                await self._refill()
            return
        await self.all_serve()
        if self._last_told is not None:  # meanwhile, so that there is none to go on at
            return
        old.channel.post(m.Leave())
        longest = self._settings.drain_seconds + 3 * FLUSH_SECONDS
        asyncio.get_running_loop().call_later(longest, old.kill)

    # --- engines

    def engine_ready(self, link: EngineLink) -> None:
        """Have all front ends connect to a new run of an engine."""
        self._runs += 1
        self._engines[link.device.number] = self._runs, link
        link.link_lost = self._link_lost
        self._begun |= len(self._engines) == link.device.engines
        for one in self._running.values():
            self._tell_of(one, link.device.number)
        self._go(self._tell_end(link, self._runs))

    async def _tell_end(self, link: EngineLink, run: int) -> None:
        await link.ended.wait()
        number = link.device.number
        if self._engines.get(number, (0, link))[0] == run:
            del self._engines[number]
        for one in self._running.values():
            one.channel.post(m.EngineDown(number, run, "the hub lost the engine"))

    def _tell_of(self, one: FrontEndProcess, number: int) -> None:
        run, link = self._engines[number]
        device = link.device
        one.channel.post(m.EngineUp(device.name, number, device.engines, device.sharing, run, link.pid))

    def _link_lost(self, link: int) -> None:
        if one := self._running.get(link):
            log.error("a front end reads nothing from an engine", worker=one.worker)
            one.kill()

    # --- processes

    async def _fill(self) -> None:
        """Start front ends until there are enough that stay."""
        async with self._filling:
            while not self._draining and len(self._staying()) < self._settings.front_ends:
                await self._spawn(await self._free_lane())

    async def _free_lane(self) -> int:
        """Return a lane that no process has; wait for the end of one that leaves if there is none."""
        lanes = set(range(1, self._board.lanes))
        while not (free := lanes - {one.lane for one in self._running.values()}):
            await self._change()
        return min(free)

    async def _spawn(self, lane: int) -> None:
        self._links += 1
        one = await FrontEndProcess.start(lane, self._links, self._board.descriptor)
        self._running[one.link] = one
        one.channel.post(
            m.Part(
                one.worker,
                one.link,
                lane,
                self._board.lanes,
                self._board.descriptor,
                self._port,
                plain(self._settings),
                self._guard.made_key,
                str(self._metrics),
                self._begun,
            )
        )
        for number in self._engines:
            self._tell_of(one, number)
        if self._last_told is not None:  # since the process began to start
            one.channel.post(self._last_told)
        self._go(self._attend(one))

    async def _attend(self, one: FrontEndProcess) -> None:
        """Answer a front end until it ends, free what it had, and replace it."""
        try:
            while (message := await one.channel.receive()) is not None:
                self._hear(one, message)
        except msgspec.ValidationError as error:
            log.error("a front end broke the protocol", worker=one.worker, error=str(error))
        status = await one.end()
        self._free(one)
        say = log.info if self._draining or one.leaving or status == 0 else log.error
        say("front end ended", worker=one.worker, status=status)
        if self._draining or one.leaving:
            return
        self._failed_starts = 0 if one.serving.is_set() else self._failed_starts + 1
        if self._failed_starts >= _MOST_FAILED_STARTS and not self._begun:
            self._fail(f"a front end ended {self._failed_starts} times before it served; the log says why")
            return
        if not one.serving.is_set():
            await self._pause(self._failed_starts)
        await self._refill()

    async def _refill(self) -> None:
        """Start front ends until there are enough that stay, also where the system has no processes for a while."""
        failures = 0
        while not self._draining:
            try:
                await self._fill()
                return
            except OSError as error:
                log.error("no front end can be started", error=str(error))
                failures += 1
                await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        settings = self._settings
        await asyncio.sleep(pause_after(failures, settings.restart_min_seconds, settings.restart_max_seconds))

    def _hear(self, one: FrontEndProcess, message: Any) -> None:
        match message:
            case m.Beat():
                one.last_beat = time.monotonic()
            case m.Serving():
                log.info("front end serves", worker=one.worker, seconds=round(time.monotonic() - one.began, 2))
                one.serving.set()
                self._changed.set()
            case m.LinkBound():
                run, link = self._engines.get(message.number, (0, None))
                if link is not None and run == message.run:
                    link.post(OpenLink(one.link, message.endpoint))
            case m.Leaving():
                self._go(self._replace(one))
            case m.Asked():
                self._go(self._answer(one, message))

    async def _answer(self, one: FrontEndProcess, asked: m.Asked) -> None:
        if isinstance(asked.what, m.ShowCounts):
            answer: m.Answer = await self._counts.answer(asked.what)
        else:
            answer = await self._keeper.answer(asked.what)
        one.channel.post(m.Answered(asked.question, answer))

    def _free(self, one: FrontEndProcess) -> None:
        """Give back everything that a front end had which has ended."""
        del self._running[one.link]
        one.channel.close()
        for _, link in self._engines.values():
            link.post(CloseLink(one.link))
        self._past_seconds += self._board.number("processor seconds").of(one.lane)
        free_lane(self._board, self._guard, one.lane)
        one.ended.set()
        self._changed.set()

    async def _watch(self) -> None:
        """End front ends that hang, and note the processor time of the hub."""
        seconds = self._board.number("processor seconds")
        while True:
            seconds.common = self._past_seconds + time.process_time()
            await asyncio.sleep(_LOOK_SECONDS)
            for one in list(self._running.values()):
                if one.hangs(self._settings):
                    log.error("a front end hangs", worker=one.worker)
                    one.kill()

    def _go(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def free_lane(board: Board, guard: Guard, lane: int) -> None:
    """Give back what a front end that has ended had counted, and pay back what its streams had not used."""
    with board.turn:
        for identity in guard.keys:
            if unused := board.part_of(lane, *name_of("unused", identity)):
                guard.caller_with(identity).pay_back(unused)
        board.clear(lane)


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as they are given, secrets included, for a process of the same server."""
    values = settings.model_dump(mode="json")
    secret = settings.resume_key
    own = {"resume_key": secret.get_secret_value() if isinstance(secret, SecretStr) else None}
    return values | own | {"limits_store": None}  # the hub alone asks the store
