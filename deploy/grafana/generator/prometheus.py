"""Client of Prometheus' HTTP interface."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Self

import httpx

_SECONDS = 30.0
"""Longest wait for an answer."""
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class PrometheusError(Exception):
    """Prometheus cannot be reached or rejects the query; the message is for the user."""


@dataclass(frozen=True)
class Series:
    """A series: its labels, and its values at ``times`` (seconds since 1970)."""

    labels: dict[str, str]
    times: list[float]
    values: list[float]

    def named(self, legend: str) -> str:
        """Return the legend with each ``{{label}}`` filled in, as Grafana does."""
        return _LABEL.sub(lambda found: self.labels.get(found[1], ""), legend)


class Prometheus:
    """Client of a Prometheus server; a context manager that closes its connections.

    Args:
        url: address, such as http://127.0.0.1:9090.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(timeout=_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def now(self, query: str) -> list[Series]:
        """Return the current value of each series of a query.

        Raises:
            PrometheusError: Prometheus cannot be reached or rejects the query.
        """
        found = self._ask("query", {"query": query})
        if found["resultType"] == "scalar":
            return [_series({}, [found["result"]])]
        return [_series(one["metric"], [one["value"]]) for one in found["result"]]

    def course(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Return the series of a query from ``start`` to ``end`` (seconds since 1970), every ``step`` seconds.

        Raises:
            PrometheusError: Prometheus cannot be reached or rejects the query.
        """
        span = {"start": str(start), "end": str(end), "step": str(step)}
        found = self._ask("query_range", {"query": query} | span)
        return [_series(one["metric"], one["values"]) for one in found["result"]]

    def _ask(self, what: str, fields: dict[str, str]) -> dict[str, Any]:
        try:
            answer = self._http.post(f"{self._url}/api/v1/{what}", data=fields)
            told = answer.json()
            if told["status"] == "success":
                return dict(told["data"])
            reason = told["error"]
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise PrometheusError(f"No Prometheus can be reached at {self._url}: {str(error).rstrip('.')}.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            raise PrometheusError(f"What answers at {self._url} is no Prometheus.") from None
        raise PrometheusError(f"Prometheus does not take the query {fields['query']!r}: {reason.rstrip('.')}.")


def _series(labels: dict[str, str], points: list[list[Any]]) -> Series:
    return Series(labels, [float(point[0]) for point in points], [float(point[1]) for point in points])
