"""The fleet as an application of Ray Serve: ``serve.yaml`` names ``whispergpt.deploy.ray.app:fleet``, and says how
large it is.

What is there for an operator to choose is in ``serve.yaml``: Ray applies a change of it to the replicas that run, where
one made here would replace them all.
"""

from __future__ import annotations

from ray import serve

from whispergpt.deploy.ray.replica import Replica

_MOST_REQUESTS = 4096
"""Of one replica at once, sessions too. More than WHISPERGPT_MAX_SESSIONS and WHISPERGPT_MAX_REQUESTS together, so that
the server refuses whom it has no room for, by its reasons, before the proxy makes them wait."""
_MOST_QUEUED = 256
"""At each proxy, while no replica takes any; then it answers 503."""
_HEALTH_SECONDS = 5.0
"""Three failed checks end a replica; an engine that died is back sooner."""

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
