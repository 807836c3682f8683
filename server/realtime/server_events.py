"""Events to a client of OpenAI's Realtime API, made of those that a session sends on ``/stream``."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from whispergpt.engine.config import FRAME_RATE
from whispergpt.server.realtime.client_events import TokenLimit

ServerEvent: TypeAlias = tuple[str, dict[str, Any]]
"""Type of an event, and its other fields but its id."""
_FORMAT = {"type": "audio/pcm", "rate": 24_000}
_NO_TEXT = ""


@dataclass(frozen=True)
class Asked:
    """Part of a ``response.create`` that the session does not know.

    Attributes:
        limit: most tokens, as the client gave them.
        limited: whether they decide how long the response is.
    """

    metadata: dict[str, str] | None = None
    limit: TokenLimit = None
    limited: bool = False


@dataclass(frozen=True)
class _Response:
    """A response, its item, and the item before that."""

    id: str
    asked: Asked
    prompt_frames: int
    extra: dict[str, Any]
    item_before: str | None
    item_id: str = field(default_factory=lambda: f"item_{uuid.uuid4().hex}")


class ServerEvents:
    """Translates the events of one session. Each audio that is committed, and each response, is an item of the API.

    Attributes:
        asked: by the ``response.create`` that is being handled.
        limit: most tokens of a response, as ``session.update`` set them; None is the length by default.
        committed: whether a prompt is committed.
        response_id: of the response that was created last.
    """

    def __init__(self) -> None:
        self.asked = Asked()
        self.limit: TokenLimit = None
        self.committed = False
        self._conversation_id = f"conv_{uuid.uuid4().hex}"
        self._last_item: str | None = None
        self._prompt_frames = 0
        self._response: _Response | None = None

    @property
    def response_id(self) -> str | None:
        return None if self._response is None else self._response.id

    def translate(self, kind: str, fields: dict[str, Any]) -> Iterator[ServerEvent]:
        """Yield the API's events for one of the session's."""
        match kind:
            case "session.created" | "session.updated":
                yield kind, {"session": self._session(fields["session"])}
            case "input_audio_buffer.committed":
                yield from self._commit(fields["seconds"])
            case "response.created":
                yield from self._create(fields["response"])
            case "response.output_audio.done":
                yield kind, self._part()
                yield "response.content_part.done", {**self._part(), "part": _part()}
            case "response.done":
                yield from self._end(fields["response"])
            case _:
                yield kind, fields

    def delta(self, pcm: bytes) -> ServerEvent:
        """Return the event that carries audio."""
        return "response.output_audio.delta", {**self._part(), "delta": base64.b64encode(pcm).decode()}

    def _session(self, described: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in described.items() if name not in ("input", "output")}
        heard = {"format": _FORMAT, "noise_reduction": None, "transcription": None, "turn_detection": None}
        return {
            "type": "realtime",
            "object": "realtime.session",
            **own,
            "output_modalities": ["audio"],
            "audio": {"input": heard, "output": {"format": _FORMAT, "speed": 1.0}},
            "max_output_tokens": self.limit,
            "instructions": _NO_TEXT,
            "tools": [],
            "tool_choice": "none",
        }

    def _commit(self, seconds: float) -> Iterator[ServerEvent]:
        self.committed, self._prompt_frames = True, round(seconds * FRAME_RATE)
        item_id, before = f"item_{uuid.uuid4().hex}", self._last_item
        self._last_item = item_id
        content = [{"type": "input_audio", "transcript": None}]
        item = _item(item_id, "user", "completed", content)
        yield "input_audio_buffer.committed", {"item_id": item_id, "previous_item_id": before, "seconds": seconds}
        yield "conversation.item.added", {"item": item, "previous_item_id": before}
        yield "conversation.item.done", {"item": item, "previous_item_id": before}

    def _create(self, created: dict[str, Any]) -> Iterator[ServerEvent]:
        extra = {name: created[name] for name in ("seed", "fingerprint")}
        before = self._last_item
        self._response = _Response(created["id"], self.asked, self._prompt_frames, extra, before)
        self._last_item = self._response.item_id
        item = _item(self._response.item_id, "assistant", "in_progress", [])
        yield "response.created", {"response": self._described("in_progress", None, [], None)}
        yield "response.output_item.added", {**self._place(), "item": item}
        yield "conversation.item.added", {"item": item, "previous_item_id": before}
        yield "response.content_part.added", {**self._part(), "part": _part()}

    def _end(self, done: dict[str, Any]) -> Iterator[ServerEvent]:
        assert self._response is not None
        status = done["status"]
        details = {"type": status}
        if status == "completed" and self._response.asked.limited:
            status, details = "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
        elif status == "cancelled":
            details["reason"] = "client_cancelled"
        whole = "completed" if status == "completed" else "incomplete"
        item = _item(self._response.item_id, "assistant", whole, [{"type": "output_audio", "transcript": _NO_TEXT}])
        yield "response.output_item.done", {**self._place(), "item": item}
        yield "conversation.item.done", {"item": item, "previous_item_id": self._response.item_before}
        heard = {name: done[name] for name in ("frames", "seed", "time_to_first_audio_ms", "realtime_factor")}
        usage = _usage(self._response.prompt_frames, done["frames"])
        yield "response.done", {"response": self._described(status, details, [item], usage) | heard}

    def _described(
        self, status: str, details: dict[str, Any] | None, output: list[dict[str, Any]], usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        assert self._response is not None
        return {
            "object": "realtime.response",
            "id": self._response.id,
            "status": status,
            "status_details": details,
            "output": output,
            "conversation_id": self._conversation_id,
            "output_modalities": ["audio"],
            "audio": {"output": {"format": _FORMAT}},
            "max_output_tokens": self._response.asked.limit,
            "metadata": self._response.asked.metadata,
            "usage": usage,
            **self._response.extra,
        }

    def _place(self) -> dict[str, Any]:
        assert self._response is not None
        return {"response_id": self._response.id, "output_index": 0}

    def _part(self) -> dict[str, Any]:
        assert self._response is not None
        return {**self._place(), "item_id": self._response.item_id, "content_index": 0}


def _item(item_id: str, role: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def _part() -> dict[str, Any]:
    return {"type": "audio", "transcript": _NO_TEXT}


def _usage(prompt_frames: int, frames: int) -> dict[str, Any]:
    return {
        "total_tokens": prompt_frames + frames,
        "input_tokens": prompt_frames,
        "output_tokens": frames,
        "input_token_details": {"audio_tokens": prompt_frames, "text_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"audio_tokens": frames, "text_tokens": 0},
    }
