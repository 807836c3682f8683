"""What listeners hear: how soon, and whether without gaps."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import GAPS, LEAST_LEAD, MODEL, quantile, rate, spread, total
from whispergpt.engine.config import FRAME_RATE

_HEARD = f'{MODEL}, route!="/continue"'
"""Without what is mostly sent whole, where the first audio is the last too."""
_FIRST_AUDIO_BOUND = 0.25
"""Seconds: what 99 in 100 are to be within, docs/attacks.md."""
_FRAMES_A_MINUTE = 60 * FRAME_RATE

LISTENERS = Dashboard(
    uid="whispergpt",
    name="listeners",
    title="WHISPER-GPT: what listeners hear",
    numbers=(
        Panel("Streams playing", "Slots in use.", (Query(total("streams_active"), "playing"),)),
        Panel(
            "Time to first audio, p99 of 5 min",
            "From the request to the first audio, over the WebSocket and /v1/play.",
            (Query(quantile(0.99, "time_to_first_audio_seconds", _HEARD, "5m"), "p99"),),
            "s",
            _FIRST_AUDIO_BOUND,
        ),
        Panel(
            "Gaps in a minute of audio, 5 min",
            "As the server sees them. None where nothing was played.",
            (
                Query(
                    f"{_FRAMES_A_MINUTE} * sum(increase(whispergpt_underruns_total{{{MODEL}}}[5m]))"
                    f" / sum(increase(whispergpt_frames_total{{{MODEL}}}[5m]))",
                    "gaps",
                ),
            ),
            bound=0.1,
        ),
        Panel(
            "Alerts firing",
            "Of deploy/prometheus/alerts.yml.",
            (Query('count(ALERTS{alertname=~"Whispergpt.+", alertstate="firing"}) or vector(0)', "alerts"),),
            bound=1,
        ),
    ),
    courses=(
        Panel(
            "Time to first audio",
            "From the request to the first audio, over the WebSocket and /v1/play; waiting for a slot is part of it.",
            spread("time_to_first_audio_seconds", _HEARD),
            "s",
            _FIRST_AUDIO_BOUND,
        ),
        Panel(
            "Gaps a minute",
            "Times that a real-time stream fell behind playback, as the server sees it, and as players report it.",
            GAPS,
        ),
        Panel(
            "Playback lead",
            "Audio sent ahead of playback, by the real-time stream that has least; 0 where nothing plays.",
            (LEAST_LEAD,),
            "s",
        ),
        Panel(
            "Real-time factor",
            "Audio seconds over wall seconds of continuations that ended; below 1 somebody waited.",
            (
                Query(quantile(0.01, "realtime_factor"), "p1"),
                Query(quantile(0.5, "realtime_factor"), "p50"),
            ),
        ),
        Panel(
            "Audio made",
            "Seconds of audio a second: as many streams as play in real time.",
            (Query(f"{rate('frames_total', by='model')} / {FRAME_RATE}", "{{model}}"),),
        ),
        Panel(
            "How continuations end, a minute",
            "Cancelled: the client left or stopped it. Failed: the server's fault. Rejected: bad requests, or no room.",
            (Query(f"60 * {rate('requests_total', '', 'outcome')}", "{{outcome}}"),),
        ),
    ),
)
