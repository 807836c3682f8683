"""Objects that the routes share, made once for each app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import FastAPI

from whispergpt.server.access.fleet_limits import SHARED, FleetLimits
from whispergpt.server.access.guard import Guard
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.admission.admission import Admission
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.audio.playback import PlayingStreams
from whispergpt.server.decoding.pool import DecoderPool
from whispergpt.server.feeds.feeds import Elsewhere, Feeds
from whispergpt.server.http.play_addresses import Addresses, PlayAddresses
from whispergpt.server.ledger import Ledger, OwnLedger
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.engines import Engines
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.observe.tracing import Tracing
from whispergpt.server.settings import Settings
from whispergpt.server.tokens.resume_tokens import ResumeTokens


class Counts(Protocol):
    """Counters and histograms that several processes have."""

    async def text(self, accepted: str) -> bytes:
        """Return them as text in the format for ``accepted``.

        Raises:
            ApiError: 500, they cannot be read.
        """
        ...


@dataclass(frozen=True)
class Services:
    settings: Settings
    ledger: Ledger
    guard: Guard
    fleet_limits: FleetLimits | None
    """The exchange with other replicas, where there is a store and this process is all of its server."""
    metrics: Metrics
    counts: Counts | None
    """Counters and histograms of all front ends, where there are several."""
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
    addresses: Addresses
    feeds: Feeds


@dataclass(frozen=True)
class Shared:
    """Services that the front ends of a server share, as one front end has them.

    Attributes:
        metrics: of this front end.
        counts: counters and histograms of all front ends.
        engines: as this front end follows them.
        addresses: makes the addresses of all front ends.
        feeds: of the other front ends.
        made_key: key that was made for this run.
    """

    ledger: Ledger
    metrics: Metrics
    counts: Counts
    engines: Engines
    addresses: Callable[[Guard, Admission], Addresses]
    feeds: Elsewhere
    made_key: str | None


def make_services(settings: Settings, started: Sequence[EngineProcess] = (), shared: Shared | None = None) -> Services:
    """Make all of them, not yet started.

    Args:
        started: the first processes of engines, if they have been started already.
        shared: what this process shares with other front ends; None where it is the only one.

    Raises:
        KeyFileError: the file of keys cannot be used.
        TracingError: tracing cannot be had.
        FleetLimitsError: the store of limits cannot be used.
    """
    ledger = OwnLedger() if shared is None else shared.ledger
    precedence, playing = Precedence(ledger), PlayingStreams()
    admission, guard = Admission(settings, ledger), Guard(settings, ledger, None if shared is None else shared.made_key)
    addresses: Addresses
    if shared is None:
        metrics = Metrics()
        engines = Engines(settings, metrics, started)
        addresses = PlayAddresses(settings.token_seconds, settings.max_requests)
    else:
        metrics, engines = shared.metrics, shared.engines
        addresses = shared.addresses(guard, admission)
    metrics.limits_shared.set_function(lambda: ledger.number(SHARED).total)
    metrics.playback_lead.set_function(playing.least_lead)
    metrics.ready.set_function(lambda: engines.state == "ready")
    metrics.sessions_open.set_function(lambda: admission.sessions)
    metrics.requests_open.set_function(lambda: admission.requests)
    metrics.upload_bytes.set_function(lambda: admission.upload_bytes)
    metrics.control_bytes.set_function(lambda: admission.control.bytes)
    store = settings.limits_store if shared is None else None
    live = AudioPool(settings.decode_threads)
    elsewhere = None if shared is None else shared.feeds
    return Services(
        settings=settings,
        ledger=ledger,
        guard=guard,
        fleet_limits=None if store is None else FleetLimits(store, guard, ledger),
        metrics=metrics,
        counts=None if shared is None else shared.counts,
        engines=engines,
        admission=admission,
        precedence=precedence,
        decoders=DecoderPool(settings, precedence, ledger),
        audio=AudioPool(settings.decode_threads),
        live=live,
        playing=playing,
        tokens=ResumeTokens(settings.seal_key),
        tracing=Tracing(settings.tracing),
        addresses=addresses,
        feeds=Feeds(settings, ledger, metrics, guard, admission, live, elsewhere),
    )


def services_of(app: FastAPI) -> Services:
    """Return the services of an app that ``create_app`` made."""
    services = app.state.services
    assert isinstance(services, Services)
    return services
