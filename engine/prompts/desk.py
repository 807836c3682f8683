"""The prompts' desk: two threads encode prompts beside the frame steps, each taking any stage that is due.

Both have a lower priority than the steps, so that streams go first where processors are scarce. But while a committed
prompt waits, streams that are well ahead of their listeners are not stepped (`Scheduler.prompts_wait`). After each
chunk a thread passes to the prompt nearest to its end, so that a long one does not hold a short one up, and a stage is
kept for it while it needs the stage. Prompts of an owner for whom more was done than for others, by a head start, go
behind those of others. On a GPU, chunks of several prompts go through a stage together, in the same order.

A prompt that would wait longer than its client's patience is refused when it is committed, or as soon as its wait turns
out to be longer. While a listener is short of audio no chunk is begun, so that prompts come in at the pace of what
listeners leave.
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
from typing import NamedTuple

from whispergpt.engine.audio.audio_file import AudioError, Samples
from whispergpt.engine.device import loss_of_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.cache import PromptCache, PromptKey
from whispergpt.engine.prompts.line import THREADS, Arriving, Line
from whispergpt.engine.prompts.prompt import Prompt, Stage, work_together
from whispergpt.engine.stream_plan import Snapshot

UNUSABLE = "The engine could not take this prompt in; try again."
LOOK_SECONDS = 0.1
"""Seconds from one look at the waits of all prompts to the next."""
LONGEST_PAUSE_SECONDS = 0.25
"""Longest time in seconds without a chunk while listeners are short of audio, so that prompts go on, if slowly."""
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


class Turn(NamedTuple):
    """A chunk of each of some prompts, at one stage, and when it was begun."""

    prompts: list[Arriving]
    stage: Stage
    began: float


class PromptDesk:
    """Takes prompts by number; ``finished`` gives them back.

    Args:
        cache_bytes: room for prompts that may be sent again.
        notify: called from another thread whenever ``finished`` has something new.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        cache_bytes: int,
        notify: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache, self._notify, self._clock = PromptCache(cache_bytes), notify, clock
        self._changed = threading.Condition()
        self._line = Line(clock)
        self._arriving, self._shares = self._line.arriving, self._line.shares
        self._finished: deque[Finished] = deque()
        self._failure: BaseException | None = None
        self._closed = False
        self._busy: set[tuple[Engine, Stage]] = set()
        self._gives_way, self._begun_at, self._looked_at = False, 0.0, 0.0
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

    def give_way(self, to_listeners: bool) -> None:
        """Begin no further chunk while listeners are short of audio, for ``LONGEST_PAUSE_SECONDS`` at most."""
        if to_listeners != self._gives_way:
            with self._changed:
                self._gives_way = to_listeners
                self._changed.notify_all()

    def open(self, prompt_id: int, engine: Engine, owner: str, behind: bool = False) -> None:
        """Expect a prompt for the model of ``engine``; ``behind``: whether prompts of other owners go first."""
        arriving = Arriving(prompt_id, engine, owner, engine.open_prompt())
        with self._changed:
            self._add(arriving, behind)

    def resume(self, prompt_id: int, engine: Engine, snapshot: Snapshot, owner: str = "") -> None:
        """Make a prompt of what a stream had behind it.

        Raises:
            ResumeError: that is not of this model.
        """
        arriving = Arriving(prompt_id, engine, owner, engine.resume(snapshot), False, self._clock())
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
        """Take a prompt for whole, or refuse it.

        Args:
            decoded: whether its samples are asked for too.
            patience: seconds that it may wait for prompts which go before it; None where it waits for ever.
        """
        with self._changed:
            if arriving := self._arriving.get(prompt_id):
                try:
                    arriving.encoder.commit()
                except AudioError as error:
                    self._end(arriving, error)
                    return
                arriving.committed_at, arriving.decoded, arriving.patience = self._clock(), decoded, patience
                if known := self._cache.find(_key(arriving)):
                    self._end(arriving, known, known=True)
                elif (too_long := self._line.too_long(arriving)) is not None:
                    self._end(arriving, AudioError("no_capacity", too_long))
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

    def _advance(self, due: list[Arriving], stage: Stage, began: float) -> None:
        """Work on one chunk of each prompt of a turn that ``began`` then; an error ends its prompt alone.

        Raises:
            RuntimeError: the device is lost.
        """
        before = [one.encoder.passed(stage) for one in due]
        failures = _work(due, stage)
        with self._changed:
            passed = sum(one.encoder.passed(stage) for one in due) - sum(before)
            self._line.speed.observe(passed, self._clock() - began)
            self._busy.remove((due[0].engine, stage))
            for arriving, done_before in zip(due, before, strict=True):
                self._shares.count(arriving.owner, arriving.encoder.passed(stage) - done_before)
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
            self._refuse_late()
            self._changed.notify_all()

    def _next(self) -> Turn | None:
        """Wait for the next turn and return it; None once the desk is closed."""
        with self._changed:
            while not self._closed:
                if (due := self._due()) is not None:
                    return due
                self._changed.wait(self._pause() or None)
        return None

    def _pause(self) -> float:
        """Return the seconds for which no chunk is begun, because listeners go first."""
        return max(0.0, self._begun_at + LONGEST_PAUSE_SECONDS - self._clock()) if self._gives_way else 0.0

    def _due(self) -> Turn | None:
        """Return the turn that begins now, of the prompt that is next and its last stage that has a chunk; None if
        nothing can be worked on.

        A stage that a committed prompt still needs is not given to a later prompt: a chunk of that one, begun shortly
        before the committed prompt's next chunk is there, would hold it up. Where the stage takes several prompts at
        once, the next ones in turn that have a chunk for it come with it. The stage is reserved until the chunks are
        done.
        """
        if self._pause() > 0:
            return None
        in_turn, taken = self._line.in_turn(), set(self._busy)
        for arriving in in_turn:
            for stage in reversed(Stage):
                if (arriving.engine, stage) in taken:
                    continue
                if arriving.encoder.can(stage):
                    due = [o for o in in_turn if o.engine is arriving.engine and o.encoder.can(stage)]
                    due = due[: arriving.encoder.lanes]
                    self._busy.add((arriving.engine, stage))
                    self._begun_at = self._clock()
                    return Turn(due, stage, self._begun_at)
                if arriving.encoder.will_need(stage):
                    taken.add((arriving.engine, stage))
        return None

    def _refuse_late(self) -> None:
        """Refuse prompts whose wait has turned out to be too long."""
        if self._clock() >= self._looked_at + LOOK_SECONDS:
            self._looked_at = self._clock()
            for one, reason in self._line.late():
                self._end(one, AudioError("no_capacity", reason))

    def _finish_if_ready(self, arriving: Arriving) -> None:
        if arriving.encoder.is_ready and arriving.prompt_id in self._arriving:
            prompt = arriving.encoder.result()
            if arriving.remembered:
                self._cache.add(_key(arriving), prompt)
            self._end(arriving, prompt)

    def _add(self, arriving: Arriving, behind: bool = False) -> None:
        """Expect a prompt."""
        self._shares.enter(arriving.owner, {other.owner for other in self._arriving.values()}, behind)
        self._arriving[arriving.prompt_id] = arriving

    def _end(self, arriving: Arriving, outcome: Prompt | AudioError, known: bool = False) -> None:
        del self._arriving[arriving.prompt_id]
        self._shares.leave(arriving.owner)
        self._finished.append(Finished(arriving.prompt_id, arriving.engine, outcome, known, arriving.decoded))
        self._notify()


def _work(due: list[Arriving], stage: Stage) -> dict[int, Exception]:
    """Work on one chunk of each prompt, and return errors by prompt; after a common error each is tried alone."""
    try:
        if len(due) == 1:
            due[0].encoder.work(stage, due[0].most_frames)
        else:
            work_together([one.encoder for one in due], stage, max(one.most_frames for one in due))
    except Exception as error:
        if loss_of_device(error):
            raise
        if len(due) == 1:
            return {due[0].prompt_id: error}
        return {number: failure for one in due for number, failure in _work([one], stage).items()}
    return {}


def _key(arriving: Arriving) -> PromptKey:
    return PromptKey(arriving.engine.model.id, arriving.owner, arriving.encoder.digest)


def _lower_priority() -> None:
    """Lower this thread's priority, where threads have one of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # From where it is: a process that is nice itself, as Ray's are, may not raise it.
        lower = min(_LOWEST_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread) + LOWER_PRIORITY)
        os.setpriority(os.PRIO_PROCESS, thread, lower)
