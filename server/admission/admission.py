"""Admission of streams: a slot at once, a short wait in a bounded queue, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from math import ceil

from msgspec.structs import replace

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace, StreamPlan
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.held_bytes import ConnectionBytes, Pot, Share
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Ledger, OwnLedger
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.live_streams import LiveStream
from whispergpt.server.link.places import Place
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.settings import Settings


class Admission:
    """Bounds the queue for slots, the sessions, and the memory of prompts that are being received."""

    def __init__(self, settings: Settings, ledger: Ledger | None = None) -> None:
        self._settings = settings
        ledger = ledger or OwnLedger()
        self._turn = ledger.turn
        self._sessions, self._requests = ledger.number("sessions"), ledger.number("requests")
        self.idle = asyncio.Event()
        """Set while no session, no request and no listener of a feed is being served by this process."""
        self._listeners = 0
        self.idle.set()
        again, share = settings.retry_after_seconds, settings.memory_share
        self.uploads = Pot(settings.upload_memory_bytes, share, "prompts", again, ledger)
        self.control = Pot(settings.control_memory_bytes, share, "control messages", again, ledger)
        self.feeds = Pot(settings.feed_memory_bytes, share, "feeds", again, ledger)

    @property
    def sessions(self) -> int:
        """Return the number of WebSocket sessions."""
        return int(self._sessions.total)

    @property
    def requests(self) -> int:
        """Return the number of HTTP continuations."""
        return int(self._requests.total)

    @property
    def upload_bytes(self) -> int:
        """Return the bytes of all prompts that are being received, and of messages that wait."""
        return self.uploads.bytes

    def connection_bytes(self) -> ConnectionBytes:
        """Return the count of a new WebSocket connection."""
        return ConnectionBytes(self.uploads, self.control)

    def keep_place(self, link: EngineLink, model: ModelInfo, pace: Pace, caller: Caller | None = None) -> Place:
        """Keep a place for a stream whose prompt is being made ready, so that it is not refused afterwards.

        Raises:
            ApiError: as ``require_room``.
        """
        with self._turn:
            return link.places.keep(model.id, pace, self.require_room(link, model, pace), caller)

    def require_room(self, link: EngineLink, model: ModelInfo, pace: Pace) -> bool:
        """Refuse early, before any work is done; returns whether there is a place now, without another stream's end.

        Raises:
            ApiError: 429, all slots are taken, or there is no time for another real-time stream; and the queue is full,
                or no stream ends within ``queue_seconds``.
        """
        taken = link.live(model.id)
        of_each = " on each engine" if link.device.engines > 1 else ""
        at_once = self._require_place(
            len(taken) + link.places.kept(model.id),
            model.slots,
            taken,
            f"All {model.slots} streams of '{model.id}' are taken{of_each}",
        )
        if pace == "realtime":
            most = link.most_listened(model.id)
            streams = f"{most} real-time stream{'' if most == 1 else 's'}"
            bears = f"This server can play {streams} of '{model.id}' at once{of_each}"
            if most == 0:
                bears = f"Streams of other models leave this server no time for one of '{model.id}'"
            # All models share the machine: whichever stream ends makes room; and what is promised to another model, or
            # waits there, is in no limit yet.
            kept = link.places.kept(model.id, pace)
            elsewhere = link.places.kept(pace=pace) > kept
            elsewhere |= any(stream.waits for stream in link.live(pace=pace) if stream.model.id != model.id)
            at_once = at_once and not elsewhere
            at_once &= self._require_place(len(link.live(model.id, pace)) + kept, most, link.live(pace=pace), bears)
        return at_once

    def start_stream(
        self,
        link: EngineLink,
        prompt: PromptHandle,
        plan: StreamPlan,
        caller: Caller,
        place: Place | None = None,
        prompt_seconds: float = 0.0,
    ) -> StreamHandle:
        """Queue a stream of ``caller`` for a slot, in its kept ``place`` if there is one. The caller of this method
        closes the stream.

        Args:
            prompt_seconds: as in ``Caller.enter``.

        Raises:
            ApiError: 429, the queue is full or the caller is over a limit; 503, the engine is gone.
        """
        with self._turn:
            if place is not None and place.take(prompt.model.id, plan.pace):
                plan = replace(plan, promised=place.at_once)
            else:
                self.require_room(link, prompt.model, plan.pace)
            visit = caller.enter(plan.frames, prompt_seconds)
            try:
                return link.start_stream(prompt, plan, visit)
            except ApiError:
                visit.close(0)
                raise

    async def wait_for_slot(self, link: EngineLink, stream: StreamHandle) -> float:
        """Wait until the stream has its slot; returns the seconds waited.

        Raises:
            ApiError: 429, no slot within ``queue_seconds``; 503, the engine is gone.
        """
        try:
            return await stream.started(self._settings.queue_seconds)
        except TimeoutError:
            raise self._no_capacity(
                f"All streams of '{stream.model.id}' are taken, and none became free "
                f"within {self._settings.queue_seconds:g} s",
                link.live(),  # this stream has no end yet
            ) from None

    def enter_session(self) -> None:
        """Count one more WebSocket session.

        Raises:
            ApiError: 429, there are too many.
        """
        with self._turn:
            if self.sessions >= self._settings.most_sessions:
                raise self._no_capacity(f"All {self._settings.most_sessions} sessions are taken")
            self._sessions.part += 1
        self._changed()

    def enter_request(self) -> None:
        """Count one more HTTP continuation.

        Raises:
            ApiError: 429, there are too many.
        """
        with self._turn:
            if self.requests >= self._settings.max_requests:
                raise self._no_capacity(f"{self._settings.max_requests} requests are being served already")
            self._requests.part += 1
        self._changed()

    def leave_request(self) -> None:
        """Count one HTTP continuation less."""
        self._requests.part -= 1
        self._changed()

    def leave_session(self) -> None:
        """Count one session less."""
        self._sessions.part -= 1
        self._changed()

    def count_listeners(self, more: int) -> None:
        """Count listeners of feeds in this process, which a server that drains waits for."""
        self._listeners += more
        self._changed()

    def _changed(self) -> None:
        if self._sessions.part or self._requests.part or self._listeners:
            self.idle.clear()
        else:
            self.idle.set()

    def _require_place(self, taken: int, most: int, before: Sequence[LiveStream], reason: str) -> bool:
        """Raise 429 if the queue is full, or if too few of the streams ``before`` can end within ``queue_seconds``.

        Returns whether there is a place without any of them ending.
        """
        first_must_end = taken + 1 - most
        if first_must_end > self._settings.max_waiting:
            raise self._no_capacity(f"{reason} and the line is full", before)
        if first_must_end <= 0:
            return True
        ends = _seconds_left(before)
        if first_must_end > len(ends):
            return False
        in_vain = ends[first_must_end - 1] - self._settings.queue_seconds
        if in_vain > 0:
            reason = f"{reason} and none is free within {self._settings.queue_seconds:g} s"
            raise _come_again(reason, ceil(in_vain))
        return False

    def _no_capacity(self, reason: str, before: Iterable[LiveStream] = ()) -> ApiError:
        """Return a 429 that says when to try again: at the first end of the streams ``before``, if one is known."""
        ends = _seconds_left(before)
        return _come_again(reason, max(1, ceil(ends[0])) if ends else self._settings.retry_after_seconds)


class UploadMeter:
    """Counts the bytes of one body that is being received, against the limit of a prompt and the caller's share."""

    def __init__(self, admission: Admission, settings: Settings, caller: Caller) -> None:
        self._share, self._limit = Share(admission.uploads, caller), settings.max_upload_bytes

    def add(self, count: int) -> None:
        """Count ``count`` more bytes.

        Raises:
            ApiError: 413, this prompt is too large; 429, the caller's share of the memory is used up.
        """
        require_size(self._share.bytes + count, self._limit)
        self._share.set(self._share.bytes + count)

    def hold(self, count: int) -> None:
        """Count ``count`` bytes instead, for example those of the decoded body.

        Raises:
            ApiError: 413 or 429, the caller's share of the memory does not have them.
        """
        self._share.set(count)

    def recount(self, count: int) -> None:
        """Count ``count`` bytes that were counted elsewhere until now; this is never refused."""
        self._share.restore(count)

    def release(self) -> None:
        """Give the bytes back."""
        self._share.set(0)


def require_size(size: int, limit: int) -> None:
    """Refuse a prompt of ``size`` bytes that is too large.

    Raises:
        ApiError: 413.
    """
    if size > limit:
        raise ApiError(413, "too_large", f"The prompt is larger than {limit} bytes; send at most that much.", "audio")


def _seconds_left(streams: Iterable[LiveStream]) -> list[float]:
    """Return the seconds until each stream has its last frame, soonest first, without those that have no end."""
    return sorted(left for stream in streams if (left := stream.seconds_left) is not None)


def _come_again(reason: str, seconds: int) -> ApiError:
    return ApiError(429, "no_capacity", f"{reason}; try again in {seconds} s.", retry_after=seconds)
