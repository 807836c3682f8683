"""Run the parts, write ``build/gpu.json`` after each, print a summary, and exit 0 if parity and tests hold.

``python -m whispergpt.benchmarks.gpu [--device cuda] [--seconds 230] [--only PART …] [--out FILE]``; ``--device cpu``
runs the same code at small sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

try:
    from whispergpt.benchmarks.gpu.options import Options, options_for
    from whispergpt.benchmarks.gpu.part import prepare, run_part
    from whispergpt.benchmarks.gpu.summary import passed, summary
    from whispergpt.engine.device import DeviceError, pick_device
    from whispergpt.engine.gpu.language import MISSING
    from whispergpt.engine.whole_file import whole_file
except ModuleNotFoundError as error:  # of the few packages without which nothing can be measured
    sys.exit(f"The measurements need the package {error.name!r}, as pyproject.toml names it; install it, or its wheel.")

REPORT = Path("build/gpu.json")
SECONDS = 225.0
"""Longest time of all parts together."""
LEAST_SECONDS = 2.0
"""Time without which no part is begun."""
PARTS = {
    "parity": 60.0,
    "steps": 60.0,
    "prompts": 40.0,
    "streams": 70.0,
    "sockets": 80.0,
    "tests": 60.0,
    "peers": 40.0,
}
"""Parts in the order of their value, each with its own longest time in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 1 if parity, tests or a part failed."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for small sizes")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"longest time in all ({SECONDS:g})")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--out", type=Path, default=REPORT, help=f"the report ({REPORT})")
    given = parser.parse_args(arguments)
    try:
        pick_device(given.device)
    except DeviceError as error:
        parser.error(str(error))
    report = measure(
        options_for(given.device), given.seconds, [part for part in PARTS if part in given.only], given.out
    )
    print(summary(report))  # noqa: T201
    print(f"{given.out} ({report['seconds']:.0f} s)")  # noqa: T201
    return 0 if passed(report) else 1


def measure(options: Options, seconds: float, parts: Sequence[str], out: Path) -> dict[str, Any]:
    """Run ``parts`` within ``seconds`` in all, and return the report, which is written to ``out`` after each."""
    begun = time.monotonic()
    prepare(["whispergpt.engine.engine", "whispergpt.benchmarks.ours", "whispergpt.benchmarks.gpu_check.work"])
    report: dict[str, Any] = {"device": described(options.device), "parts": {}}
    for name in parts:
        left = seconds - (time.monotonic() - begun)
        if left < LEAST_SECONDS:
            report["parts"][name] = {"error": f"No time was left of {seconds:g} s."}
        else:
            print(f"{name} …", file=sys.stderr, flush=True)  # noqa: T201
            report["parts"][name] = run_part(f"whispergpt.benchmarks.gpu.{name}", options, min(left, PARTS[name]))
        report["seconds"] = round(time.monotonic() - begun, 1)
        _write(out, report)
    return report


def described(device: str) -> dict[str, Any]:
    """Return what the figures are of: the device, and the versions that compute on it."""
    told: dict[str, Any] = {"name": device, "torch": torch.__version__, "python": sys.version.split()[0]}
    if MISSING is None:
        import triton

        told["triton"] = triton.__version__
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        told |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return told


def _write(out: Path, report: dict[str, Any]) -> None:
    """Write the report so that a reader finds a whole one."""
    with whole_file(out) as whole:
        whole.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
