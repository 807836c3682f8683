"""Measurement of one peer: short probes choose chunk, precision and compilation; the best gets the full run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from whispergpt.benchmarks.peers.peer import PeerModule, PeerRunner, Sizes, Variant
from whispergpt.benchmarks.realtime import Point, Run, curve, estimate, most_streams

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Probe:
    """Result of a short measurement of one variant; ``failed`` says why the variant does not run."""

    variant: Variant
    points: list[Point] = field(default_factory=list)
    failed: str | None = None

    @property
    def batch(self) -> int | None:
        """Streams of each group if several groups in turn play more streams than one; None for a single group."""
        best = max(self.points, key=lambda p: p.rate(self.variant.frames))
        in_one = estimate(self.points, self.variant.frames)
        return best.streams if best.streams < in_one < best.rate(self.variant.frames) else None

    @property
    def streams(self) -> float:
        """Estimated real-time streams."""
        if not self.points:
            return 0.0
        in_one = estimate(self.points, self.variant.frames)
        return max([in_one, *(p.rate(self.variant.frames) for p in self.points if p.streams < in_one)])

    def described(self) -> dict[str, Any]:
        """Return the probe for the report."""
        said = asdict(self.variant) | {"estimated_streams": round(self.streams, 2)}
        return said | ({"failed": self.failed} if self.failed else {"batch": self.batch})


def measure(module: PeerModule, sizes: Sizes, device: torch.device, seconds: float, tell: Tell) -> dict[str, Any]:
    """Measure all variants in short probes and the best one in full runs of ``seconds``; return the peer's results.

    Raises:
        ImportError: a package is missing.
    """
    probes = [_probe(module, sizes, Variant(frames=n), device, seconds, tell) for n in module.CHUNKS]
    frames = max(probes, key=lambda p: p.streams).variant.frames
    for variant in (
        Variant("bfloat16", False, frames),
        Variant("float32", True, frames),
        Variant("bfloat16", True, frames),
    ):
        probes.append(_probe(module, sizes, variant, device, seconds, tell))
    best = max(probes, key=lambda p: p.streams)
    if best.streams == 0:
        raise RuntimeError("; ".join(f"{p.variant}: {p.failed}" for p in probes))
    result: dict[str, Any] = {"name": module.NAME, **_full_run(module, sizes, best, device, seconds, tell)}
    if module.PUBLISHED_CHUNK is not None:
        plain = Variant(frames=module.PUBLISHED_CHUNK, as_published=True)
        probe = _probe(module, sizes, plain, device, seconds, tell)
        probes.append(probe)
        if probe.points:
            result["as_published"] = _full_run(module, sizes, probe, device, seconds, tell)
    return result | {"variants": [p.described() for p in probes]}


def _probe(
    module: PeerModule, sizes: Sizes, variant: Variant, device: torch.device, seconds: float, tell: Tell
) -> Probe:
    """Measure step times at growing batches, each for a sixtieth of a run; a failure is reported, not raised."""
    try:
        points = curve(PeerRunner(module.load(sizes, variant, device), variant.frames), seconds / 60)
    except ImportError:
        raise
    except Exception as error:  # bfloat16 and compilation may fail in any way; the report says how
        reason = str(error).strip().splitlines() or [type(error).__name__]
        probe = Probe(variant, failed=f"{type(error).__name__}: {reason[0]}")
    else:
        probe = Probe(variant, points)
    tell(f"{module.NAME}: {_short(variant)}: {probe.failed or f'about {probe.streams:.1f} streams'}")
    return probe


def _full_run(
    module: PeerModule, sizes: Sizes, probe: Probe, device: torch.device, seconds: float, tell: Tell
) -> dict[str, Any]:
    def told(run: Run) -> None:
        tell(f"{module.NAME}: {run.streams} streams {'held' if run.held else 'failed'}")

    runner = PeerRunner(module.load(sizes, probe.variant, device), probe.variant.frames, probe.batch)
    found = most_streams(runner, probe.streams, seconds, told=told)
    return {"realtime_streams": found.streams, "variant": probe.described()}


def _short(variant: Variant) -> str:
    said = f"{variant.dtype}, {'compiled' if variant.compiled else 'eager'}, {variant.frames} frames"
    return said + (", as published" if variant.as_published else "")
