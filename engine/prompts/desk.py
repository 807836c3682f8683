"""The prompts' desk: two threads encode prompts beside the frame steps, each taking any stage that is due.

Both have a lower priority than the steps, so that streams go first where processors are scarce. But while a committed
prompt waits, streams that are well ahead of their listeners are not stepped (`Scheduler.prompts_wait`). After each
chunk a thread passes to the prompt nearest to its end, so that a long one does not hold a short one up. Prompts of an
owner for whom more was done than for others, by a head start, go behind those of others. On a GPU, chunks of several
prompts go through a stage together, in the same order.
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
from whispergpt.engine.messages import Snapshot
from whispergpt.engine.prompts.cache import PromptCache, PromptKey
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder, Stage, work_together

CHUNK_FRAMES = 16
"""Frames of one prompt before the next has its turn."""
THREADS = 2
UNUSABLE = "The engine could not take this prompt in; try again."
WAITING_FRAMES = 10 * FRAME_RATE
"""Frames that a second of waiting counts as, so that no prompt waits for ever."""
LOWER_PRIORITY = 4
"""Steps of ``nice`` of the prompts' threads: with nothing to spare they still get three tenths of a processor."""
_LOWEST_PRIORITY = 19
HEAD_START_FRAMES = len(Stage) * 4 * FRAME_RATE
"""Frames, each counted once a stage, that one owner may be ahead of another: beside endless prompts of one owner, a
usual prompt of another goes first."""
AWAY_SECONDS = 0.25
"""Seconds without a prompt after which what was done for an owner is forgotten. An owner that pauses this long after
each head start gets half of the time, and no more."""


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
        left = self.encoder.frames_left - waited * WAITING_FRAMES
        return self.committed_at is None, beyond, worked + len(Stage) * left


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
        self._worked: dict[str, int] = {}
        """Frames that were worked on for each owner since it last was away, each counted once a stage."""
        self._left_at: dict[str, float] = {}
        """Times at which owners that are away had their last prompt."""
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

    def open(self, prompt_id: int, engine: Engine, owner: str) -> None:
        """Expect a prompt for the model of ``engine``."""
        arriving = _Arriving(prompt_id, engine, owner, engine.open_prompt())
        with self._changed:
            self._add(arriving)

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

    def commit(self, prompt_id: int, decoded: bool = False) -> None:
        """Take a prompt for whole; ``decoded``: whether its samples are asked for too."""
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
                else:
                    self._finish_if_ready(arriving)  # a live one may be read to its end before it is committed
                self._changed.notify_all()

    def drop(self, prompt_id: int) -> None:
        """Forget a prompt that is on its way in, or was finished and not taken yet."""
        with self._changed:
            if arriving := self._arriving.pop(prompt_id, None):
                self._left_at[arriving.owner] = time.monotonic()
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
        failures = _work(due, stage)
        with self._changed:
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
        """Return the prompt whose turn it is, and its last stage that has a chunk; None once the desk is closed.

        Where the stage takes several prompts at once, the next ones in turn that have a chunk for it come with it. The
        stage is reserved until the chunks are done.
        """
        with self._changed:
            while not self._closed:
                in_turn = self._in_turn()
                for arriving in in_turn:
                    for stage in reversed(Stage):
                        if (arriving.engine, stage) not in self._busy and arriving.encoder.can(stage):
                            due = [o for o in in_turn if o.engine is arriving.engine and o.encoder.can(stage)]
                            due = due[: arriving.encoder.lanes]
                            self._busy.add((arriving.engine, stage))
                            for one in due:
                                self._worked[one.owner] += CHUNK_FRAMES
                            return due, stage
                self._changed.wait()
        return None

    def _in_turn(self) -> list[_Arriving]:
        """Return the prompts that may be worked on, the one whose turn it is first.

        While a committed prompt waits, prompts of owners further beyond the head start are left out: a chunk of them
        that begins now would hold a stage when the first prompt needs it.
        """
        now, arriving = time.monotonic(), self._arriving.values()
        committed = [one for one in arriving if one.committed_at is not None]
        most = min((self._worked[one.owner] for one in committed or arriving), default=0) + HEAD_START_FRAMES
        beyond = {one.owner: max(0, self._worked[one.owner] - most) for one in arriving}
        in_turn = sorted(arriving, key=lambda one: one.priority(now, self._worked[one.owner], beyond[one.owner]))
        if not in_turn or in_turn[0].committed_at is None:
            return in_turn
        least = beyond[in_turn[0].owner]
        return list(takewhile(lambda one: beyond[one.owner] <= least, in_turn))

    def _finish_if_ready(self, arriving: _Arriving) -> None:
        if arriving.encoder.is_ready and arriving.prompt_id in self._arriving:
            prompt = arriving.encoder.result()
            if arriving.remembered:
                self._cache.add(_key(arriving), prompt)
            self._end(arriving, prompt)

    def _add(self, arriving: _Arriving) -> None:
        """Expect a prompt. What was done for owners that are away is forgotten, and one that was away begins a head
        start before the others, at most."""
        now, here = time.monotonic(), {other.owner for other in self._arriving.values()}
        self._left_at = {
            owner: left for owner, left in self._left_at.items() if owner not in here and now - left < AWAY_SECONDS
        }
        known = here | self._left_at.keys()
        self._worked = {owner: done for owner, done in self._worked.items() if owner in known}
        if arriving.owner not in known:
            self._worked = {owner: min(done, HEAD_START_FRAMES) for owner, done in self._worked.items()}
            self._worked[arriving.owner] = 0
        self._arriving[arriving.prompt_id] = arriving

    def _end(self, arriving: _Arriving, outcome: Prompt | AudioError, known: bool = False) -> None:
        del self._arriving[arriving.prompt_id]
        self._left_at[arriving.owner] = time.monotonic()
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
