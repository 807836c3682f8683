"""Queries that dashboards share, and the shapes that most of them have."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Query

MODEL = 'model=~"$model"'


def rate(name: str, where: str = MODEL, by: str = "") -> str:
    """Of a counter, a second, added up over all labels but those that ``by`` names."""
    return f"sum{f' by ({by})' if by else ''} (rate(whispergpt_{name}{{{where}}}[$__rate_interval]))"


def quantile(share: float, name: str, where: str = MODEL, over: str = "$__rate_interval") -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, sum by (le) (rate(whispergpt_{name}_bucket{{{where}}}[{over}])))"


def spread(name: str, where: str = MODEL) -> tuple[Query, ...]:
    """A histogram's middle and its far end."""
    return (Query(quantile(0.5, name, where), "p50"), Query(quantile(0.99, name, where), "p99"))


def total(name: str) -> str:
    """Of a gauge, over all models and servers."""
    return f"sum(whispergpt_{name}{{{MODEL}}})"


GAPS = (
    Query(f"60 * {rate('underruns_total')}", "seen by the server"),
    Query(f"60 * {rate('listener_underruns_total')}", "reported by listeners"),
)
"""A minute."""
LEAST_LEAD = Query("min(whispergpt_playback_lead_seconds)", "least")
