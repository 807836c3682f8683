"""Parts of a dashboard: panels, each with one or more queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["short", "s", "percentunit", "bytes"]
"""Names of units in Grafana: a number, seconds, a share, bytes."""


@dataclass(frozen=True)
class Query:
    """Query in PromQL with Grafana's ``$model`` and ``$__rate_interval``; ``legend`` may have ``{{label}}``."""

    expr: str
    legend: str

    def filled(self, interval: str, model: str = ".*") -> str:
        """Return the query for Prometheus, with rates over ``interval``, such as 30s, and a pattern of models."""
        return self.expr.replace("$__rate_interval", interval).replace("$model", model)


@dataclass(frozen=True)
class Panel:
    """A plot or a number on a dashboard.

    Attributes:
        says: description for readers, one or two sentences.
        bound: value of a line across the plot; a number at or above it is red.
    """

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    bound: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """A page of panels.

    Attributes:
        uid: permanent identifier in Grafana's addresses.
        name: name of its files.
        numbers: panels with a number, at the top.
        courses: plots over time, below.
    """

    uid: str
    name: str
    title: str
    numbers: tuple[Panel, ...]
    courses: tuple[Panel, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return self.numbers + self.courses
