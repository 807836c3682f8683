"""Resuming a response after its connection is lost: after which errors, for how long, and with which changes."""

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
"""Codes of errors after which another try may succeed, on this server or on one that takes its place."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class Checkpoint:
    """Point of a response to resume from; any server with the same model and key accepts it."""

    frame: int
    token: str


@dataclass
class Steering:
    """Changes requested while a response plays, which are requested again on a new connection.

    Each may be requested twice: a seed draws the same numbers in a frame, whenever it was chosen.
    """

    cancelled: bool = False
    paused: bool = False
    sampling: dict[str, float | int] = field(default_factory=dict)
    forked: bool = False
    seed: int | None = None


class Resumption:
    """Tries to resume after a loss; a further loss before another frame has come belongs to the first.

    Args:
        seconds: how long to try.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lost: WhisperGPTError | None = None
        self._frames, self._until, self._pause = -1, 0.0, _FIRST_PAUSE

    def begin(self, lost: WhisperGPTError, checkpoint: Checkpoint | None, frames: int) -> float:
        """Begin to resume after a loss at ``frames`` frames of the response; returns the seconds until the next try.

        Raises:
            WhisperGPTError: the loss, if there is no checkpoint, another try cannot succeed, or the time since the
                first loss at this frame is over.
        """
        if checkpoint is None or self._seconds <= 0 or lost.code not in _MAY_PASS:
            raise lost
        if self._lost is not None and frames == self._frames:
            return self.wait_after(lost)
        self._lost, self._frames = lost, frames
        self._until, self._pause = time.monotonic() + self._seconds, _FIRST_PAUSE
        return 0.0

    def wait_after(self, failed: WhisperGPTError) -> float:
        """Return the seconds until the next try, after this one failed.

        Raises:
            WhisperGPTError: the first loss, if the time is over; or this error, if another try cannot succeed.
        """
        if failed.code not in _MAY_PASS:
            raise failed
        assert self._lost is not None, "begin comes first"
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        if time.monotonic() + pause > self._until:
            raise self._lost from failed
        return pause
