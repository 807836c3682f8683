"""What ``GET /metrics`` says, as numbers."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.http import HTTP
from tests.support.waiting import wait_until


class Metrics:
    """One reading of a server's metrics."""

    def __init__(self, url: str) -> None:
        response = HTTP.get(f"{url}/metrics")
        response.raise_for_status()
        families = list(text_string_to_metric_families(response.text))
        self._samples = [sample for family in families for sample in family.samples]
        self._names = {family.name for family in families}

    def described(self, name: str) -> bool:
        """Whether a metric of this name is there, even one without a sample yet."""
        return name.removesuffix("_total") in self._names

    def sum(self, name: str, **labels: str) -> float:
        """The samples of this name that have these labels, added up."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )


def wait_for_idle(url: str) -> None:
    """Wait until no stream has a slot and none waits for one."""

    def idle() -> bool:
        metrics = Metrics(url)
        return metrics.sum("whispergpt_streams_active") == 0 and metrics.sum("whispergpt_streams_waiting") == 0

    wait_until(idle, "no stream is active")
