"""What a run under load says: JSON, and a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from whispergpt.load.heard import Heard, Summary, listening
from whispergpt.load.percentiles import Percentiles

LAG_TO_DOUBT_SECONDS = 0.02
"""From this lag on (p99), some of the gaps may be this program's own."""


@dataclass(frozen=True)
class LoadReport:
    """One run.

    Attributes:
        plan: the options that it was planned from.
        seconds: that it took.
        lag_ms: how late this program itself was; None where it ran too shortly to say.
    """

    url: str
    plan: dict[str, Any]
    seconds: float
    summary: Summary
    lag_ms: Percentiles | None
    records: Sequence[Heard]

    @property
    def doubtful(self) -> bool:
        """Whether this program was too slow to judge."""
        return self.lag_ms is not None and self.lag_ms.p99 > 1e3 * LAG_TO_DOUBT_SECONDS

    @property
    def all_failed(self) -> bool:
        """Whether somebody came, and nobody got an answer that a server gives: not even a refusal."""
        return bool(self.records) and all(record.outcome == "failed" for record in self.records)

    def as_json(self) -> dict[str, Any]:
        """The run, the sum, the course, and each listener."""
        return {
            "url": self.url,
            "plan": self.plan,
            "seconds": self.seconds,
            "heard": self.summary.as_json(),
            "generator_lag_ms": None if self.lag_ms is None else {"p50": self.lag_ms.p50, "p99": self.lag_ms.p99},
            "listening": [{"at": at, "listeners": count} for at, count in listening(self.records)],
            "listeners": [record.as_json() for record in self.records],
        }


def rows(summary: Summary) -> list[tuple[str, str]]:
    """The sum, a line each: what, and how much."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.listeners.items())
    gaps = f"{summary.underruns}, heard by {summary.underrun_listeners}, {summary.silent_seconds:.2f} s of silence"
    return [
        ("listeners", outcomes),
        ("playing at once", f"{summary.at_once} now, {summary.most_at_once} at most"),
        ("time to first audio, p50 / p99", _milliseconds(summary.time_to_first_audio_ms)),
        ("underruns", gaps),
        ("audio heard", f"{summary.audio_seconds:.0f} s"),
        ("refused after, p50 / p99", _milliseconds(summary.refused_after_ms)),
        *((f"{count} ×", reason) for reason, count in summary.reasons.items()),
    ]


def summary_table(url: str, seconds: float, summary: Summary) -> Table:
    """The same as a table, while it runs or at its end."""
    table = Table(title=f"{url}, {seconds:.0f} s", title_justify="left", show_header=False)
    for row in rows(summary):
        table.add_row(*row)
    return table


def _milliseconds(values: Percentiles | None) -> str:
    return "-" if values is None else f"{values.p50:.0f} / {values.p99:.0f} ms"
