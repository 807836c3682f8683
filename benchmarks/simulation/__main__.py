"""Simulate listeners at a region of machines, and report what they heard.

The machines' settings are those of the server, from its environment (``WHISPERGPT_MAX_WAITING``, …).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from rich.console import Console

from whispergpt.benchmarks.simulation.autoscaler import Autoscaler
from whispergpt.benchmarks.simulation.plan import Plan, Surge
from whispergpt.benchmarks.simulation.profile import MEASURED, Profile, read_profile
from whispergpt.benchmarks.simulation.region import Region
from whispergpt.benchmarks.simulation.report import FleetReport, draw
from whispergpt.benchmarks.simulation.router import Rule
from whispergpt.engine.extras import require_package
from whispergpt.load.plan import Mix, Span
from whispergpt.server.settings import Settings


def simulate(plan: Plan, profile: Profile, settings: Settings) -> FleetReport:
    """Play a plan to its end and return the report.

    Raises:
        ValueError: the plan has too many listeners.
    """
    began = time.perf_counter()
    region = Region(plan, profile, settings)
    region.run()
    bears = profile.bears(settings.max_streams, settings.max_load)
    return FleetReport.of(region, bears, time.perf_counter() - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.simulation", description=__doc__)
    add = parser.add_argument
    add("--machines", type=int, default=20, help="machines at the start")
    add("--load", type=float, default=0.8, help="average listeners at once, as a share of the machines' limit")
    add("--listeners", type=float, help="average listeners at once, instead of --load")
    add("--duration", type=float, default=600.0, help="seconds during which listeners arrive")
    add("--seconds", type=_span, default=Span(5, 30), metavar="LEAST:MOST", help="seconds of audio for each, random")
    add("--router", choices=get_args(Rule), default="most-slack", help="rule that chooses a machine")
    add("--tries", type=int, default=1, help="machines to ask before a refusal counts")
    add("--report-seconds", type=float, default=1.0, help="seconds between two reports of the machines' slack")
    add("--notice-seconds", type=float, default=1.0, help="seconds until the router notices a dead machine")
    add(
        "--die", type=float, action="append", default=[], metavar="AT", help="kill a machine at this second; repeatable"
    )
    add("--surge", type=_surge, metavar="FACTOR:AT:SECONDS", help="FACTOR times as many listeners, from AT for SECONDS")
    add("--autoscale", type=float, metavar="SPARE", help="autoscale to keep this slack, as a share of the listeners")
    add("--calm-seconds", type=float, default=300.0, help="seconds of lower demand before a machine is removed")
    add("--generator", action="store_true", help="the load generator runs on the same machine")
    add("--chunk", type=int, default=15, help="frames per decision of a scheduler; 1 is exact, more is faster")
    add("--seed", type=int, default=0, help="seed of arrivals and step times")
    add("--profile", type=Path, default=MEASURED, help="costs of a machine, a file written by simulation.measure")
    add("--plot", type=Path, help="plot the run over time into this file")
    add("--json", action="store_true", help="print JSON alone")
    return parser


def _span(text: str) -> Span:
    least, _, most = text.partition(":")
    try:
        return Span(float(least), float(most or least))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a span of seconds, such as 2:20.") from None


def _surge(text: str) -> Surge:
    try:
        factor, at, seconds = (float(part) for part in text.split(":"))
        return Surge(factor, at, seconds)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a surge, such as 2:120:240.") from None


def _plan(options: argparse.Namespace, profile: Profile, settings: Settings) -> Plan:
    bears = profile.bears(settings.max_streams, settings.max_load)
    listeners = options.load * options.machines * bears if options.listeners is None else options.listeners
    scaler = None
    if options.autoscale is not None:
        scaler = Autoscaler(options.autoscale, calm_seconds=options.calm_seconds)
    return Plan(
        options.machines,
        listeners,
        options.duration,
        Mix(options.seconds),
        options.router,
        options.tries,
        options.report_seconds,
        options.notice_seconds,
        tuple(options.die),
        options.surge,
        scaler,
        settings.drain_seconds,
        options.chunk,
        options.seed,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.plot and not options.plot.resolve().parent.is_dir():
        parser.error(f"--plot: {options.plot.parent} is not a folder")
    try:
        if options.plot:
            require_package("matplotlib", "--plot", "plot")
        settings = Settings()
        profile = read_profile(options.profile)
        if options.generator:
            profile = profile.with_generator()
        report = simulate(_plan(options, profile, settings), profile, settings)
    except ValidationError as error:
        parser.error(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}")
    except ValueError as error:
        parser.error(str(error))
    if options.plot:
        draw(report, options.plot)
    if options.json:
        print(json.dumps(report.as_json()))  # noqa: T201
    else:
        Console().print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
