"""How much was worked on for each owner of prompts, by which their turns are ordered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.prompts.prompt import Stage

HEAD_START_FRAMES = len(Stage) * 4 * FRAME_RATE
"""Frames, each counted once a stage, that one owner may be ahead of another: beside endless prompts of one owner, a
usual prompt of another goes first."""
AWAY_SECONDS = 0.25
"""Seconds without a prompt after which what was done for an owner is forgotten. An owner that pauses this long after
each head start gets half of the time, and no more."""


class Shares:
    """Counts of work by owner, from the owner's first prompt until it has been away.

    Args:
        clock: seconds, monotonic.

    Attributes:
        worked: frames that were worked on for each owner, each counted once a stage.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.worked: dict[str, int] = {}
        self._left_at: dict[str, float] = {}

    def enter(self, owner: str, here: Collection[str], behind: bool = False) -> None:
        """Count an owner who sends a prompt. One that was away begins two head starts before the others, at most: one
        until they may be worked on, and one that they are ahead then.

        Args:
            here: owners of other prompts that are on their way in.
            behind: whether more is done for the owner than prompts, which counts as two head starts.
        """
        now = self._clock()
        self._left_at = {
            one: left for one, left in self._left_at.items() if one not in here and now - left < AWAY_SECONDS
        }
        known = {*here, *self._left_at}
        self.worked = {one: done for one, done in self.worked.items() if one in known}
        if owner not in known:
            self.worked = {one: min(done, 2 * HEAD_START_FRAMES) for one, done in self.worked.items()}
            self.worked[owner] = 0
        if behind:
            self.worked[owner] = max(self.worked[owner], 2 * HEAD_START_FRAMES)

    def count(self, owner: str, frames: int) -> None:
        """Count frames that have passed a stage; those of an owner who is away by now are not counted."""
        if owner in self.worked:
            self.worked[owner] += frames

    def leave(self, owner: str) -> None:
        """Note that a prompt of the owner has ended; it may have others."""
        self._left_at[owner] = self._clock()

    def beyond(self, owners: Collection[str], waiting: Collection[str]) -> dict[str, int]:
        """Return how far each owner is beyond the head start over the one of those ``waiting`` for whom least was
        done."""
        most = min((self.worked[owner] for owner in waiting), default=0) + HEAD_START_FRAMES
        return {owner: max(0, self.worked[owner] - most) for owner in owners}
