"""Start a server, attack it, and print the measurements as JSON.

The exit status is 1 if the server did not withstand the attack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from whispergpt.benchmarks.attacks import drain, fuzz, hold, kill, overload, schedules, stall, steady, vanish
from whispergpt.benchmarks.attacks.tools.prompts import MODEL
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

_ROOM = {"WHISPERGPT_MAX_LOAD": "0", "WHISPERGPT_MAX_STREAMS": "96", "WHISPERGPT_MAX_WAITING": "96"}
"""Settings that refuse no stream, since an attack that admission control stops would test nothing else."""
_NO_LINE = {"WHISPERGPT_MAX_WAITING": "0", "WHISPERGPT_PROMPT_CACHE_BYTES": "0"}
"""Settings without a queue, whose wait would count as time to first audio, and without a prompt cache."""


@dataclass(frozen=True)
class Attack:
    """One attack and its server.

    Attributes:
        count: default of ``--count``.
        of: unit of ``count``, for the help.
        settings: environment of the server.
        keys: names of the server's API keys, each with its limit of streams.
    """

    run: Callable[[ServerProcess, int, int], Coroutine[Any, Any, dict[str, Any]]]
    count: int
    of: str
    settings: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int | None] = field(default_factory=dict)


ATTACKS = {
    "vanish": Attack(vanish.vanish, 10_000, "connections", _ROOM),
    "stall": Attack(stall.stall, 64, "readers that stop reading", {"WHISPERGPT_MAX_WAITING": "96"}),
    "fuzz": Attack(fuzz.fuzz, 100_000, "messages and uploads", _ROOM | {"WHISPERGPT_PROMPT_CACHE_BYTES": "0"}),
    "kill": Attack(kill.kill, 20, "deaths of the engine"),
    "drain": Attack(drain.drain, 8, "listeners at SIGTERM", drain.SETTINGS),
    "schedules": Attack(schedules.schedules, 1_000, "random schedules", _ROOM),
    "steady": Attack(steady.steady, 60, "minutes at four fifths of the limit", _NO_LINE),
    "hold": Attack(hold.hold, 10, "minutes of one key that holds all it can get", hold.SETTINGS, hold.KEYS),
    "overload": Attack(overload.overload, 10, "minutes at twice the limit", _NO_LINE),
}


def attack(name: str, count: int | None = None, seed: int = 0, workers: int = 1) -> dict[str, Any]:
    """Start a server with ``workers`` front ends, attack it, and return the measurements.

    ``held`` says whether the server withstood the attack.
    """
    chosen = ATTACKS[name]
    with TemporaryDirectory() as folder, ExitStack() as running:
        file = Path(folder) / "keys.toml"
        keys = {key: add_key(file, key, streams, None) for key, streams in chosen.keys.items()}
        asked_for = ("--keys", str(file)) if keys else ()
        arguments = ("--model", MODEL, "--workers", str(workers), *asked_for)
        served = running.enter_context(ServerProcess(*arguments, environment=chosen.settings))
        served.keys = keys
        began = time.monotonic()
        measured = asyncio.run(chosen.run(served, chosen.count if count is None else count, seed))
    return {"attack": name, "workers": workers, "seconds": round(time.monotonic() - began, 1)} | measured


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.attacks", description=__doc__)
    parser.add_argument("name", choices=ATTACKS, help="; ".join(f"{name}: {one.of}" for name, one in ATTACKS.items()))
    parser.add_argument("--count", type=int, help="how many of the named units; the default depends on the attack")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attack's random choices")
    parser.add_argument("--workers", type=int, default=1, help="front ends of the attacked server")
    options = parser.parse_args()
    if options.count is not None and options.count < 1:
        parser.error("--count must be at least 1")
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    measured = attack(options.name, options.count, options.seed, options.workers)
    print(json.dumps(measured, indent=1))  # noqa: T201
    return 0 if measured["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
