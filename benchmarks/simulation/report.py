"""Report of a simulated region: JSON, a table and a plot."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from whispergpt.benchmarks.simulation.region import Region
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.record import Summary, sum_up
from whispergpt.load.report import rows

SOUGHT_MS = 250.0
"""Target of the time to first audio in milliseconds."""


@dataclass(frozen=True)
class FleetReport:
    """Results of one run.

    Attributes:
        bears: limit of real-time streams of one machine by its profile, without prompts.
        use: share of the machines' time spent in steps while listeners arrived.
        streams_a_step, step_ms: average streams and milliseconds of a step.
        moved: listeners that moved to another machine.
        unheard: listeners that moved without a gap.
        prompt_share: share of listeners with first audio within ``SOUGHT_MS``.
        audio_per_machine: seconds of audio per machine second while listeners arrived.
        wall_seconds: running time of the simulation.
    """

    region: Region
    summary: Summary
    bears: int
    use: float
    streams_a_step: float
    step_ms: float
    moved: int
    unheard: int
    prompt_share: float
    audio_per_machine: float
    wall_seconds: float

    @classmethod
    def of(cls, region: Region, bears: int, wall_seconds: float) -> FleetReport:
        """Return the report of a finished run."""
        records = [listener.record for listener in region.listeners]
        summary = sum_up(records)
        steps = sum(machine.steps for machine in region.machines)
        busy = sum(machine.busy for machine in region.machines)
        moved = [listener for listener in region.listeners if listener.moves]
        first = [record.time_to_first_audio for record in records if record.time_to_first_audio is not None]
        return cls(
            region,
            summary,
            bears,
            region.stepped_seconds / max(1.0, region.machine_seconds),
            sum(machine.frames for machine in region.machines) / max(1, steps),
            1e3 * busy / max(1, steps),
            len(moved),
            sum(not listener.record.clock.gaps and listener.record.outcome != "failed" for listener in moved),
            sum(1e3 * seconds <= SOUGHT_MS for seconds in first) / max(1, len(first)),
            region.audio_seconds / max(1.0, region.machine_seconds),
            wall_seconds,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the plan, the origin of the costs, the sums, and a sample for each second."""
        samples, profile = self.region.samples, self.region.profile
        arrived = max(1, self.summary.listeners["arrived"])
        return {
            "plan": self.region.plan.as_json(),
            "machine": {"name": profile.machine, "measured": profile.date, "bears": self.bears},
            "heard": self.summary.as_json(),
            "refused": self.summary.listeners.get("refused", 0) / arrived,
            "prompt_share": self.prompt_share,
            "use": self.use,
            "streams_a_step": self.streams_a_step,
            "step_ms": self.step_ms,
            "moved": self.moved,
            "moved_unheard": self.unheard,
            "machines_most": max((s.starting + s.ready + s.draining for s in samples), default=0),
            "machine_seconds": self.region.machine_seconds,
            "audio_per_machine": self.audio_per_machine,
            "wall_seconds": round(self.wall_seconds, 1),
            "course": [asdict(sample) for sample in samples],
        }

    def table(self) -> Table:
        """Return the report as a table."""
        plan, summary = self.region.plan, self.summary
        title = f"{plan.machines} machines, {plan.listeners:.0f} listeners, {plan.router}, {plan.duration:.0f} s"
        table = Table(title=title, title_justify="left", show_header=False)
        refused = summary.listeners.get("refused", 0) / max(1, summary.listeners["arrived"])
        waits = [listener.record.time_to_first_audio for listener in self.region.listeners]
        p50 = Percentiles.of([1e3 * wait for wait in waits if wait is not None] or [0.0]).p50
        told = [
            *rows(summary)[:5],
            ("refused", f"{100 * refused:.1f} %"),
            (f"first audio within {SOUGHT_MS:.0f} ms", f"{100 * self.prompt_share:.1f} %, median {p50:.0f} ms"),
            ("time spent in steps", f"{100 * self.use:.0f} %"),
            ("a step", f"{self.streams_a_step:.1f} streams in {self.step_ms:.2f} ms"),
            ("moved to another machine", f"{self.moved}, {self.unheard} of them without a gap"),
            ("audio", f"{self.audio_per_machine:.1f} s for each second of a machine"),
            ("this simulation took", f"{self.wall_seconds:.1f} s"),
        ]
        for row in told:
            table.add_row(*row)
        return table


def draw(report: FleetReport, path: Path) -> None:
    """Plot streams and limits, machines, times to first audio, refusals and gaps over time.

    The file's ending selects its format.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write this format.
    """
    from matplotlib import ticker
    from matplotlib.figure import Figure

    samples, records = report.region.samples, [listener.record for listener in report.region.listeners]
    at = [sample.at for sample in samples]
    figure = Figure(figsize=(8, 8), layout="constrained")
    streams, machines, first, gaps = figure.subplots(4, height_ratios=(3, 1.5, 2, 1.5), sharex=True)
    streams.plot(at, [sample.limit for sample in samples], color="#999999", label="limit of the ready machines")
    streams.plot(at, [sample.streams for sample in samples], color="#2a78b8", label="streams")
    streams.set(ylabel="streams", ylim=(0, None))
    streams.legend(loc="lower right")
    kinds = ("ready", "draining", "starting")
    machines.stackplot(
        at,
        *([getattr(sample, kind) for sample in samples] for kind in kinds),
        labels=kinds,
        colors=("#8ab6d6", "#e0a030", "#cccccc"),
        step="post",
    )
    machines.set(ylabel="machines")
    machines.legend(loc="lower right", ncols=3)
    heard = [(r.asked, 1e3 * wait) for r in records if r.asked is not None and (wait := r.time_to_first_audio)]
    first.plot([when for when, _ in heard], [ms for _, ms in heard], ".", markersize=2, alpha=0.4, rasterized=True)
    first.set(ylabel="time to first audio [ms]", yscale="log")
    first.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    first.yaxis.set_major_formatter("{x:g}")
    first.yaxis.set_minor_formatter(ticker.NullFormatter())
    bins = [float(second) for second in range(0, int(report.region.plan.duration) + 11, 10)]
    refused = [r.came for r in records if r.outcome == "refused"]
    silent = [gap.at for r in records for gap in r.clock.gaps]
    gaps.hist([refused, silent], bins=bins, color=["#e0a030", "#c03030"], label=["refused", "gaps"])
    gaps.set(ylabel="count per 10 s", xlabel="seconds")
    gaps.legend(loc="upper left")
    figure.savefig(path, dpi=110)
