"""Outcomes of continuations, each counted once."""

from __future__ import annotations

import time
from typing import Literal

from whispergpt.server.errors import ApiError
from whispergpt.server.observe.metrics import Metrics

Outcome = Literal["completed", "cancelled", "failed", "rejected"]


class Account:
    """One continuation asked for on ``route``; the first outcome counts."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        self.outcome: Outcome | None = None
        self._metrics, self._route = metrics, route
        self._begun = time.perf_counter()

    def end(self, outcome: Outcome) -> None:
        """Record the outcome; only the first call counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._metrics.requests.labels(self._route, outcome).inc()
            self._metrics.request_duration.labels(self._route).observe(time.perf_counter() - self._begun)

    def refuse(self, error: ApiError) -> None:
        """Record an error as the outcome: ``rejected`` for the request's fault or want of room, else ``failed``."""
        count_refusal(self._metrics, error)
        self.end("failed" if _is_ours(error) else "rejected")


def count_refusal(metrics: Metrics, error: ApiError) -> None:
    """Count an error that the client can avoid, once."""
    if not _is_ours(error) and not error.counted:
        error.counted = True
        metrics.rejected.labels(error.code).inc()


def _is_ours(error: ApiError) -> bool:
    return error.status == 500 or error.code in ("engine_lost", "cut_off")
