"""Hook that fills ``operating.md`` with every metric of the server, from ``server/observe/metrics.py``."""

from __future__ import annotations

import os

from markdown_table import fill, table
from mkdocs.structure.pages import Page
from prometheus_client.metrics import MetricWrapperBase

from whispergpt.server.observe.metrics import Metrics

PAGE = "operating.md"


def on_page_markdown(markdown: str, /, *, page: Page, config: object, files: object) -> str:
    return fill(markdown, "metrics", metrics_table()) if page.file.src_uri == PAGE else markdown


def metrics_table() -> str:
    """Return a table of all metrics: name, kind, labels and description."""
    metrics = Metrics()
    metrics.processes.engines.add(os.getpid())  # otherwise the metrics of the engine's process are left out
    ours = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    labels = {family.name: metric._labelnames for metric in ours for family in metric.describe()}
    rows = [
        (
            f"`{family.name}_total`" if family.type == "counter" else f"`{family.name}`",
            family.type,
            ", ".join(f"`{label}`" for label in labels.get(family.name, ())),
            family.documentation,
        )
        for family in metrics.registry.collect()
    ]
    return table(("metric", "kind", "labels", "description"), rows)
