"""Run the check, write ``build/gpu-check.json`` and exit 0 if no kernel spills and all results are equal.

``python -m whispergpt.benchmarks.gpu_check [--all] [--frames N]``; ``--all`` compiles every kind of model in both
formats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch

from whispergpt.benchmarks.gpu_check.jobs import compile_one, jobs, step_of
from whispergpt.benchmarks.gpu_check.work import bfloat16_program, work_of
from whispergpt.engine.gpu.language import MISSING

REPORT = Path("build/gpu-check.json")
FRAMES = 16
"""Frames in the interpreter, some two seconds each; `--frames 200` is the full comparison."""
MOST_KERNELS, MOST_ABOVE_FLOOR, MOST_SECONDS = 100, 1.3, 6e-3
"""Bounds for the default model: kernels in a step, a stream's bytes relative to the least, modelled 8,192 streams."""


def interpret(frames: int) -> subprocess.Popen[str]:
    """Start the comparison in Triton's interpreter."""
    command = [sys.executable, "-m", "whispergpt.benchmarks.gpu_check.interpretation", str(frames)]
    return subprocess.Popen(command, env={**os.environ, "TRITON_INTERPRET": "1"}, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Check all, print a summary, and return the exit status."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every kind of model, in both formats")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"frames in the interpreter ({FRAMES})")
    arguments = parser.parse_args()
    if MISSING is not None:
        sys.stderr.write(f"gpu-check needs Triton: {MISSING}\n")
        return 2
    begun = time.monotonic()
    torch.set_num_threads(1)  # programs are laid out beside the interpreter
    with interpret(arguments.frames) as interpreter:
        with ProcessPoolExecutor(max(1, (os.cpu_count() or 2) - 1), get_context("spawn")) as pool:
            kernels = list(pool.map(compile_one, jobs(arguments.all)))
        said = interpreter.communicate()[0]
    step = step_of("default")
    work = work_of(step, bfloat16_program(step).launches)
    comparison = json.loads(said) if said else {"passed": False}
    within = {
        "kernels": work.kernels < MOST_KERNELS,
        "bytes": work.above_floor < MOST_ABOVE_FLOOR,
        "modelled_seconds": work.modelled[8192] < MOST_SECONDS,
    }
    passed = all(kernel.fits for kernel in kernels) and comparison["passed"] and all(within.values())
    report = {
        "passed": passed,
        "triton": _triton_version(),
        "interpreter": comparison,
        "within_bounds": within,
        "work": {**asdict(work), "above_floor": work.above_floor},
        "kernels": [{**asdict(kernel), "fits": kernel.fits} for kernel in kernels],
        "seconds": round(time.monotonic() - begun, 1),
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    for kernel in kernels:
        if not kernel.fits:
            print(f"{kernel.kernel} for {kernel.capability}: {kernel.spilled} bytes spilled, {kernel.shared} shared")  # noqa: T201
    print(  # noqa: T201
        f"{'passed' if passed else 'FAILED'}: {len(kernels)} compilations, {work.kernels} kernels a step, "
        f"{work.above_floor:.2f} × the least bytes, modelled {1e3 * work.modelled[8192]:.2f} ms for 8,192 streams "
        f"and real-time streams {work.modelled_streams}, "
        f"interpreter {comparison}; {REPORT} ({report['seconds']} s)"
    )
    return 0 if passed else 1


def _triton_version() -> str:
    import triton

    return str(triton.__version__)


if __name__ == "__main__":
    sys.exit(main())
