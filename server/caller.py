"""Who asks, and how much they may have: streams at once, and seconds of audio a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine.config import FRAME_RATE
from server.errors import ApiError

_PAID_AHEAD_SECONDS = 10.0
"""Of a stream without an end, so much is counted at a time."""
_CONNECTIONS_A_STREAM = 4
"""Sessions, requests and addresses that a key may have open for each stream it may have: some wait, some prepare."""


class Caller:
    """The holder of a key, or anybody where no key is asked for (``name`` is empty then).

    Audio is counted when it is asked for, and what was not made is given back. The allowance fills up steadily, to a
    minute's worth at most; who has any left may ask for more than that, and waits the longer after it.

    Args:
        streams: at once; None for no bound.
        audio_seconds_a_minute: None for no bound.
    """

    def __init__(self, name: str = "", streams: int | None = None, audio_seconds_a_minute: float | None = None) -> None:
        self.name = name
        self._streams, self._a_minute = streams, audio_seconds_a_minute
        self._playing = self._connected = 0
        self._left, self._at = audio_seconds_a_minute or 0.0, time.monotonic()

    def bound(self, streams: int | None, audio_seconds_a_minute: float | None) -> None:
        """Other bounds from now on; what was used stays used."""
        if audio_seconds_a_minute != self._a_minute:
            used = 0.0 if self._a_minute is None else self._a_minute - self._now_left()
            self._left = (audio_seconds_a_minute or 0.0) - used
        self._streams, self._a_minute = streams, audio_seconds_a_minute

    @property
    def has_room(self) -> bool:
        """Whether it may have another stream now."""
        return self._streams is None or self._playing < self._streams

    def require_room(self) -> None:
        """Refuse early, before any work is done.

        Raises:
            ApiError: 429, a stream would be one too many, or the allowance is used up.
        """
        if self._streams is not None and not self.has_room:
            raise ApiError(
                429,
                "key_streams",
                f"The key '{self.name}' may have {_counted(self._streams, 'stream')} at once, and has; "
                "end one, or try again once it has ended.",
                retry_after=1,
            )
        self.pay(0.0)

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Count one more session, request or address, which take room that all callers share, until it is over.

        Raises:
            ApiError: 429, the caller's streams do not need so many.
        """
        if self._streams is not None and self._connected >= _CONNECTIONS_A_STREAM * self._streams:
            raise ApiError(
                429,
                "key_connections",
                f"The key '{self.name}' has {self._connected} sessions, requests and addresses open, "
                f"the most for {_counted(self._streams, 'stream')} at once; close one.",
                retry_after=1,
            )
        self._connected += 1
        try:
            yield
        finally:
            self._connected -= 1

    def enter(self, frames: int | None) -> Visit:
        """A stream of so many frames begins; None has no end yet.

        Raises:
            ApiError: 429, as ``require_room``.
        """
        self.require_room()
        seconds = _PAID_AHEAD_SECONDS if frames is None else frames / FRAME_RATE
        self.pay(seconds)
        self._playing += 1
        return Visit(self, seconds, endless=frames is None)

    def leave(self, unused_seconds: float) -> None:
        """One of its streams is over; called by the visit."""
        self._playing -= 1
        if self._a_minute is not None:
            self._left = min(self._a_minute, self._now_left() + max(0.0, unused_seconds))

    def pay(self, seconds: float) -> None:
        """Count seconds of audio.

        Raises:
            ApiError: 429, the allowance is used up.
        """
        if self._a_minute is None:
            return
        left = self._now_left()
        if left <= 0:
            wait = max(1, math.ceil(-left / self._a_minute * 60))
            raise ApiError(
                429,
                "key_audio",
                f"The key '{self.name}' has used up its {self._a_minute:g} seconds of audio a minute; "
                f"try again in {wait} s.",
                retry_after=wait,
            )
        self._left = left - seconds

    def _now_left(self) -> float:
        if self._a_minute is None:
            return 0.0
        now = time.monotonic()
        self._left = min(self._a_minute, self._left + (now - self._at) * self._a_minute / 60)
        self._at = now
        return self._left


class Visit:
    """One stream of a caller, from its start to its end."""

    def __init__(self, caller: Caller, seconds: float, endless: bool) -> None:
        self._caller, self._paid, self._endless = caller, seconds, endless
        self._over = False

    def go_on(self, frames: int) -> None:
        """So many frames were made; a stream without an end pays for the next ones.

        Raises:
            ApiError: 429, the allowance is used up.
        """
        if self._endless and frames / FRAME_RATE >= self._paid:
            self._caller.pay(_PAID_AHEAD_SECONDS)
            self._paid += _PAID_AHEAD_SECONDS

    def close(self, frames: int) -> None:
        """It is over after so many frames; only the first call counts."""
        if not self._over:
            self._over = True
            self._caller.leave(self._paid - frames / FRAME_RATE)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
