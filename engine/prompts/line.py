"""Prompts on their way in: the order of their turns, the size of their chunks, and how long their clients wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from math import inf

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.prompt import PromptEncoder, Stage
from whispergpt.engine.prompts.shares import Shares
from whispergpt.engine.prompts.speed import Speed

THREADS = 2
"""Threads that work on prompts."""
CHUNK_FRAMES = 32
"""Most frames of one prompt before the next has its turn; each chunk has a fixed cost."""
LAST_FRAMES = 8
"""Fewest frames of a prompt's last chunks: the stages of the last one are done one after the other."""
WAITING_FRAMES = 10 * FRAME_RATE
"""Frames that a second of waiting counts as, so that no prompt waits for ever."""

BUSY = "The prompts of others take {wait:.1f} s before this one has its turn; try again in a moment."
CROWDED = "With this prompt one that came before would wait {wait:.1f} s for its turn; try again in a moment."
LATE_SECONDS = 0.5
"""Seconds beyond its patience that a prompt which was taken may wait; the estimate of its wait is not exact."""


@dataclass
class Arriving:
    """A prompt on its way in, and what its client waits for."""

    prompt_id: int
    engine: Engine
    owner: str
    encoder: PromptEncoder
    remembered: bool = True
    committed_at: float | None = None
    decoded: bool = False
    patience: float | None = None

    @property
    def most_frames(self) -> int:
        """Return the most frames of the next chunk: half of what is to be encoded, within bounds."""
        left = self.encoder.left(Stage.ENCODE)
        return left if left < 2 * LAST_FRAMES else min(CHUNK_FRAMES, -(-left // 2))

    def late_by(self, now: float, wait: float) -> float:
        """Return the seconds by which a prompt that waits ``wait`` from now on would exceed its patience."""
        if self.patience is None or self.committed_at is None:
            return -inf
        return now - self.committed_at + wait - self.patience

    def priority(self, now: float, worked: int, beyond: int) -> tuple[bool, int, float]:
        """Return the sort key of the next turn: committed prompts first, then the owner for whom fewest frames were
        done ``beyond`` the head start, then the fewest frames ``worked`` on for the owner once this prompt is ready,
        less a credit for waiting."""
        waited = 0.0 if self.committed_at is None else now - self.committed_at
        ready = worked + self.encoder.work_left
        return self.committed_at is None, beyond, ready - len(Stage) * WAITING_FRAMES * waited


class Line:
    """Prompts on their way in, in the order of their turns.

    Args:
        clock: seconds, monotonic.

    Attributes:
        arriving: prompts by their numbers.
        shares: work that was done for each owner.
        speed: time that work takes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.arriving: dict[int, Arriving] = {}
        self.shares, self.speed, self._clock = Shares(clock), Speed(), clock

    def in_turn(self) -> list[Arriving]:
        """Return the prompts that may be worked on, the one whose turn it is first.

        While a committed prompt waits, prompts of owners further beyond the head start are left out: a chunk of them
        that begins now would hold a stage when the first prompt needs it.
        """
        in_turn, beyond = self._ordered()
        if not in_turn or in_turn[0].committed_at is None:
            return in_turn
        least = beyond[in_turn[0].owner]
        return list(takewhile(lambda one: beyond[one.owner] <= least, in_turn))

    def _ordered(self) -> tuple[list[Arriving], dict[str, int]]:
        """Return all prompts in the order of their turns, and how far each owner is beyond the head start."""
        now, arriving = self._clock(), self.arriving.values()
        committed = [one for one in arriving if one.committed_at is not None]
        beyond = self.shares.beyond({one.owner for one in arriving}, {one.owner for one in committed or arriving})
        worked = self.shares.worked
        return sorted(arriving, key=lambda one: one.priority(now, worked[one.owner], beyond[one.owner])), beyond

    def _waits(self) -> list[tuple[Arriving, float]]:
        """Return all prompts in their order, each with the seconds that those before it will take, if known."""
        waits, before = [], 0
        for one in self._ordered()[0]:
            waits.append((one, self._seconds(before)))
            before += one.encoder.work_left
        return waits

    def too_long(self, arriving: Arriving) -> str | None:
        """Return why a prompt cannot be taken: it would have to wait too long, or have another of its owner do so; None
        if it can."""
        now = arriving.committed_at
        if arriving.patience is None or now is None:
            return None
        own, waits = self._seconds(arriving.encoder.work_left), self._waits()
        place = next(place for place, (one, _) in enumerate(waits) if one is arriving)
        if arriving.late_by(now, waits[place][1]) > 0:
            return BUSY.format(wait=waits[place][1])
        for one, wait in waits[place + 1 :]:
            if one.owner == arriving.owner and one.late_by(now, wait - own) <= 0 < one.late_by(now, wait):
                return CROWDED.format(wait=now - (one.committed_at or now) + wait)
        return None

    def late(self) -> list[tuple[Arriving, str]]:
        """Return prompts that nothing was done for yet and that will wait for much longer than their patience, each
        with the reason for its refusal."""
        found: list[tuple[Arriving, str]] = []
        if all(one.patience is None for one in self.arriving.values()):
            return found
        now, freed = self._clock(), 0.0
        for one, wait in self._waits():
            if not one.encoder.passed(Stage.ENCODE) and one.late_by(now, wait - freed) > LATE_SECONDS:
                freed += self._seconds(one.encoder.work_left)
                found.append((one, BUSY.format(wait=wait)))
        return found

    def _seconds(self, work: int) -> float:
        """Return the seconds that the desk's threads need for frames, each counted once a stage."""
        return self.speed.seconds(work) / THREADS
