"""Queries and query builders that dashboards share."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Query

MODEL = 'model=~"$model"'


def rate(name: str, where: str = MODEL, by: str = "") -> str:
    """Return the query of a counter's rate per second, summed over all labels except those in ``by``."""
    return f"sum{f' by ({by})' if by else ''} (rate(whispergpt_{name}{{{where}}}[$__rate_interval]))"


def quantile(share: float, name: str, where: str = MODEL, over: str = "$__rate_interval") -> str:
    """Return the query of a histogram's quantile."""
    return f"histogram_quantile({share}, sum by (le) (rate(whispergpt_{name}_bucket{{{where}}}[{over}])))"


def spread(name: str, where: str = MODEL) -> tuple[Query, ...]:
    """Return the queries of a histogram's median and 99th percentile."""
    return (Query(quantile(0.5, name, where), "p50"), Query(quantile(0.99, name, where), "p99"))


def total(name: str) -> str:
    """Return the query of a gauge's sum over all models and servers."""
    return f"sum(whispergpt_{name}{{{MODEL}}})"


GAPS = (
    Query(f"60 * {rate('underruns_total')}", "seen by the server"),
    Query(f"60 * {rate('listener_underruns_total')}", "reported by listeners"),
)
"""Queries of the gaps per minute."""
LEAST_LEAD = Query("min(whispergpt_playback_lead_seconds)", "least")
