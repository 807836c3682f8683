"""Objects that the routes share, made once for each app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI

from whispergpt.server.access.guard import Guard
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.admission.admission import Admission
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.audio.playback import PlayingStreams
from whispergpt.server.decoding.pool import DecoderPool
from whispergpt.server.http.play_addresses import PlayAddresses
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.engines import Engines
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.observe.tracing import Tracing
from whispergpt.server.settings import Settings
from whispergpt.server.tokens.resume_tokens import ResumeTokens


@dataclass(frozen=True)
class Services:
    settings: Settings
    guard: Guard
    metrics: Metrics
    engines: Engines
    admission: Admission
    precedence: Precedence
    decoders: DecoderPool
    """Decoders of uploads, which are not trusted."""
    audio: AudioPool
    """Threads that write whole files, which takes long."""
    live: AudioPool
    """Threads for audio that comes and goes piece by piece, so that no listener waits for a file."""
    playing: PlayingStreams
    tokens: ResumeTokens
    tracing: Tracing
    addresses: PlayAddresses


def make_services(settings: Settings, started: Sequence[EngineProcess] = ()) -> Services:
    """Make all of them, not yet started.

    Args:
        started: the first processes of engines, if they have been started already.

    Raises:
        KeyFileError: the file of keys cannot be used.
        TracingError: tracing cannot be had.
    """
    metrics, precedence = Metrics(), Precedence()
    playing = PlayingStreams()
    engines, admission = Engines(settings, metrics, started), Admission(settings)
    metrics.playback_lead.set_function(playing.least_lead)
    metrics.ready.set_function(lambda: engines.state == "ready")
    metrics.sessions_open.set_function(lambda: admission.sessions)
    metrics.requests_open.set_function(lambda: admission.requests)
    metrics.upload_bytes.set_function(lambda: admission.upload_bytes)
    metrics.control_bytes.set_function(lambda: admission.control.bytes)
    return Services(
        settings=settings,
        guard=Guard(settings),
        metrics=metrics,
        engines=engines,
        admission=admission,
        precedence=precedence,
        decoders=DecoderPool(settings, precedence),
        audio=AudioPool(settings.decode_threads),
        live=AudioPool(settings.decode_threads),
        playing=playing,
        tokens=ResumeTokens(settings.seal_key),
        tracing=Tracing(settings.tracing),
        addresses=PlayAddresses(settings.token_seconds, settings.max_requests),
    )


def services_of(app: FastAPI) -> Services:
    """Return the services of an app that ``create_app`` made."""
    services = app.state.services
    assert isinstance(services, Services)
    return services
