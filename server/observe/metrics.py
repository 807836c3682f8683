"""Metrics of ``GET /metrics``, in one registry for each app, so that several can live in one process."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from whispergpt.engine.checkpoints.installed import package_version
from whispergpt.server.observe.exposition import format_for, joined
from whispergpt.server.observe.processes import FrontEndProcesses, Processes

_FRAME_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.010, 0.0133, 0.02, 0.03, 0.05, 0.08, 0.2, 0.5, 1, 2)
_WAIT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
_LONG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_FACTOR_BUCKETS = (0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 8, 12, 20, 50, 100)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_BUILD = ("version", "python", "torch")
_ROUTES = ("/continue", "/stream", "/v1/realtime", "/v1/play")
_REFUSALS = (
    *("no_capacity", "starting", "draining", "key_streams", "key_connections", "key_audio"),
    *("upload_timeout", "idle_timeout", "paused_too_long", "slow_reader"),
)
"""Reasons of refusals that do not lie in the request: no room, no allowance, or too slow."""


class Metrics:
    """Every metric by its name without the prefix ``whispergpt_``.

    Args:
        front_ends: the processes of several front ends, whose metrics are shown together; None for one process.

    Attributes:
        registry: gauges, and the use of the machine.
        counts: counters and histograms, which several processes may have.
    """

    def __init__(self, front_ends: FrontEndProcesses | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # nothing asks when a series began
        self.registry, self.counts = CollectorRegistry(), CollectorRegistry()
        build = self._gauge("build_info", "1, with the versions of server, Python and PyTorch", _BUILD)
        build.labels(package_version(), platform.python_version(), version("torch")).set(1)
        self.processes = Processes(self.registry, front_ends)
        self._add_histograms()
        self._add_gauges()
        self._add_counters()

    def _add_histograms(self) -> None:
        self.time_to_first_audio = self._histogram(
            "time_to_first_audio_seconds", "From the request to the first audio byte", ("model", "route"), _WAIT_BUCKETS
        )
        self.inter_frame = self._histogram(
            "inter_frame_seconds", "Between a stream's frames, as they reach the server", ("model",), _FRAME_BUCKETS
        )
        self.frame_step = self._histogram(
            "frame_step_seconds", "One frame step of all slots", ("model",), _FRAME_BUCKETS
        )
        self.stage = self._histogram(
            "stage_seconds", "One stage of an occasional step run in segments", ("model", "stage"), _FRAME_BUCKETS
        )
        self.prompt_encode = self._histogram(
            "prompt_encode_seconds", "Encoding one prompt to codes", ("model",), _WAIT_BUCKETS
        )
        self.request_queue = self._histogram("request_queue_seconds", "Waiting for a slot", ("model",), _WAIT_BUCKETS)
        self.request_duration = self._histogram(
            "request_duration_seconds", "One continuation, from its request to its end", ("route",), _LONG_BUCKETS
        )
        self.realtime_factor = self._histogram(
            "realtime_factor", "Audio seconds over wall seconds of one continuation", ("model",), _FACTOR_BUCKETS
        )
        self.largest_gap = self._histogram(
            "largest_message_gap_seconds",
            "Longest gap of one realtime stream, heard as underruns_total counts gaps; 0 without one",
            ("model", "route"),
            _WAIT_BUCKETS,
        )
        self.batch_size = self._histogram("batch_size", "Streams in one frame step", ("model",), _BATCH_BUCKETS)
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds", "How late the event loop came to what was due", (), _FRAME_BUCKETS
        )

    def _add_gauges(self) -> None:
        self.streams_active = self._gauge("streams_active", "Slots in use", ("model",))
        self.streams_waiting = self._gauge("streams_waiting", "Streams waiting for a slot", ("model",))
        self.streams_limit = self._gauge(
            "streams_limit",
            "Real-time streams that the machine bears, as last measured; 0 without an engine",
            ("model",),
        )
        self.streams_slack = self._gauge(
            "streams_slack",
            "Real-time streams that could be taken now, beside those that play, wait or will; 0 without an engine",
            ("model",),
        )
        self.slots = self._gauge("slots", "Slots there are, each for one stream", ("model",))
        self.prompts_encoding = self._gauge(
            "prompts_encoding", "Prompts that are received and encoded, and cannot be continued yet", ("model",)
        )
        self.sessions_open = self._gauge("sessions_open", "WebSocket sessions", ())
        self.requests_open = self._gauge("requests_open", "Continuations over HTTP that are being served", ())
        self.upload_bytes = self._gauge("upload_bytes", "Bytes of prompts that are not worked on yet, all together", ())
        self.control_bytes = self._gauge("control_bytes", "Bytes of control messages that wait to be handled", ())
        self.feeds = self._gauge("feeds", "Responses that listeners share", ())
        self.feed_listeners = self._gauge("feed_listeners", "Listeners of all feeds", ())
        self.feed_listens = self._counter("feed_listens", "Listeners of feeds, by how they ended", ("outcome",))
        self.playback_lead = self._gauge(
            "playback_lead_seconds", "Audio sent ahead of playback, by the realtime stream that has least", ()
        )
        self.limits_shared = self._gauge(
            "limits_shared", "1 while limits of keys are those of a fleet, 0 while they are this server's alone", ()
        )
        self.ready = self._gauge("ready", "1 while new work is taken, as GET /health/ready says it", ())

    def _add_counters(self) -> None:
        self.frames = self._counter("frames", "Frames generated", ("model",))
        self.requests = self._counter("requests", "Continuations asked for, by how they ended", ("route", "outcome"))
        self.prompt_cache = self._counter(
            "prompt_cache_lookups", "Prompts, by whether their encoding was remembered", ("model", "outcome")
        )
        self.rejected = self._counter("rejected", "Requests refused, by the error's code", ("reason",))
        self.underruns = self._counter(
            "underruns", "Gaps heard by listeners of realtime streams whose players buffer 50 ms", ("model",)
        )
        self.listener_underruns = self._counter(
            "listener_underruns", "Times a listener ran dry, as it says by playback.report", ("model",)
        )
        self.slow_client = self._counter("slow_client", "Clients that did not take their audio in time", ("action",))
        self.engine_restarts = self._counter("engine_restarts", "Times the engine's process was started again", ())

    def expect(self, models: Iterable[str]) -> None:
        """Show counters from zero, so that a rate sees the first increase, and histograms before their first value."""
        for model in models:
            for rising in (self.frames, self.underruns, self.listener_underruns):
                rising.labels(model)
            for seldom in (self.prompt_encode, self.request_queue, self.realtime_factor):
                seldom.labels(model)
            for outcome in ("hit", "miss"):
                self.prompt_cache.labels(model, outcome)
            for route in _ROUTES:
                self.time_to_first_audio.labels(model, route)
                self.largest_gap.labels(model, route)
        for reason in _REFUSALS:
            self.rejected.labels(reason)
        for route in _ROUTES:
            self.request_duration.labels(route)
            for outcome in ("completed", "cancelled", "failed", "rejected"):
                self.requests.labels(route, outcome)
        for outcome in ("completed", "left", "slow", "failed", "rejected"):
            self.feed_listens.labels(outcome)
        for action in ("cancelled", "closed", "dropped", "paused"):
            self.slow_client.labels(action)

    def render(self, accepted: str, counts: bytes | None = None) -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics, with exemplars, if ``accepted`` names it.

        Args:
            counts: text of the counters and histograms of all processes in that format; None for those of this one.
        """
        write, content_type = format_for(accepted)
        return joined(write(self.registry), write(self.counts) if counts is None else counts), content_type

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"whispergpt_{name}", text, labels, registry=self.counts, buckets=buckets)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"whispergpt_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        # The client library adds "_total" to a counter's name.
        return Counter(f"whispergpt_{name}", text, labels, registry=self.counts)


def observe_many(histogram: Histogram, amount: float, count: int) -> None:
    """Observe ``amount`` as often as ``count`` says, at the cost of once."""
    histogram._sum.inc(amount * count)
    for bound, bucket in zip(histogram._upper_bounds, histogram._buckets, strict=True):
        if amount <= bound:
            bucket.inc(count)
            break
