"""The fleet as a Ray Serve application, which ``serve.yaml`` imports as ``whispergpt.deploy.ray.app:fleet``.

Options for an operator are in ``serve.yaml``, because Ray applies changes of it to running replicas. A change here
would replace all replicas.
"""

from __future__ import annotations

from ray import serve

from whispergpt.deploy.ray.replica import Replica

_MOST_REQUESTS = 4096
"""Most requests and sessions of a replica at once.

More than WHISPERGPT_MAX_SESSIONS and WHISPERGPT_MAX_REQUESTS together, so that the server refuses a request with its
own reason before the proxy makes it wait.
"""
_MOST_QUEUED = 256
"""Most requests that each proxy queues while no replica accepts any; further ones get 503."""
_HEALTH_SECONDS = 5.0
"""Seconds between health checks; three failed ones end a replica, and an engine restarts within that time."""

_deployment = serve.deployment(
    name="whispergpt",
    max_ongoing_requests=_MOST_REQUESTS,
    max_queued_requests=_MOST_QUEUED,
    graceful_shutdown_wait_loop_s=0.5,
    health_check_period_s=_HEALTH_SECONDS,
    health_check_timeout_s=_HEALTH_SECONDS,
    max_constructor_retry_count=3,
)
fleet = _deployment(serve.ingress()(Replica)).bind()
