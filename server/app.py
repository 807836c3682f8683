"""The ASGI app: routes, error envelope, request context; its lifespan starts and stops the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from whispergpt.engine.checkpoints.installed import package_version
from whispergpt.server import errors
from whispergpt.server.edge.host_check import HostCheck
from whispergpt.server.edge.methods import HeadRequests
from whispergpt.server.edge.request_context import RequestContext
from whispergpt.server.edge.security_headers import SecurityHeaders
from whispergpt.server.http import continuation, entry, feed, health, models, pages, play
from whispergpt.server.http.api_schema import DescribedApp
from whispergpt.server.http.refusals import EVERY_ROUTE
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.realtime import route as realtime
from whispergpt.server.services import Shared, make_services
from whispergpt.server.session import route as stream
from whispergpt.server.settings import Settings

_EXPOSED = [
    *("X-Request-Id", "X-Seed", "X-Sample-Rate", "X-Fingerprint", "Server-Timing", "Retry-After"),
    *("X-From-Seconds", "Content-Range", "Accept-Ranges"),
]


def create_app(
    settings: Settings | None = None, engines: Sequence[EngineProcess] = (), shared: Shared | None = None
) -> FastAPI:
    """Make an app with its own engine processes, metrics and bounds.

    Args:
        settings: None takes them from the environment.
        engines: the first processes of engines, if they have been started already.
        shared: what this process shares with other front ends; None where it is the only one.
    """
    settings = settings or Settings()
    services = make_services(settings, engines, shared)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.decoders.start()
        services.engines.start()
        if services.fleet_limits is not None:
            services.fleet_limits.start()
        try:
            yield
        finally:
            if services.fleet_limits is not None:
                await services.fleet_limits.stop()
            await services.engines.stop()
            services.feeds.close()
            services.decoders.close()
            services.audio.close()
            services.live.close()
            services.tracing.close()

    app = DescribedApp(
        title="WHISPER-GPT",
        version=package_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=EVERY_ROUTE,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    for part in (continuation, realtime, stream, play, feed, models, entry, health, pages):
        app.include_router(part.router)
    app.mount("/static", pages.files)
    errors.install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(HeadRequests)
    app.add_middleware(HostCheck, settings=settings)
    app.add_middleware(RequestContext)
    app.add_middleware(SecurityHeaders)
    return app
