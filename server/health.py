"""Is the process alive, may it be given work, and its metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.services import services_of

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    """Always 200 while the event loop runs."""
    return {"status": "live"}


@router.get("/health/ready", summary="Every model has really generated, and new work is taken")
async def ready(request: Request) -> dict[str, object]:
    """200, or 503 while starting, restarting or draining."""
    link = services_of(request.app).supervisor.link()
    return {"status": "ready", "models": list(link.models)}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus' text format, or OpenMetrics. Asks for a key unless ``WHISPERGPT_OPEN_METRICS`` is set."""
    services = services_of(request.app)
    if not services.settings.open_metrics:
        services.guard.caller_of(request)
    body, content_type = services.metrics.render(request.headers.get("accept", ""))
    return Response(body, media_type=content_type)
