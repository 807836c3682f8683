"""Dashboard of what listeners hear: time to first audio, and gaps."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import GAPS, LEAST_LEAD, MODEL, quantile, rate, spread, total
from whispergpt.engine.config import FRAME_RATE

_HEARD = f'{MODEL}, route!="/continue"'
"""Label filter that leaves out /continue, whose answers are mostly sent whole."""
_FIRST_AUDIO_BOUND = 0.25
"""Target of the 99th percentile in seconds, see docs/attacks.md."""
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
            "Gaps seen by the server. No value if nothing was played.",
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
            "Firing alerts of deploy/prometheus/alerts.yml.",
            (Query('count(ALERTS{alertname=~"Whispergpt.+", alertstate="firing"}) or vector(0)', "alerts"),),
            bound=1,
        ),
    ),
    courses=(
        Panel(
            "Time to first audio",
            "From the request to the first audio, with the wait for a slot, over the WebSocket and /v1/play.",
            spread("time_to_first_audio_seconds", _HEARD),
            "s",
            _FIRST_AUDIO_BOUND,
        ),
        Panel(
            "Gaps a minute",
            "How often a real-time stream fell behind playback, as seen by the server and as reported by players.",
            GAPS,
        ),
        Panel(
            "Playback lead",
            "Audio sent ahead of playback, for the real-time stream with the least; 0 if nothing plays.",
            (LEAST_LEAD,),
            "s",
        ),
        Panel(
            "Real-time factor",
            "Audio seconds over wall seconds of ended continuations; below 1 they were slower than playback.",
            (
                Query(quantile(0.01, "realtime_factor"), "p1"),
                Query(quantile(0.5, "realtime_factor"), "p50"),
            ),
        ),
        Panel(
            "Audio made",
            "Seconds of audio generated per second, which is the number of real-time streams it can feed.",
            (Query(f"{rate('frames_total', by='model')} / {FRAME_RATE}", "{{model}}"),),
        ),
        Panel(
            "How continuations end, a minute",
            "Cancelled: by the client. Failed: by a fault of the server. Rejected: invalid request, or no room.",
            (Query(f"60 * {rate('requests_total', '', 'outcome')}", "{{outcome}}"),),
        ),
    ),
)
