"""Health and metrics: whether the process lives, whether it takes work, and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from whispergpt.server.access.metrics_token import sends_token
from whispergpt.server.errors import ApiError
from whispergpt.server.services import Services, services_of

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    """Answer 200 while the event loop runs."""
    return {"status": "live"}


@router.get("/health/ready", summary="Every model has really generated, and new work is taken")
async def ready(request: Request) -> dict[str, object]:
    """Answer 200 while an engine takes new work, with the state of each, or 503 while all are starting or restarting,
    or the server drains."""
    engines = services_of(request.app).engines
    return {"status": "ready", "models": list(engines.models), "engines": engines.describe()}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answer in Prometheus' text format or OpenMetrics. This needs a key, or the token of
    ``WHISPERGPT_METRICS_TOKEN_FILE``, unless ``WHISPERGPT_OPEN_METRICS`` is set."""
    services = services_of(request.app)
    _require_permission(services, request)
    body, content_type = services.metrics.render(request.headers.get("accept", ""))
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
