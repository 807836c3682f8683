"""Callers and their limits: streams at once, and seconds of audio a minute."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from whispergpt.engine.config import FRAME_RATE
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Ledger, Number, OwnLedger

_PAID_AHEAD_SECONDS = 10.0
"""Seconds that are counted at a time for a stream without an end."""
COUNTED = ("connected", "playing", "places", "prompts")
"""Numbers of a caller that a bound is checked against, by what they count."""
SPENT = "spent"
"""Number of seconds of audio that were counted for a caller since the start, less those given back."""
_LOOK_SECONDS = 0.01
"""Seconds after which a prompt whose turn other front ends have looks again."""
_CONNECTIONS_A_STREAM = 4
"""Sessions, requests and addresses that a key may have open for each stream it may have: some wait, some prepare."""


class Caller:
    """The holder of a key, or anybody where no key is asked for (``name`` and ``identity`` are empty then).

    Audio is counted when it is asked for, and what was not made is given back. The seconds of a prompt are counted too,
    unless it is remembered. The allowance fills up steadily, to a minute's worth at most. A caller with any of it left
    may ask for more than is left, and waits the longer after it.

    Args:
        name: the key's label, for people: a key that replaces another may have the same.
        identity: the key's digest, which decides whose sessions, prompts and addresses are whose.
        streams: at once; None for no bound.
        audio_seconds_a_minute: None for no bound.
        alone: whether there is no other caller, so that nothing has to be left for one.
        ledger: has what is counted of the caller.
    """

    def __init__(
        self,
        name: str = "",
        streams: int | None = None,
        audio_seconds_a_minute: float | None = None,
        identity: str = "",
        alone: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        ledger = ledger or OwnLedger()

        self.name, self.identity, self.alone = name, identity, alone

        def number(what: str) -> Number:
            return ledger.number(*name_of(what, identity))

        self._streams, self._a_minute = streams, audio_seconds_a_minute
        self._turn = ledger.turn
        self._connected, self._playing, self._places, self._prompts = map(number, COUNTED)
        self._prompt_turns, self._spent = _turns(streams), number(SPENT)
        self.long_work = number("long work")
        """Uploads that take long to decode, under way now or until as long ago as they took."""
        self.unused = number("unused")
        """Seconds of audio that streams have paid for and that were not made yet."""
        self._full_at, self._filling = number("full at"), number("filling")
        """Time at which the allowance is full again (``time.monotonic``), and seconds that come back in a second."""

    def bound(self, streams: int | None, audio_seconds_a_minute: float | None, name: str) -> None:
        """Set other bounds and another label from now on; what was used stays used."""
        if streams != self._streams:
            self._prompt_turns = _turns(streams)
        self.name, self._streams, self._a_minute = name, streams, audio_seconds_a_minute

    @property
    def has_room(self) -> bool:
        """Return whether another stream fits beside those that play and those that a place is kept for."""
        return self._streams is None or self._playing.total + self._places.total < self._streams

    def keep_place(self) -> None:
        """Count a place that is kept for one of the caller's streams."""
        self._places.part += 1

    def give_place_back(self) -> None:
        """Count one kept place less."""
        self._places.part -= 1

    @asynccontextmanager
    async def prompt_turn(self) -> AsyncIterator[None]:
        """Wait while as many prompts are encoded as streams allowed, and count one until the context ends."""
        if self._prompt_turns is None:
            yield
            return
        async with self._prompt_turns:
            while not self._begin_prompt():  # noqa: ASYNC110  # other processes set no event
                await asyncio.sleep(_LOOK_SECONDS)
            try:
                yield
            finally:
                self._prompts.part -= 1

    def _begin_prompt(self) -> bool:
        with self._turn:
            begins = self._streams is None or self._prompts.total < self._streams
            self._prompts.part += begins
        return begins

    def require_room(self) -> None:
        """Refuse early, before any work is done.

        Raises:
            ApiError: 429, a stream would be one too many, or the allowance is used up.
        """
        self._require_stream()
        self.pay(0.0)

    def _require_stream(self) -> None:
        if self._streams is not None and not self.has_room:
            raise ApiError(
                429,
                "key_streams",
                f"The key '{self.name}' may have {_counted(self._streams, 'stream')} at once, and has; "
                "end one, or try again once it has ended.",
                retry_after=1,
            )

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Count one more session, request or address until the context ends.

        Raises:
            ApiError: 429, the caller's streams do not need so many.
        """
        self.connect()
        try:
            yield
        finally:
            self.disconnect()

    def connect(self) -> None:
        """Count one more connection, until ``disconnect``.

        Raises:
            ApiError: as ``connection``.
        """
        with self._turn:
            self._require_connection()
            self.reconnect()

    def reconnect(self) -> None:
        """Count a connection again that was counted before; this is never refused."""
        self._connected.part += 1

    def disconnect(self) -> None:
        """Count one connection less."""
        self._connected.part -= 1

    def _require_connection(self) -> None:
        connected = int(self._connected.total)
        if self._streams is not None and connected >= _CONNECTIONS_A_STREAM * self._streams:
            raise ApiError(
                429,
                "key_connections",
                f"The key '{self.name}' has {connected} sessions, requests and addresses open, "
                f"the most for {_counted(self._streams, 'stream')} at once; close one.",
                retry_after=1,
            )

    def enter(self, frames: int | None, prompt_seconds: float = 0.0) -> Visit:
        """Count a stream of ``frames`` that begins; None has no end yet.

        Args:
            prompt_seconds: paid for a prompt of which this is the first stream: what the prompt has used of the
                allowance does not keep the stream out.

        Raises:
            ApiError: 429, as ``require_room``.
        """
        seconds = _PAID_AHEAD_SECONDS if frames is None else frames / FRAME_RATE
        with self._turn:
            self._require_stream()
            self.pay(seconds, prompt_seconds)
            self._playing.part += 1
        return Visit(self, seconds, endless=frames is None)

    def leave(self, unused_seconds: float) -> None:
        """Count one stream less; called by the visit."""
        self._playing.part -= 1
        self.pay_back(max(0.0, unused_seconds))

    def charge(self, seconds: float) -> None:
        """Count seconds of audio that came already, whatever is left of the allowance."""
        if self._a_minute is not None:
            with self._turn:
                self._use(self.used, seconds)

    def pay_back(self, seconds: float) -> None:
        """Give back seconds that were counted and cost nothing."""
        if self._a_minute is not None:
            with self._turn:
                self._use(self.used, -seconds)

    def pay(self, seconds: float, paid_before: float = 0.0) -> None:
        """Count seconds of audio.

        Args:
            paid_before: seconds counted already that do not matter for whether any of the allowance is left.

        Raises:
            ApiError: 429, the allowance is used up.
        """
        if self._a_minute is None:
            return
        with self._turn:
            used = self.used
            left = self._a_minute - used
            if left + paid_before <= 0:
                wait = max(1, math.ceil(-left / self._a_minute * 60))
                raise ApiError(
                    429,
                    "key_audio",
                    f"The key '{self.name}' has used up its {self._a_minute:g} seconds of audio a minute; "
                    f"try again in {wait} s.",
                    retry_after=wait,
                )
            self._use(used, seconds)

    @property
    def used(self) -> float:
        """Return the seconds that have been used of the allowance and have not come back."""
        return max(0.0, self._full_at.common - time.monotonic()) * self._filling.common

    def use_is(self, seconds: float) -> None:
        """Set the seconds that have been used of the allowance, here and elsewhere."""
        with self._turn:
            self._set_used(seconds)

    def _use(self, used: float, seconds: float) -> None:
        """Count seconds beside those ``used`` before; negative ones are given back."""
        self._spent.common += seconds
        self._set_used(used + seconds)

    def _set_used(self, seconds: float) -> None:
        assert self._a_minute is not None
        self._filling.common = self._a_minute / 60
        self._full_at.common = time.monotonic() + max(0.0, seconds) / self._filling.common


class Visit:
    """One stream of a caller, from its start to its end."""

    def __init__(self, caller: Caller, seconds: float, endless: bool) -> None:
        self._caller, self._paid, self._endless = caller, seconds, endless
        self._over, self._unused = False, 0.0
        self._note_unused(seconds)

    def go_on(self, frames: int) -> None:
        """Note how many frames were made; a stream without an end pays for the next ones.

        Raises:
            ApiError: 429, the allowance is used up.
        """
        if self._endless and frames / FRAME_RATE >= self._paid:
            self._caller.pay(_PAID_AHEAD_SECONDS)
            self._paid += _PAID_AHEAD_SECONDS
        self._note_unused(max(0.0, self._paid - frames / FRAME_RATE))

    def close(self, frames: int) -> None:
        """End the visit after so many frames; only the first call counts."""
        if not self._over:
            self._over = True
            self._note_unused(0.0)
            self._caller.leave(self._paid - frames / FRAME_RATE)

    def _note_unused(self, seconds: float) -> None:
        self._caller.unused.part += seconds - self._unused
        self._unused = seconds


def name_of(what: str, identity: str) -> tuple[str, ...]:
    """Return the name of one of a caller's numbers in its ledger."""
    return what, "of key", identity


def _turns(streams: int | None) -> asyncio.Semaphore | None:
    return None if streams is None else asyncio.Semaphore(streams)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


STRANGER = Caller()
"""Caller of a connection until its key is known."""
