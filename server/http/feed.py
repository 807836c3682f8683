"""``/v1/streams/{token}``: a running response for everybody who has its token; its audio, and where to go on alone."""

from __future__ import annotations

from typing import Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.server.admission.accounting import count_refusal
from whispergpt.server.audio.encoders import Format
from whispergpt.server.errors import ApiError
from whispergpt.server.feeds.feed import Checkpoint, Feed
from whispergpt.server.http.continuation_schema import FEED_AUDIO_DOCS, FEED_DOCS
from whispergpt.server.http.feed_body import (
    FeedAnswer,
    first_sample,
    headers_of,
    live_body,
    range_body,
    total_seconds,
)
from whispergpt.server.http.upload import format_named
from whispergpt.server.parameters import number, query_fields
from whispergpt.server.services import services_of

router = APIRouter(tags=["feeds"])
_STREAM = "/v1/streams/{token}"
_AUDIO = f"{_STREAM}/audio"


class Kept(BaseModel):
    """Seconds of a response that are kept, counted from the response's first sample."""

    start: float
    end: float


class FeedCheckpoint(BaseModel):
    """Point from which anybody can go on alone."""

    frame: int
    seconds: float
    resume_token: str = Field(description="For `response.create` on /stream.")

    @classmethod
    def of(cls, point: Checkpoint) -> Self:
        """Return the model of a checkpoint."""
        return cls(frame=point.frame, seconds=point.frame / FRAME_RATE, resume_token=point.resume_token)


class StreamState(BaseModel):
    """State of a response that has a feed."""

    object: Literal["stream"] = "stream"
    status: Literal["playing", "paused", "completed", "cancelled", "failed"]
    model: str
    fingerprint: str
    seed: int = Field(description="Seed that the response began with.")
    sample_rate: int = SAMPLE_RATE
    kept: Kept
    seconds: float | None = Field(description="Seconds of the whole response; null without an end.")
    listeners: int = Field(description="Listeners of all front ends.")
    checkpoint: FeedCheckpoint | None = Field(description="The newest one; null before the first.")
    audio: str = Field(description="Path of the audio, from the server's root on.")


@router.get(_STREAM, summary="State of a shared stream", **FEED_DOCS)
async def stream_state(request: Request, token: str) -> StreamState:
    """Tell what is kept of a response, how many listen, and a resume token with which anybody goes on alone."""
    services = services_of(request.app)
    query_fields(request.query_params)
    feed = await services.feeds.find(token)
    point = feed.checkpoint
    return StreamState(
        status="paused" if feed.paused else feed.status,
        model=feed.about.model,
        fingerprint=feed.about.fingerprint,
        seed=feed.about.seed,
        kept=Kept(start=feed.pcm.start / SAMPLE_RATE, end=feed.pcm.end / SAMPLE_RATE),
        seconds=total_seconds(feed),
        listeners=services.feeds.listeners(feed),
        checkpoint=None if point is None else FeedCheckpoint.of(point),
        audio=feed.about.audio_path,
    )


@router.get(_AUDIO, summary="Listen to a shared stream", response_class=Response, **FEED_AUDIO_DOCS)
async def listen(request: Request, token: str) -> Response:
    """Play a response while it is made, from where its owner is or from a second that is kept. It needs no key, since
    the owner gave the token out."""
    services = services_of(request.app)
    try:
        feed, wanted, seconds = await _asked(request, token)
        track = request.state.cleanup.enter_context(services.feeds.listening(feed, wanted))
        if seconds is None and (body := range_body(feed, wanted, request.headers.get("range", ""))):
            return FeedAnswer(services, feed, wanted, track, body)
        body = live_body(wanted, track, first_sample(feed, seconds))
    except ApiError as error:
        count_refusal(services.metrics, error)
        services.metrics.feed_listens.labels("rejected").inc()
        raise
    return FeedAnswer(services, feed, wanted, track, body)


@router.head(_AUDIO, include_in_schema=False)
async def look(request: Request, token: str) -> Response:
    """Answer HEAD: the headers of what would be sent."""
    feed, wanted, seconds = await _asked(request, token)
    answer = Response(headers=headers_of(feed, wanted, first_sample(feed, seconds)))
    del answer.headers["content-length"]  # which nobody knows
    return answer


async def _asked(request: Request, token: str) -> tuple[Feed, Format, float | None]:
    """Return the feed, the format, and the second to begin with that a request asks for.

    Raises:
        ApiError: 400, a parameter cannot be used; 404, there is no such feed.
    """
    feed = await services_of(request.app).feeds.find(token)
    asked = query_fields(request.query_params, "format", "from")
    wanted = format_named(asked.get("format", "wav"), "format")
    return feed, wanted, number(asked["from"], "from") if "from" in asked else None
