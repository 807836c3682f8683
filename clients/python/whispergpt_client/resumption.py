"""Going on where a lost connection left off: when that may help, how long to try, and what was asked for meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from whispergpt_client.errors import WhisperGPTError

_MAY_PASS = {
    "closed",
    "unreachable",
    "timeout",
    "engine_lost",
    "cut_off",
    "draining",
    "starting",
    "no_capacity",
    "key_streams",
    "key_audio",
}
"""Errors that say nothing against another try, on this server or on the one that takes its place."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class Checkpoint:
    """What the server gave to go on from: any server with the same model and key takes it."""

    frame: int
    token: str


@dataclass
class Steering:
    """What was asked of a response while it played, which a connection made anew has to be told again.

    All of it may be told twice: a seed draws the same in each frame, whenever it was chosen.
    """

    cancelled: bool = False
    paused: bool = False
    sampling: dict[str, float | int] = field(default_factory=dict)
    forked: bool = False
    seed: int | None = None


class Resumption:
    """The tries after a loss, and after those that follow it before anything more was heard.

    Args:
        lost: what ended the connection; raised again where no try helped.
        seconds: for how long to try.
        frames: that had been received.
    """

    def __init__(self, lost: WhisperGPTError, seconds: float, frames: int) -> None:
        self._lost, self._seconds, self.frames = lost, seconds, frames
        self._until = time.monotonic() + seconds
        self._pause = _FIRST_PAUSE

    def check(self, checkpoint: Checkpoint | None) -> Checkpoint:
        """What to go on from.

        Raises:
            WhisperGPTError: the loss itself: there is nothing to go on from, or another try would end as this one did.
        """
        if checkpoint is None or self._seconds <= 0 or self._lost.code not in _MAY_PASS:
            raise self._lost
        return checkpoint

    def wait_after(self, failed: WhisperGPTError) -> float:
        """Seconds until the next try, after this one failed.

        Raises:
            WhisperGPTError: the time is up, or this error will not pass.
        """
        if failed.code not in _MAY_PASS:
            raise failed
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        if time.monotonic() + pause > self._until:
            raise self._lost from failed
        return pause
