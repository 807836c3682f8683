"""OpenTelemetry spans of requests. Off by default: nothing is imported and nothing made then.

OpenTelemetry's own variables say where spans are sent, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from whispergpt.engine.extras import MissingPackageError, require_package

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_SERVICE = "whispergpt"
PACKAGES = {
    "opentelemetry-sdk": "opentelemetry.sdk.trace",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
}
"""Distributions that tracing needs, and a module of each: other packages bring other parts of OpenTelemetry."""
TRACED = ("/continue", "/stream", "/v1/realtime", "/v1/play")
"""Paths whose requests are traced; requests for metrics and health are not."""


class TracingError(ValueError):
    """Tracing was asked for and cannot be had; the message is written for the operator."""


class Tracing:
    """Spans of one app.

    Args:
        on: whether to make any.

    Raises:
        TracingError: the packages are not installed.
    """

    def __init__(self, on: bool) -> None:
        self._provider: TracerProvider | None = None
        if on:
            _require_opentelemetry()
            self._provider = _provider()

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], **attributes: Any) -> Iterator[None]:
        """Open the span of a request, below the one that its ``traceparent`` header names; its id is in the logs."""
        if self._provider is None:
            yield
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        parent, tracer = extract(headers), self._provider.get_tracer(_SERVICE)
        with tracer.start_as_current_span(name, parent, SpanKind.SERVER, attributes=attributes) as span:
            structlog.contextvars.bind_contextvars(trace_id=_trace_id(span))
            yield

    @contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[None]:
        """Open a span for a part of the request under way."""
        if self._provider is None:
            yield
            return
        with self._provider.get_tracer(_SERVICE).start_as_current_span(name, attributes=attributes):
            yield

    def past(self, name: str, seconds: float, ended_ago: float = 0.0) -> None:
        """Record a part that was measured elsewhere and is over."""
        if self._provider is not None:
            end = time.time_ns() - round(ended_ago * 1e9)
            span = self._provider.get_tracer(_SERVICE).start_span(name, start_time=end - round(seconds * 1e9))
            span.end(end)

    def exemplar(self) -> dict[str, str] | None:
        """Return the exemplar that links a metric to the request under way."""
        if self._provider is None:
            return None
        from opentelemetry.trace import get_current_span

        span = get_current_span()
        return {"trace_id": _trace_id(span)} if span.get_span_context().is_valid else None

    def close(self) -> None:
        """Send the spans that are left."""
        if self._provider is not None:
            self._provider.shutdown()


def _trace_id(span: Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def _require_opentelemetry() -> None:
    try:
        for package, module in PACKAGES.items():
            require_package(module, "Tracing", "tracing", package)
    except MissingPackageError as error:
        raise TracingError(str(error)) from None


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # OTEL_SERVICE_NAME wins: Resource.create reads it.
    provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
