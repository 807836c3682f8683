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
    "key_connections",
    "too_many_connections",
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
        seconds: for how long to try.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lost: WhisperGPTError | None = None
        self._frames, self._until, self._pause = -1, 0.0, _FIRST_PAUSE

    def begin(self, lost: WhisperGPTError, checkpoint: Checkpoint | None, frames: int) -> float:
        """A connection was lost after so many frames of the response; returns the seconds until the next try.

        Raises:
            WhisperGPTError: the loss: there is nothing to go on from, another try would end as this one did, or the
                time since the first loss at this frame is up.
        """
        if checkpoint is None or self._seconds <= 0 or lost.code not in _MAY_PASS:
            raise lost
        if self._lost is not None and frames == self._frames:
            return self.wait_after(lost)
        self._lost, self._frames = lost, frames
        self._until, self._pause = time.monotonic() + self._seconds, _FIRST_PAUSE
        return 0.0

    def wait_after(self, failed: WhisperGPTError) -> float:
        """Seconds until the next try, after this one failed.

        Raises:
            WhisperGPTError: the first loss, since the time is up; or this error, which will not pass.
        """
        if failed.code not in _MAY_PASS:
            raise failed
        assert self._lost is not None, "begin comes first"
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        if time.monotonic() + pause > self._until:
            raise self._lost from failed
        return pause
