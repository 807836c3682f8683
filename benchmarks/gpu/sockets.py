"""A real server with listeners over sockets: time to the first audio, and the listeners at the first gap."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

from whispergpt.benchmarks.attacks.tools.server_process import ROOT, ServerProcess
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.gpu.part import Trials
from whispergpt.benchmarks.ours import PROMPT_SECONDS
from whispergpt.engine.playback_clock import BUFFER_SECONDS
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import stream_address
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, Span, Visit, open_loop, steady
from whispergpt.load.processes import Crowding, hear_in
from whispergpt.load.record import ListenerRecord, sum_up

RATE = 20.0
"""Requests a second of the second measurement."""
IN_ONE_PROCESS = 400
"""Most listeners of one process, so that the generator is not late itself."""
_APART_SECONDS = 0.5
_SHORT = Span(1.0, 1.0)
_ASKED = Mix(_SHORT, Span(PROMPT_SECONDS, PROMPT_SECONDS), leave=0.0, live=0.0)
_LISTENING = Mix(_SHORT, _SHORT, leave=0.0, live=0.0)


def run(options: Options, tell: Tell) -> None:
    """Start a server, and let requests come one by one, then at ``RATE``, then listeners who stay."""
    # A package that the server lacks is named.
    import typer  # noqa: F401

    import whispergpt.server.run  # noqa: F401

    slots = max(64, min(4096, 2 * options.listeners))
    many = str(4 * slots)
    environment = {f"WHISPERGPT_MAX_{what}": many for what in ("SESSIONS", "REQUESTS")} | {
        "WHISPERGPT_MAX_WAITING": "4096",
        "WHISPERGPT_DECODE_WAITING": many,
        "WHISPERGPT_DECODE_PROCESSES": str(max(2, (os.cpu_count() or 2) // 3)),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    arguments = ("--device", options.device, "--max-streams", str(slots))
    with ServerProcess(*arguments, environment=environment) as server:
        address = stream_address(server.url)
        alone = steady(_ASKED, options.prompts // 3, 0.5, seed=1, apart=_APART_SECONDS)
        asked = open_loop(_ASKED, RATE * _ASKED.mean_seconds, options.requests / RATE, seed=2)
        trials = Trials(tell)
        for name, visits in {"idle": alone, f"at_{RATE:g}_a_second": asked}.items():
            with trials.trial(name):
                tell({name: _first_audio(_listen(address, visits))})
        with trials.trial("listeners"):
            tell({"listeners": _first_gap(address, options)})


def _first_gap(address: str, options: Options) -> dict[str, Any]:
    """Let listeners come steadily, all of whom stay to the end, and return how many played at the first gap."""
    count, arriving = options.listeners, options.listeners / options.arrivals
    visits = steady(_LISTENING, count, 1.0, seed=3, apart=1 / options.arrivals)
    stays = [arriving + options.stay - visit.at for visit in visits]
    visits = [replace(visit, seconds=each, stays=each) for visit, each in zip(visits, stays, strict=True)]
    heard = hear_in(-(-count // IN_ONE_PROCESS), Crowding(address, visits, [PROMPT], BUFFER_SECONDS))
    records = heard.records
    gaps = sorted(gap.at for record in records for gap in record.clock.gaps)
    until = gaps[0] if gaps else float("inf")
    summary = sum_up(records)
    playing = [
        (record.first_audio, record.ended or float("inf")) for record in records if record.first_audio is not None
    ]
    before = [at for at, _ in playing if at < until]
    return {
        "at_first_gap": max((sum(begun <= at < ended for begun, ended in playing) for at in before), default=0),
        "first_gap_after_seconds": gaps[0] if gaps else None,
        "most_at_once": summary.most_at_once,
        "outcomes": summary.listeners,
        "gaps": summary.underruns,
        "time_to_first_audio_ms": _times(records),
        "generator_lag_ms": vars(Percentiles.of([1e3 * lag for lag in heard.lags])),
        "reasons": summary.reasons,
    }


def _first_audio(records: list[ListenerRecord]) -> dict[str, Any]:
    return {"outcomes": sum_up(records).listeners, "time_to_first_audio_ms": _times(records)}


def _times(records: list[ListenerRecord]) -> dict[str, float] | None:
    """Return percentiles of the time to first audio; None if nobody heard any."""
    heard = [1e3 * record.time_to_first_audio for record in records if record.time_to_first_audio is not None]
    return vars(Percentiles.of(heard)) if heard else None


def _listen(address: str, visits: list[Visit]) -> list[ListenerRecord]:
    """Return the records of listeners that this process simulates by itself."""
    crowd = Crowding(address, visits, [PROMPT], BUFFER_SECONDS).crowd()
    asyncio.run(crowd.run())
    return crowd.records
