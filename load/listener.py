"""A listener that connects, sends a prompt, listens and leaves as its visit says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Literal, TypeAlias
from urllib.parse import urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.load.address import server_address
from whispergpt.load.ogg import OPUS_RATE, granules
from whispergpt.load.record import ListenerRecord
from whispergpt.load.voices import Voices

PATIENCE_SECONDS = 30.0
"""Longest wait of a listener for the server's next message."""
_LIVE_SECONDS = 0.1
_REFUSALS = ("capacity_error", "unavailable_error")
_REFUSED_STATUS = (429, 503)
_MESSAGES_WAITING = 16

Output: TypeAlias = Literal["pcm_s16le", "opus"]
"""Formats of the audio over the WebSocket."""


class _ServerError(Exception):
    """The server sent an ``error`` event."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.refusal = error.get("type") in _REFUSALS


class Listener:
    """A listener that writes all events into its record; failures are recorded, not raised.

    Args:
        now: returns the seconds since the start of the run.
        model: model of ``session.update``; None means the server's default.
        headers: headers of the connection, with the API key if there is one.
        output: format of the audio that it asks for.
    """

    def __init__(
        self,
        address: str,
        record: ListenerRecord,
        voices: Voices,
        now: Callable[[], float],
        model: str | None,
        headers: dict[str, str],
        output: Output = "pcm_s16le",
    ) -> None:
        self._address, self._record, self._voices, self._now, self._model = address, record, voices, now, model
        self._headers, self._output = headers, output
        self._sent_at = record.came
        self._granules = 0

    async def run(self) -> None:
        """Run the visit from the connection to its end."""
        record = self._record
        try:
            opening = connect(
                self._address,
                compression=None,
                open_timeout=PATIENCE_SECONDS,
                close_timeout=2,
                max_queue=_MESSAGES_WAITING,
                additional_headers=self._headers,
            )
            async with opening as connection:
                await self._ask(connection)
                await self._listen(connection)
        except _ServerError as told:
            self._refused(str(told)) if told.refusal else self._failed(str(told))
        except ConnectionClosed as closed:
            reason = closed.rcvd.reason if closed.rcvd else "no word"
            code = closed.rcvd.code if closed.rcvd else 1006
            self._refused(reason) if code == 1013 else self._failed(f"closed with {code}: {reason}")
        except InvalidStatus as error:
            status = error.response.status_code
            told_so = f"HTTP {status} instead of a WebSocket"
            self._refused(told_so) if status in _REFUSED_STATUS else self._failed(told_so)
        except TimeoutError:
            self._failed(f"nothing came for {PATIENCE_SECONDS:g} s")
        except (OSError, InvalidHandshake) as error:
            self._failed(f"no connection: {error}")
        except (ValueError, KeyError, TypeError) as error:
            self._failed(f"the server sent an invalid event: {error!r}")
        finally:
            record.ended = self._now()
            record.clock.end(record.ended, complete=record.outcome == "completed")

    async def _ask(self, connection: ClientConnection) -> None:
        visit = self._record.visit
        await self._expect(connection, "session.created")
        source = {"format": "pcm_s16le", "sample_rate": SAMPLE_RATE} if visit.live else {"format": "file"}
        session: dict[str, Any] = {"input": source, "seed": visit.seed, "pace": "realtime"}
        if self._output != "pcm_s16le":
            session["output"] = {"format": self._output}
        if self._model:
            session["model"] = self._model
        await self._say(connection, "session.update", session=session)
        await self._expect(connection, "session.updated")
        if visit.live:
            await self._speak(connection)
        else:
            self._sent_at = self._now()
            await connection.send(self._voices.file(visit))
        self._record.asked = self._now()  # before it is said: the server counts while a busy process goes on late
        await self._say(connection, "input_audio_buffer.commit")
        await self._say(connection, "response.create", response={"seconds": visit.seconds})
        await self._expect(connection, "response.created")

    async def _speak(self, connection: ClientConnection) -> None:
        """Send the prompt in pieces at the pace of speech, as a microphone does."""
        pcm = self._voices.pcm(self._record.visit)
        step = round(_LIVE_SECONDS * SAMPLE_RATE)
        began = self._sent_at = self._now()
        for start in range(0, len(pcm), step):
            piece = pcm[start : start + step]
            await self._listen_until(connection, began + (start + len(piece)) / SAMPLE_RATE)
            await connection.send(piece.tobytes())
            if not start:
                self._sent_at = self._now()

    async def _listen_until(self, connection: ClientConnection, at: float) -> None:
        """Wait until a time, or raise as soon as the server refuses, since the rest of the prompt is useless then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at - self._now()):
                while True:
                    message = await connection.recv()
                    if isinstance(message, str):
                        _event(message)

    async def _listen(self, connection: ClientConnection) -> None:
        record, visit = self._record, self._record.visit
        leaves_at: float | None = None
        while True:
            try:
                message = await self._receive(connection, leaves_at)
            except _TimeToGo:
                await self._leave(connection)
                return
            now = self._now()
            if isinstance(message, bytes):
                if record.first_audio is None:
                    record.first_audio, record.outcome = now, "playing"
                    leaves_at = now + visit.stays if visit.ends != "end" else None
                seconds = self._seconds(message)
                record.count(now, len(message), seconds)
                if visit.slow:
                    await asyncio.sleep(2 * seconds)
                continue
            event = _event(message)
            if event["type"] == "response.done":
                self._done(event["response"])
                record.clock.end(now, complete=True)
                await asyncio.sleep(record.clock.lead(now))  # until the buffered audio has played
                return

    def _seconds(self, message: bytes) -> float:
        """Return the seconds of audio in a binary message."""
        if self._output == "pcm_s16le":
            return len(message) / 2 / SAMPLE_RATE
        before, self._granules = self._granules, granules(message)
        return (self._granules - before) / OPUS_RATE

    async def _leave(self, connection: ClientConnection) -> None:
        self._record.outcome = "left"
        if self._record.visit.ends == "vanish":
            connection.transport.abort()
            return
        await self._say(connection, "response.cancel")
        await self._expect(connection, "response.done")

    def _done(self, response: dict[str, Any]) -> None:
        self._record.said_first_audio_ms = response.get("time_to_first_audio_ms")
        if response["status"] != "completed":
            self._failed(f"the response was {response['status']}")
            return
        self._record.outcome = "completed"

    async def _expect(self, connection: ClientConnection, kind: str) -> None:
        while not isinstance(message := await self._receive(connection), str) or _event(message)["type"] != kind:
            pass

    async def _receive(self, connection: ClientConnection, until: float | None = None) -> str | bytes:
        """Return the next message.

        Raises:
            TimeoutError: no message came within ``PATIENCE_SECONDS``.
            _TimeToGo: the time is ``until``.
        """
        patience = PATIENCE_SECONDS if until is None else min(PATIENCE_SECONDS, until - self._now())
        if patience <= 0:  # a message that has already arrived would be returned without a check of the time
            raise _TimeToGo
        try:
            async with asyncio.timeout(patience):
                return await connection.recv()
        except TimeoutError:
            if until is not None and self._now() >= until:
                raise _TimeToGo from None
            raise

    async def _say(self, connection: ClientConnection, kind: str, **fields: Any) -> None:
        self._sent_at = self._now()
        await connection.send(json.dumps({"type": kind, **fields}))

    def _refused(self, reason: str) -> None:
        self._record.outcome, self._record.reason = "refused", reason
        self._record.answered = self._now() - self._sent_at

    def _failed(self, reason: str) -> None:
        self._record.outcome, self._record.reason = "failed", reason


class _TimeToGo(Exception):
    """The planned time of the listener's end."""


def _event(message: str) -> dict[str, Any]:
    """Return the event in a message; raises ``_ServerError`` if it is an error."""
    event: dict[str, Any] = json.loads(message)
    if event["type"] == "error":
        raise _ServerError(event["error"])
    return event


def stream_address(url: str) -> str:
    """Return ``ws://host:port/stream`` for ``http://host:port``.

    Raises:
        ValueError: the address is invalid.
    """
    parts = server_address(url)
    return urlunsplit(
        ("wss" if parts.scheme == "https" else "ws", parts.netloc, f"{parts.path.rstrip('/')}/stream", "", "")
    )
