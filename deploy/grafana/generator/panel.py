"""Parts of a dashboard: panels, each with one or more queries."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Unit: TypeAlias = Literal["short", "s", "percentunit", "bytes"]
"""Names of units in Grafana: a number, seconds, a share, bytes."""


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query in PromQL with Grafana's ``$model`` and ``$__rate_interval``; ``legend`` may have ``{{label}}``."""

    expr: str
    legend: str

    def filled(self, interval: str) -> str:
        """Return the query for Prometheus: of all models, with rates over ``interval``, such as 30s."""
        return self.expr.replace("$__rate_interval", interval).replace("$model", ".*")


class Panel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class Dashboard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
