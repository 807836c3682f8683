"""A replica of a fleet: a whole server with its own engine, in a Ray process behind Ray's HTTP proxy."""

from __future__ import annotations

import asyncio

import ray
from fastapi import FastAPI

from whispergpt.deploy.ray.load import load_of
from whispergpt.engine.checkpoints.hub_errors import HubError
from whispergpt.engine.extras import MissingPackageError
from whispergpt.server.app import create_app
from whispergpt.server.errors import ApiError
from whispergpt.server.hub_models import with_hub_models
from whispergpt.server.observe import logs
from whispergpt.server.services import Services, services_of
from whispergpt.server.settings import Settings, warn_of_unknown_variables


class ReplicaError(Exception):
    """The replica cannot serve; the message is for the operator."""


class Replica:
    """Deployment on Ray Serve; the app is made in the replica's process, and its lifespan starts and stops the engine.

    Raises:
        ReplicaError: a setting that the replicas of a fleet must share is missing, or the hub does not give a model.
        pydantic.ValidationError: a setting is invalid.
        KeyFileError: the file of keys cannot be used.
        TracingError: tracing is not available.
    """

    def __init__(self) -> None:
        settings = fleet_settings(bool(ray.get_gpu_ids()))
        logs.configure(settings.log_level, settings.log_lines)
        warn_of_unknown_variables()
        try:
            self._app = create_app(with_hub_models(settings))
        except (HubError, MissingPackageError) as error:
            raise ReplicaError(str(error)) from None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the app; Ray calls this after the constructor."""
        return self._app

    async def check_health(self) -> None:
        """Check the health as ``/health/ready`` does; Ray's first call waits until every model has generated.

        Raises:
            ReplicaError: the models cannot be loaded, the engine crashed under ``strict``, or it is restarting.
        """
        engines = self._services.engines
        ready = asyncio.create_task(engines.first_ready.wait())
        failed = asyncio.create_task(engines.failed())
        try:
            await asyncio.wait([ready, failed], return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                raise ReplicaError(failed.result())
            engines.ready()
        except ApiError as error:
            raise ReplicaError(error.message) from None
        finally:
            ready.cancel()
            failed.cancel()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the metrics for the policy; none while there is no engine."""
        # Async, because streams belong to the app's event loop and Ray runs other methods on another thread.
        try:
            return dict(load_of(self._services.engines.ready()))
        except ApiError:
            return {}

    @property
    def _services(self) -> Services:
        return services_of(self._app)


def fleet_settings(has_gpu: bool) -> Settings:
    """Return a replica's settings from its node's environment.

    Args:
        has_gpu: whether Ray gave the replica a GPU. The device ``auto`` then means CUDA, else CPU; otherwise all
            replicas would take the first GPU that they see.

    Raises:
        ReplicaError: there is no resume key or no file of keys, which all replicas must share.
        pydantic.ValidationError: a setting is invalid.
    """
    # Only Ray's proxy listens; this address says that the replica is reached from the network.
    settings = Settings(host="0.0.0.0")
    if settings.resume_key is None:
        raise ReplicaError(
            "A fleet needs WHISPERGPT_RESUME_KEY, the same on every node, so that replicas can resume each other's "
            "streams."
        )
    if settings.keys is None and not settings.open:
        raise ReplicaError(
            "A fleet needs WHISPERGPT_KEYS, a file of keys that every node has, or WHISPERGPT_OPEN=true, which "
            "requires no key."
        )
    if settings.device != "auto":
        return settings
    return settings.model_copy(update={"device": "cuda" if has_gpu else "cpu"})
