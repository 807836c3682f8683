"""Client's side of ``/stream`` as a state machine without sockets.

Both streams drive it: they send what ``take_outgoing`` returns, pass what they receive to ``receive``, and upload the
prompt in the phase ``UPLOADING``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from whispergpt_client.errors import WhisperGPTError, error_from_envelope
from whispergpt_client.resumption import Checkpoint, Steering

Pace = Literal["realtime", "fast"]
LONGEST_PAUSE = 600.0
"""Seconds for which a server with default settings keeps a paused response."""


class Phase(Enum):
    """State of a stream; each phase but ``UPLOADING`` and ``DONE`` ends with one event from the server."""

    OPENING = auto()
    CONFIGURING = auto()
    UPLOADING = auto()
    COMMITTING = auto()
    STARTING = auto()
    PLAYING = auto()
    FAILED = auto()
    DONE = auto()


def check_finite(**numbers: float | None) -> None:
    """Raise a ValueError with the name of a number that is nan, inf or -inf, which JSON cannot express."""
    for name, value in numbers.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}.")


@dataclass(frozen=True)
class StreamRequest:
    """Parameters of a response; the server chooses each one that is None.

    If ``seconds`` is None, the response plays until cancelled. If ``sample_rate`` is set, the prompt is mono s16le
    samples at that rate; otherwise it is a file. With ``feed`` others can listen to the response.

    Raises:
        ValueError: a number is not finite, which JSON cannot express, or ``seconds`` is not above 0.
    """

    seconds: float | None
    pace: Pace = "realtime"
    sample_rate: int | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    model: str | None = None
    feed: bool = False

    def __post_init__(self) -> None:
        check_finite(seconds=self.seconds, temperature=self.temperature, top_p=self.top_p)
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError(f"seconds must be above 0, not {self.seconds:g}.")

    def session(self) -> dict[str, Any]:
        """Return the ``session`` of a ``session.update``."""
        source: dict[str, Any] = {"format": "file"}
        if self.sample_rate is not None:
            source = {"format": "pcm_s16le", "sample_rate": self.sample_rate}
        optional = {name: getattr(self, name) for name in ("seed", "temperature", "top_k", "top_p", "model")}
        given = {name: value for name, value in optional.items() if value is not None}
        return {"input": source, "output": {"format": "pcm_s16le"}, "pace": self.pace, **given}


class StreamProtocol:
    """One response on one connection.

    Args:
        lost: protocol of a lost connection whose response goes on here; None begins a response with a prompt.

    Attributes:
        phase: state of the stream.
        session: session as the server last described it; empty before that.
        response: response as ``response.done`` described it; None before that.
        frames: frames received so far, and frames that a server dropped because it does not wait for a slow reader.
        checkpoint: last checkpoint from the server; None before the first.
        steering: changes requested while the response plays.
        refusal: error with which the server last refused such a change; the response plays on.
        feed_token: token with which others listen to the response; None without a feed.
    """

    def __init__(self, request: StreamRequest, lost: StreamProtocol | None = None) -> None:
        self.phase = Phase.OPENING
        self.session: dict[str, Any] = {}
        self.response: dict[str, Any] | None = None
        self.frames: int = lost.frames if lost else 0
        self.checkpoint: Checkpoint | None = lost.checkpoint if lost else None
        self.steering: Steering = lost.steering if lost else Steering()
        self.refusal: WhisperGPTError | None = None
        self.feed_token: str | None = None
        self._created: dict[str, Any] = lost._created if lost else {}
        self._request, self._resumes = request, self.checkpoint
        self._frame_bytes, self._frame_rate = 640, 75
        self._outgoing: list[str] = []

    def take_outgoing(self) -> list[str]:
        """Return the messages to send now, each of them once."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def uploaded(self) -> None:
        """Commit the prompt, after its last byte was sent."""
        self._advance(Phase.UPLOADING, Phase.COMMITTING)
        self._send("input_audio_buffer.commit")

    def cancel(self) -> None:
        """Ask for the end of the response; does nothing if no response plays."""
        if self._begun:
            self.steering.cancelled = True
        if self.phase in (Phase.STARTING, Phase.PLAYING):
            self._send("response.cancel")

    def pause(self, paused: bool) -> None:
        """Ask the server to pause, or to go on; does nothing if no response plays."""
        if self._begun and self.steering.paused != paused:
            self.steering.paused = paused
            if self.phase is Phase.PLAYING:
                self._send("response.pause" if paused else "response.resume")

    def fork(self, seed: int | None) -> None:
        """Ask for another seed from the next frame on; does nothing if no response plays."""
        if self._begun:
            self.steering.forked, self.steering.seed = True, seed
            if self.phase is Phase.PLAYING:
                self._send_fork()

    def change_sampling(self, temperature: float | None, top_k: int | None, top_p: float | None) -> None:
        """Set the sampling parameters that are not None, from the next frame on; does nothing if no response plays.

        Raises:
            ValueError: a number is not finite.
        """
        check_finite(temperature=temperature, top_p=top_p)
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        wishes = {name: value for name, value in given.items() if value is not None}
        if self._begun and wishes:
            self.steering.sampling |= wishes
            if self.phase is Phase.PLAYING:
                self._send("session.update", session=wishes)

    def patience(self, timeout: float) -> float:
        """Return the seconds to wait for the next message; a paused response sends none, so they are more then."""
        return timeout + (LONGEST_PAUSE if self.steering.paused else 0.0)

    @property
    def whole(self) -> bool:
        """Whether all the requested audio has come."""
        seconds = self._request.seconds
        if seconds is None:
            return False
        # The server rounds in this way too: to a millionth of a frame first, which removes binary rounding errors.
        return self.frames >= max(1, math.ceil(round(seconds * self._frame_rate, 6)))

    def finish(self) -> bool:
        """End a response whose connection is lost and of which no more is wanted: all came, or it was cancelled.

        Returns whether that is so.
        """
        if not self.whole and not self.steering.cancelled:
            return False
        self.phase = Phase.DONE
        self.response = {
            "id": self._created.get("id"),
            "status": "completed" if self.whole else "cancelled",
            "frames": self.frames,
            "seed": self.steering.seed if self.steering.forked else self._created.get("seed"),
            "time_to_first_audio_ms": None,
            "realtime_factor": None,
        }
        return True

    def receive(self, message: str | bytes) -> bytes:
        """Take one message and return its audio, empty where it is control.

        Raises:
            WhisperGPTError: the server sent an error or broke the protocol.
        """
        if isinstance(message, bytes):
            if self.phase is not Phase.PLAYING:
                raise self._broken("audio")
            self.frames += len(message) // self._frame_bytes
            return message
        try:
            event = json.loads(message)
            kind = event["type"]
        except (ValueError, KeyError, TypeError):
            raise self._broken("a message that is not an event") from None
        if kind == "error":
            again = event.get("retry_after")
            error = error_from_envelope(event, retry_after=again if isinstance(again, int | float) else None)
            if self.phase is Phase.PLAYING and error.type == "invalid_request_error":
                self.refusal = error
                return b""
            raise error
        self._take_event(kind, event)
        return b""

    def _take_event(self, kind: str, event: dict[str, Any]) -> None:
        if kind == "response.created":
            self._created = dict(event.get("response") or {})
        match kind:
            case "session.created":
                self._advance(Phase.OPENING, Phase.CONFIGURING, kind)
                self.session = dict(event.get("session") or {})
                self._read_rates()
                self._send("session.update", session=self._wishes())
            case "session.updated" if self.phase is Phase.PLAYING:
                self.session.update(event.get("session") or {})
            case "session.updated":
                resumes = self._resumes
                self._advance(Phase.CONFIGURING, Phase.STARTING if resumes else Phase.UPLOADING, kind)
                self.session.update(event.get("session") or {})
                if resumes is not None:
                    wanted = {"resume_token": resumes.token, "from_frame": max(self.frames, resumes.frame)}
                    self._create(wanted)
            case "response.checkpoint":
                self.checkpoint = Checkpoint(int(event["frame"]), str(event["resume_token"]))
            case "input_audio_buffer.committed":
                self._advance(Phase.COMMITTING, Phase.STARTING, kind)
                self._create({"seconds": self._request.seconds})
            case "response.created" if not self._request.feed:
                self._begin(kind)
            case "response.feed.created":
                self.feed_token = str(event["token"])
                if self.phase is not Phase.PLAYING:
                    self._begin(kind)
            case "response.output_audio.dropped":
                self.frames += int(event["frames"])  # the server does not generate them again
            case "response.forked":
                self.steering.seed = int(event["seed"])
            case "response.done":
                self.response = dict(event.get("response") or {})
                # The reason follows as an error.
                failed = self.response.get("status") == "failed"
                self._advance(Phase.PLAYING, Phase.FAILED if failed else Phase.DONE, kind)
            # Other events only inform, and newer servers may send more of them.

    def _create(self, wanted: dict[str, Any]) -> None:
        self._send("response.create", response={**wanted, "feed": True} if self._request.feed else wanted)

    def _begin(self, kind: str) -> None:
        self._advance(Phase.STARTING, Phase.PLAYING, kind)
        self._say_steering()

    def _wishes(self) -> dict[str, Any]:
        """Return the first ``session.update``; a resumed response has its model and sampling in its token."""
        wishes = self._request.session()
        return wishes if self._resumes is None else {name: wishes[name] for name in ("output", "pace")}

    @property
    def _begun(self) -> bool:
        """Whether a response has begun, here or on a lost connection, and is not over."""
        over = self.phase in (Phase.DONE, Phase.FAILED)
        return not over and (self._resumes is not None or self.phase in (Phase.STARTING, Phase.PLAYING))

    def _say_steering(self) -> None:
        """Ask for what was wished for while the response waited, or on a connection that is lost."""
        if self.steering.sampling:
            self._send("session.update", session=self.steering.sampling)
        if self.steering.forked:
            self._send_fork()
        if self.steering.paused:
            self._send("response.pause")
        if self.steering.cancelled and self._resumes is not None:  # else it was sent at once
            self._send("response.cancel")

    def _send_fork(self) -> None:
        seed = self.steering.seed
        self._send("response.fork", **({} if seed is None else {"seed": seed}))

    def _read_rates(self) -> None:
        """Read the rates from the session; without them they stay at 24,000 samples and 75 frames a second."""
        try:
            samples, frames = int(self.session["sample_rate"]), int(self.session["frame_rate"])
            self._frame_bytes, self._frame_rate = 2 * samples // frames, frames
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            pass

    def _advance(self, expected: Phase, following: Phase, got: str = "the prompt's end") -> None:
        if self.phase is not expected:
            raise self._broken(got)
        self.phase = following

    def _broken(self, got: str) -> WhisperGPTError:
        message = f"The server sent {got} while this client was {self.phase.name.lower()}."
        return WhisperGPTError("protocol_error", "unexpected_event", message)

    def _send(self, kind: str, **fields: Any) -> None:
        self._outgoing.append(json.dumps({"type": kind, **fields}))
