"""Report of ``whispergpt bench``, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from whispergpt.benchmarks.arithmetic import Traffic
from whispergpt.benchmarks.ours import Single
from whispergpt.benchmarks.peers.process import SkippedPeer
from whispergpt.benchmarks.realtime import Point, Search
from whispergpt.engine.config import FRAME_RATE


@dataclass(frozen=True)
class StageTimes:
    """Seconds of each stage of a step at the number of real-time streams, with all threads at work."""

    streams: int
    stage_seconds: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Measurements of a bench; ``as_json`` has the documented names.

    Attributes:
        again: the search repeated after the peers.
        flops: operations of one frame of one stream, by stage.
        ceilings: rate of matrix products in GFLOP/s, by dtype.
        peers: results of ``whispergpt.benchmarks.peers.measure``.
        slow_because: why this engine did not run on its fast path; None if it did.
    """

    device: str
    threads: int
    preset: str
    fingerprint: str
    seconds: float
    search: Search
    loaded: StageTimes
    flops: dict[str, float]
    traffic: Traffic
    ceilings: dict[str, float]
    again: Search | None = None
    slow_because: str | None = None
    single: Single | None = None
    snr_db: float | None = None
    curve: list[Point] | None = None
    peers: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[SkippedPeer] = field(default_factory=list)
    dtype: str = "float32"

    @property
    def streams_beside_peers(self) -> float:
        """Mean of this engine's real-time streams before and after the peers."""
        return (self.search.streams + self.again.streams) / 2 if self.again else self.search.streams

    @property
    def gemm_gflops(self) -> float:
        """Best rate of a matrix product in the precision that the step computes in."""
        return self.ceilings[self.dtype]

    @property
    def roofline_fraction(self) -> float:
        """Fraction of ``gemm_gflops`` that the whole loop reaches in real time."""
        return self.search.streams * FRAME_RATE * sum(self.flops.values()) / (self.gemm_gflops * 1e9)

    def stage_fractions(self) -> dict[str, float]:
        """Return the fraction of ``gemm_gflops`` that each stage reaches while it runs, at the real-time streams."""
        seconds = self.loaded.stage_seconds
        return {
            stage: flops * self.loaded.streams / seconds[stage] / (self.gemm_gflops * 1e9)
            for stage, flops in self.flops.items()
            if seconds.get(stage)
        }

    def as_json(self) -> dict[str, Any]:
        """Return the report for JSON, with the documented names first."""
        streams, fractions = self.search.streams, self.stage_fractions()
        said: dict[str, Any] = {
            "device": self.device,
            "threads": self.threads,
            "dtype": self.dtype,
            "preset": self.preset,
            "fingerprint": self.fingerprint,
            "single": asdict(self.single) if self.single else None,
            "realtime_streams": streams,
            "megaflops_per_frame": {stage: flops / 1e6 for stage, flops in self.flops.items()},
            "gemm_gflops": self.gemm_gflops,
            "roofline_fraction": self.roofline_fraction,
            "roofline_fraction_codec": fractions["codec"],
            "peers": [_with_ratio(peer, self.streams_beside_peers) for peer in self.peers],
            "quality": {"snr_db_vs_float32": self.snr_db} if self.snr_db is not None else None,
            "skipped": [asdict(peer) for peer in self.skipped],
            "slow_because": self.slow_because,
            "run_seconds": self.seconds,
            "realtime_streams_failed": self.search.failed,
            "realtime_streams_after_peers": self.again.streams if self.again else None,
            "roofline_fraction_by_stage": fractions,
            "stage_ms_at_realtime_streams": {k: 1e3 * v for k, v in self.loaded.stage_seconds.items()},
            "bytes_per_frame": asdict(self.traffic),
        }
        said |= {f"gemm_gflops_{dtype}": rate for dtype, rate in self.ceilings.items() if dtype != self.dtype}
        if self.curve is not None:
            said["curve"] = [{"streams": p.streams, "step_ms": 1e3 * p.step_seconds} for p in self.curve]
        return said

    def tables(self) -> Iterator[Table]:
        """Yield the report's tables."""
        yield self._summary()
        yield self._stages()
        if self.peers or self.skipped:
            yield self._peers()
        if self.curve is not None:
            yield self._curve()

    def _summary(self) -> Table:
        table = _table(f"{self.preset} on {self.device}, {self.threads} threads, {self.dtype}", "", "")
        streams, run = self.search.streams, f"{self.seconds:g} s runs, {self.search.failed} failed"
        table.add_row("real-time streams", f"{streams} ({run})")
        if self.again:
            table.add_row("real-time streams after the peers", f"{self.again.streams} ({self.again.failed} failed)")
        if self.single:
            first, frame = self.single.time_to_first_audio_ms, self.single.frame_ms
            table.add_row("one stream: time to first audio, p50 / p99", f"{first.p50:.1f} / {first.p99:.1f} ms")
            table.add_row("one stream: step, p50 / p99", f"{frame.p50:.2f} / {frame.p99:.2f} ms")
        for dtype, rate in self.ceilings.items():
            table.add_row(f"matrix product, {dtype}", f"{rate:.0f} GFLOP/s")
        told = f"fraction of the {self.dtype} product, whole loop"
        table.add_row(told, f"{self.roofline_fraction:.2f}")
        if self.snr_db is not None:
            table.add_row("signal to noise against float64", f"{self.snr_db:.1f} dB")
        table.add_row("fingerprint", self.fingerprint)
        if self.slow_because:
            table.add_row("slow because", self.slow_because)
        return table

    def _stages(self) -> Table:
        table = _table(f"Stages at {self.loaded.streams} streams", "stage", "MFLOP a frame", "ms", "of the product")
        fractions = self.stage_fractions()
        for stage, flops in self.flops.items():
            seconds = self.loaded.stage_seconds.get(stage, 0.0)
            row = (f"{flops / 1e6:.2f}", f"{1e3 * seconds:.2f}", f"{fractions.get(stage, 0.0):.2f}")
            table.add_row(stage, *row)
        return table

    def _peers(self) -> Table:
        table = _table("Peers", "peer", "streams", "ratio", "best variant")
        for peer in self.peers:
            told, ratio = _with_ratio(peer, self.streams_beside_peers), "-"
            for name, entry in ((peer["name"], told), ("… as published", told.get("as_published"))):
                if entry:
                    ratio = "-" if entry["ratio"] is None else f"{entry['ratio']:.1f} ×"
                    table.add_row(name, str(entry["realtime_streams"]), ratio, _described(entry["variant"]))
        for skipped in self.skipped:
            table.add_row(skipped.name, "-", "-", f"skipped: {skipped.reason}")
        return table

    def _curve(self) -> Table:
        table = _table("Step time", "streams", "ms", "ms a stream")
        for point in self.curve or []:
            ms = 1e3 * point.step_seconds
            table.add_row(str(point.streams), f"{ms:.2f}", f"{ms / point.streams:.3f}")
        return table


def _with_ratio(peer: dict[str, Any], streams: float) -> dict[str, Any]:
    """Return a peer's results with the ratio of ``streams`` to its own streams; None if the peer has none."""

    def rated(entry: dict[str, Any]) -> dict[str, Any]:
        own = entry["realtime_streams"]
        return entry | {"ratio": streams / own if own else None}

    said = rated(peer)
    if "as_published" in said:
        said["as_published"] = rated(said["as_published"])
    return said


def _described(variant: dict[str, Any]) -> str:
    how = "compiled" if variant["compiled"] else "eager"
    return f"{variant['dtype']}, {how}, {variant['frames']} frames a chunk"


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title, title_justify="left", show_header=any(columns))
    for column in table.columns[1:]:
        column.overflow = "fold"
    return table
