"""The prompts' desk: two threads encode prompts beside the frame steps, each taking any stage that is due.

Both have a lower priority than the steps, so that streams go first where processors are scarce. But while a committed
prompt waits, streams that are well ahead of their listeners are not stepped (`Scheduler.prompts_wait`). After each
chunk a thread passes to the prompt nearest to its end, so that a long one does not hold a short one up, and a stage is
kept for it while it needs the stage. Prompts of an owner for whom more was done than for others, by a head start, go
behind those of others. On a GPU, chunks of several prompts go through a stage together, in the same order.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from whispergpt.engine.audio.audio_file import AudioError, Samples
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.device import loss_of_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.cache import PromptCache, PromptKey
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder, Stage, work_together
from whispergpt.engine.prompts.shares import Shares
from whispergpt.engine.prompts.speed import Speed
from whispergpt.engine.stream_plan import Snapshot

CHUNK_FRAMES = 16
"""Frames of one prompt before the next has its turn."""
THREADS = 2
BUSY = "The prompts of others take {wait:.1f} s before this one has its turn; try again in a moment."
UNUSABLE = "The engine could not take this prompt in; try again."
WAITING_FRAMES = 10 * FRAME_RATE
"""Frames that a second of waiting counts as, so that no prompt waits for ever."""
LOWER_PRIORITY = 4
"""Steps of ``nice`` of the prompts' threads: with nothing to spare they still get three tenths of a processor."""
_LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class Finished:
    """A prompt that is ready, or the error of one that cannot be used. ``known``: it was in the cache; ``decoded``: its
    samples are asked for."""

    prompt_id: int
    engine: Engine
    outcome: Prompt | AudioError
    known: bool = False
    decoded: bool = False


@dataclass
class _Arriving:
    prompt_id: int
    engine: Engine
    owner: str
    encoder: PromptEncoder
    remembered: bool = True
    committed_at: float | None = None
    decoded: bool = False

    def priority(self, now: float, worked: int, beyond: int) -> tuple[bool, int, float]:
        """Return the sort key of the next turn: committed prompts first, then the owner for whom fewest frames were
        done ``beyond`` the head start, then the fewest frames ``worked`` on for the owner once this prompt is ready,
        less a credit for waiting."""
        waited = 0.0 if self.committed_at is None else now - self.committed_at
        ready = worked + self.encoder.work_left
        return self.committed_at is None, beyond, ready - len(Stage) * WAITING_FRAMES * waited


class PromptDesk:
    """Takes prompts by number; ``finished`` gives them back.

    Args:
        cache_bytes: room for prompts that may be sent again.
        notify: called from another thread whenever ``finished`` has something new.
    """

    def __init__(self, cache_bytes: int, notify: Callable[[], None] = lambda: None) -> None:
        self._cache, self._notify = PromptCache(cache_bytes), notify
        self._changed = threading.Condition()
        self._arriving: dict[int, _Arriving] = {}
        self._shares = Shares()
        self._speed = Speed()
        self._finished: deque[Finished] = deque()
        self._failure: BaseException | None = None
        self._closed = False
        self._busy: set[tuple[Engine, Stage]] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"prompts-{number}", daemon=True) for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Return the number of prompts on their way in."""
        return len(self._arriving)

    @property
    def prompt_ids(self) -> list[int]:
        """Return the numbers of prompts on their way in, or finished and not taken yet."""
        with self._changed:
            return [*self._arriving, *(done.prompt_id for done in self._finished)]

    @property
    def awaited(self) -> bool:
        """Return whether a committed prompt waits."""
        with self._changed:
            return any(arriving.committed_at is not None for arriving in self._arriving.values())

    def open(self, prompt_id: int, engine: Engine, owner: str, behind: bool = False) -> None:
        """Expect a prompt for the model of ``engine``; ``behind``: whether prompts of other owners go first."""
        arriving = _Arriving(prompt_id, engine, owner, engine.open_prompt())
        with self._changed:
            self._add(arriving, behind)

    def resume(self, prompt_id: int, engine: Engine, snapshot: Snapshot, owner: str = "") -> None:
        """Make a prompt of what a stream had behind it.

        Raises:
            ResumeError: that is not of this model.
        """
        arriving = _Arriving(prompt_id, engine, owner, engine.resume(snapshot), False, time.monotonic())
        with self._changed:
            self._add(arriving)
            self._changed.notify_all()

    def append(self, prompt_id: int, samples: Samples) -> None:
        """Add samples to a prompt, mono float32 ``[n]`` at 24 kHz; an unknown prompt is ignored."""
        with self._changed:
            if arriving := self._arriving.get(prompt_id):
                try:
                    arriving.encoder.push(samples)
                except AudioError as error:
                    self._end(arriving, error)
                self._changed.notify_all()

    def commit(self, prompt_id: int, decoded: bool = False, patience: float | None = None) -> None:
        """Take a prompt for whole, or refuse it where those that go before it take longer than ``patience`` seconds.

        Args:
            decoded: whether its samples are asked for too.
        """
        with self._changed:
            if arriving := self._arriving.get(prompt_id):
                try:
                    arriving.encoder.commit()
                except AudioError as error:
                    self._end(arriving, error)
                    return
                arriving.committed_at, arriving.decoded = time.monotonic(), decoded
                if known := self._cache.find(_key(arriving)):
                    self._end(arriving, known, known=True)
                elif patience is not None and (wait := self._wait(arriving)) > patience:
                    self._end(arriving, AudioError("no_capacity", BUSY.format(wait=wait)))
                else:
                    self._finish_if_ready(arriving)  # a live one may be read to its end before it is committed
                self._changed.notify_all()

    def drop(self, prompt_id: int) -> None:
        """Forget a prompt that is on its way in, or was finished and not taken yet."""
        with self._changed:
            if arriving := self._arriving.pop(prompt_id, None):
                self._shares.leave(arriving.owner)
            self._finished = deque(done for done in self._finished if done.prompt_id != prompt_id)

    def finished(self) -> list[Finished]:
        """Return every prompt that ended since the last call.

        Raises:
            RuntimeError: a thread failed; the desk works no more.
        """
        with self._changed:
            if self._failure is not None:
                raise RuntimeError("prompts cannot be encoded any more") from self._failure
            ended = list(self._finished)
            self._finished.clear()
        return ended

    def close(self) -> None:
        """End the threads, after the chunks they are at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            _lower_priority()
            while (due := self._next()) is not None:
                self._advance(*due)
        except BaseException as error:  # the process cannot go on, and ``finished`` says so
            self._failure = error
            self._notify()
            if not isinstance(error, Exception):
                raise

    def _advance(self, due: list[_Arriving], stage: Stage) -> None:
        """Work on one chunk of each prompt; an error ends its prompt alone.

        Raises:
            RuntimeError: the device is lost.
        """
        began, before = time.perf_counter(), sum(one.encoder.passed(stage) for one in due)
        failures = _work(due, stage)
        with self._changed:
            passed = sum(one.encoder.passed(stage) for one in due) - before
            self._speed.observe(passed, time.perf_counter() - began)
            self._busy.remove((due[0].engine, stage))
            for arriving in due:
                failure = failures.get(arriving.prompt_id)
                try:
                    if failure is None:
                        self._finish_if_ready(arriving)
                except Exception as error:
                    failure = error
                if failure is not None:
                    traceback.print_exception(failure)
                    if arriving.prompt_id in self._arriving:
                        self._end(arriving, AudioError("internal", UNUSABLE))
            self._changed.notify_all()

    def _next(self) -> tuple[list[_Arriving], Stage] | None:
        """Wait for the next turn, and return its prompts and their stage; None once the desk is closed."""
        with self._changed:
            while not self._closed:
                if (due := self._due()) is not None:
                    return due
                self._changed.wait()
        return None

    def _due(self) -> tuple[list[_Arriving], Stage] | None:
        """Return the prompt whose turn it is, and its last stage that has a chunk; None if nothing can be worked on.

        A stage that a committed prompt still needs is not given to a later prompt: a chunk of that one, begun shortly
        before the committed prompt's next chunk is there, would hold it up. Where the stage takes several prompts at
        once, the next ones in turn that have a chunk for it come with it. The stage is reserved until the chunks are
        done.
        """
        in_turn, taken = self._in_turn(), set(self._busy)
        for arriving in in_turn:
            for stage in reversed(Stage):
                if (arriving.engine, stage) in taken:
                    continue
                if arriving.encoder.can(stage):
                    due = [o for o in in_turn if o.engine is arriving.engine and o.encoder.can(stage)]
                    due = due[: arriving.encoder.lanes]
                    self._busy.add((arriving.engine, stage))
                    for one in due:
                        self._shares.worked[one.owner] += CHUNK_FRAMES
                    return due, stage
                if arriving.encoder.will_need(stage):
                    taken.add((arriving.engine, stage))
        return None

    def _in_turn(self) -> list[_Arriving]:
        """Return the prompts that may be worked on, the one whose turn it is first.

        While a committed prompt waits, prompts of owners further beyond the head start are left out: a chunk of them
        that begins now would hold a stage when the first prompt needs it.
        """
        in_turn, beyond = self._ordered()
        if not in_turn or in_turn[0].committed_at is None:
            return in_turn
        least = beyond[in_turn[0].owner]
        return list(takewhile(lambda one: beyond[one.owner] <= least, in_turn))

    def _ordered(self) -> tuple[list[_Arriving], dict[str, int]]:
        """Return all prompts in the order of their turns, and how far each owner is beyond the head start."""
        now, arriving = time.monotonic(), self._arriving.values()
        committed = [one for one in arriving if one.committed_at is not None]
        beyond = self._shares.beyond({one.owner for one in arriving}, {one.owner for one in committed or arriving})
        worked = self._shares.worked
        return sorted(arriving, key=lambda one: one.priority(now, worked[one.owner], beyond[one.owner])), beyond

    def _wait(self, arriving: _Arriving) -> float:
        """Return the seconds that a prompt will wait for the ones which go before it, as far as is known."""
        before = takewhile(lambda one: one is not arriving, self._ordered()[0])
        return self._speed.seconds(sum(one.encoder.work_left for one in before)) / THREADS

    def _finish_if_ready(self, arriving: _Arriving) -> None:
        if arriving.encoder.is_ready and arriving.prompt_id in self._arriving:
            prompt = arriving.encoder.result()
            if arriving.remembered:
                self._cache.add(_key(arriving), prompt)
            self._end(arriving, prompt)

    def _add(self, arriving: _Arriving, behind: bool = False) -> None:
        """Expect a prompt."""
        self._shares.enter(arriving.owner, {other.owner for other in self._arriving.values()}, behind)
        self._arriving[arriving.prompt_id] = arriving

    def _end(self, arriving: _Arriving, outcome: Prompt | AudioError, known: bool = False) -> None:
        del self._arriving[arriving.prompt_id]
        self._shares.leave(arriving.owner)
        self._finished.append(Finished(arriving.prompt_id, arriving.engine, outcome, known, arriving.decoded))
        self._notify()


def _work(due: list[_Arriving], stage: Stage) -> dict[int, Exception]:
    """Work on one chunk of each prompt, and return errors by prompt; after a common error each is tried alone."""
    try:
        if len(due) == 1:
            due[0].encoder.work(stage, CHUNK_FRAMES)
        else:
            work_together([arriving.encoder for arriving in due], stage, CHUNK_FRAMES)
    except Exception as error:
        if loss_of_device(error):
            raise
        if len(due) == 1:
            return {due[0].prompt_id: error}
        return {number: failure for one in due for number, failure in _work([one], stage).items()}
    return {}


def _key(arriving: _Arriving) -> PromptKey:
    return PromptKey(arriving.engine.model.id, arriving.owner, arriving.encoder.digest)


def _lower_priority() -> None:
    """Lower this thread's priority, where threads have one of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # From where it is: a process that is nice itself, as Ray's are, may not raise it.
        lower = min(_LOWEST_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread) + LOWER_PRIORITY)
        os.setpriority(os.PRIO_PROCESS, thread, lower)
