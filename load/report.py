"""Report of a load run, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from whispergpt.load.percentiles import Percentiles
from whispergpt.load.record import ListenerRecord, Summary, listening

LAG_TO_DOUBT_SECONDS = 0.02
"""Largest p99 of the load generator's own delay at which the results are trusted."""


@dataclass(frozen=True)
class LoadReport:
    """Results of one run.

    Attributes:
        plan: options of the run.
        seconds: length of the run.
        lag_ms: delay of the load generator itself; None if the run was too short to measure it.
    """

    url: str
    plan: dict[str, Any]
    seconds: float
    summary: Summary
    lag_ms: Percentiles | None
    records: Sequence[ListenerRecord]

    @property
    def doubtful(self) -> bool:
        """Whether the load generator was too slow for its results to be trusted."""
        return self.lag_ms is not None and self.lag_ms.p99 > 1e3 * LAG_TO_DOUBT_SECONDS

    @property
    def useless(self) -> bool:
        """Whether the run measured nothing, not even a refusal."""
        return all(record.outcome == "failed" for record in self.records)

    @property
    def nobody_served(self) -> str | None:
        """Sentence that says why no listener was served; None if one was, or left before."""
        if not self.records:
            return "No listener came; give a longer --duration or more --streams."
        if any(record.outcome not in ("failed", "refused") for record in self.records):
            return None
        told = "Every listener failed" if self.useless else "No listener was served"
        return f"{told}: {next(iter(self.summary.reasons), 'without a reason').rstrip('.')}."

    def as_json(self) -> dict[str, Any]:
        """Return the run, its sums, the number of listeners over time, and each listener."""
        return {
            "url": self.url,
            "plan": self.plan,
            "seconds": self.seconds,
            "heard": self.summary.as_json(),
            "generator_lag_ms": self.lag_ms and asdict(self.lag_ms),
            "generator_was_late": self.doubtful,
            "listening": [{"at": at, "listeners": count} for at, count in listening(self.records)],
            "listeners": [record.as_json() for record in self.records],
        }


def rows(summary: Summary) -> list[tuple[str, str]]:
    """Return the sums as rows of a name and a value."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.listeners.items())
    gaps = f"{summary.underruns}, heard by {summary.underrun_listeners}, {summary.silent_seconds:.2f} s of silence"
    return [
        ("listeners", outcomes),
        ("playing at once", f"{summary.at_once} now, {summary.most_at_once} at most"),
        ("time to first audio, p50 / p95 / p99", _milliseconds(summary.time_to_first_audio_ms)),
        ("first playable, p50 / p95 / p99", _milliseconds(summary.first_playable_ms)),
        ("underruns", gaps),
        ("no gap above 50 ms (c50)", "-" if summary.c50 is None else f"{100 * summary.c50:.1f} %"),
        ("audio heard", f"{summary.audio_seconds:.0f} s"),
        ("refused after, p50 / p95 / p99", _milliseconds(summary.refused_after_ms)),
        *((f"{count} ×", reason) for reason, count in summary.reasons.items()),
    ]


def summary_table(url: str, seconds: float, planned: str, summary: Summary) -> Table:
    """Return the sums as a table; ``planned`` is the number of listeners that the run asked for."""
    table = Table(title=f"{url}, ran {seconds:.0f} s\n{planned}", title_justify="left", show_header=False)
    for row in rows(summary):
        table.add_row(*row)
    return table


def _milliseconds(values: Percentiles | None) -> str:
    return "-" if values is None else f"{values.p50:.0f} / {values.p95:.0f} / {values.p99:.0f} ms"
