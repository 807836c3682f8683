"""Health and metrics: whether the process lives, whether it takes work, and ``/metrics``."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from whispergpt.server.access.metrics_token import sends_token
from whispergpt.server.errors import ApiError
from whispergpt.server.http.refusals import refusals
from whispergpt.server.services import Services, services_of

router = APIRouter(tags=["operations"])


class Liveness(BaseModel):
    """Sign of life."""

    status: Literal["live"] = "live"


class EngineState(BaseModel):
    """Device and state of one engine."""

    device: str
    state: str


class Readiness(BaseModel):
    """Models and engines of a server that takes new work."""

    status: Literal["ready"] = "ready"
    models: list[str]
    engines: list[EngineState]


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All metrics",
        "content": {name: {"schema": {"type": "string"}} for name in ("text/plain", "application/openmetrics-text")},
    }
}


@router.get("/health/live", summary="The process answers")
async def live() -> Liveness:
    """Answer 200 while the event loop runs."""
    return Liveness()


@router.get("/health/ready", summary="Every model has really generated, and new work is taken", responses=refusals(503))
async def ready(request: Request) -> Readiness:
    """Answer 200 while an engine takes new work, with the state of each, or 503 while all are starting or restarting,
    or the server drains."""
    engines = services_of(request.app).engines
    return Readiness(models=list(engines.models), engines=[EngineState(**engine) for engine in engines.describe()])


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_TEXT | refusals(401))
async def metrics(request: Request) -> Response:
    """Answer in Prometheus' text format or OpenMetrics. This needs a key, or the token of
    ``WHISPERGPT_METRICS_TOKEN_FILE``, unless ``WHISPERGPT_OPEN_METRICS`` is set."""
    services = services_of(request.app)
    _require_permission(services, request)
    accepted = request.headers.get("accept", "")
    counts = None if services.counts is None else await services.counts.text(accepted)
    body, content_type = services.metrics.render(accepted, counts)
    return Response(body, media_type=content_type)


def _require_permission(services: Services, request: Request) -> None:
    """Raise ApiError where the caller may not see the metrics. With a token, an open server's are not open."""
    settings = services.settings
    if settings.open_metrics:
        return
    if settings.metrics_token_file is not None:
        if sends_token(request, settings.metrics_token_file):
            return
        if services.guard.open:
            raise ApiError(401, "wrong_key", "Metrics need their token; send `Authorization: Bearer TOKEN`.")
    services.guard.caller_of(request)
