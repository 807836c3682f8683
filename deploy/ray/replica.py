"""One replica of a fleet: a whole server, with an engine of its own, in a process of Ray's behind Ray's HTTP proxy."""

from __future__ import annotations

import asyncio

import ray
from fastapi import FastAPI

from whispergpt.deploy.ray.load import load_of
from whispergpt.server.app import create_app
from whispergpt.server.errors import ApiError
from whispergpt.server.observe import logs
from whispergpt.server.services import Services, services_of
from whispergpt.server.settings import Settings, warn_of_unknown_variables


class ReplicaError(Exception):
    """The replica cannot serve; the message is for the operator."""


class Replica:
    """Deployment on Ray Serve. The app is made in the replica's own process; its lifespan starts and stops the engine.

    Raises:
        ReplicaError: a setting that the replicas of a fleet must share is missing.
        pydantic.ValidationError: a setting does not fit.
        KeyFileError: the file of keys cannot be used.
        TracingError: tracing cannot be had.
    """

    def __init__(self) -> None:
        settings = fleet_settings(bool(ray.get_gpu_ids()))
        logs.configure(settings.log_level, settings.log_lines)
        warn_of_unknown_variables()
        self._app = create_app(settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray once the replica is made."""
        return self._app

    async def check_health(self) -> None:
        """As ``/health/ready``. Ray's first call ends a replica's start, and waits until every model has generated.

        Raises:
            ReplicaError: the models cannot be loaded, ``strict`` and the engine crashed, or it is being restarted.
        """
        supervisor = self._services.supervisor
        ready = asyncio.create_task(supervisor.first_ready.wait())
        failed = asyncio.create_task(supervisor.failed())
        try:
            await asyncio.wait([ready, failed], return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                raise ReplicaError(failed.result())
            supervisor.link()
        except ApiError as error:
            raise ReplicaError(error.message) from None
        finally:
            ready.cancel()
            failed.cancel()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """For the policy; nothing while there is no engine."""
        # On the app's event loop, as all that knows of streams: Ray runs what is not async on another thread.
        try:
            return dict(load_of(self._services.supervisor.link()))
        except ApiError:
            return {}

    @property
    def _services(self) -> Services:
        return services_of(self._app)


def fleet_settings(has_gpu: bool) -> Settings:
    """A replica's settings, from its node's environment.

    Args:
        has_gpu: whether Ray gave the replica one; then a device that is left open is CUDA, else a CPU: without one it
            would take the first GPU that it sees, as all others would.

    Raises:
        ReplicaError: there is no resume key, or nobody would be let in: what one replica would make up for itself, the
            others would not know.
        pydantic.ValidationError: a setting does not fit.
    """
    # Not an address where anything listens, for that is the proxy's: whoever reaches the proxy reaches this replica.
    settings = Settings(host="0.0.0.0")
    if settings.resume_key is None:
        raise ReplicaError(
            "A fleet needs WHISPERGPT_RESUME_KEY, the same on every node: with it, what one replica loses another goes "
            "on with."
        )
    if settings.keys is None and not settings.open:
        raise ReplicaError(
            "A fleet needs WHISPERGPT_KEYS, a file of keys that every node has, or WHISPERGPT_OPEN=true, which asks "
            "nobody for one."
        )
    if settings.device != "auto":
        return settings
    return settings.model_copy(update={"device": "cuda" if has_gpu else "cpu"})
