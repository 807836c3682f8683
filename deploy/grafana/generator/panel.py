"""What a dashboard is made of: panels, each of one or more queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["short", "s", "percentunit", "bytes"]
"""Of Grafana's names of units, those that are used: a number, seconds, a share, bytes."""


@dataclass(frozen=True)
class Query:
    """PromQL with Grafana's ``$model`` and ``$__rate_interval``; ``legend`` may name labels, as ``{{label}}``."""

    expr: str
    legend: str

    def filled(self, interval: str, model: str = ".*") -> str:
        """The query as Prometheus takes it: rates over ``interval``, such as 30s, of models that match."""
        return self.expr.replace("$__rate_interval", interval).replace("$model", model)


@dataclass(frozen=True)
class Panel:
    """One picture, or one number.

    Attributes:
        says: how to read it, in a sentence or two.
        bound: a line across the picture, and from where on a number turns red.
    """

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    bound: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """One page.

    Attributes:
        uid: by which Grafana knows it in addresses, for good.
        name: of its files.
        numbers: what is told as a number, at the top.
        courses: what is drawn over time, below.
    """

    uid: str
    name: str
    title: str
    numbers: tuple[Panel, ...]
    courses: tuple[Panel, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return self.numbers + self.courses
