"""Dashboard of slow clients: those that are late to read or to send, and what the server did."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import GAPS, LEAST_LEAD, MODEL, rate, spread

_CANCELLED = 'outcome="cancelled"'
_LATE = 'reason=~"upload_timeout|idle_timeout|paused_too_long|slow_reader"'

SLOW_CLIENTS = Dashboard(
    uid="whispergpt-slow-clients",
    name="slow-clients",
    title="WHISPER-GPT: slow clients",
    numbers=(
        Panel(
            "Slow clients, 1 h",
            "How often a client did not read its audio in time.",
            (Query("sum(increase(whispergpt_slow_client_total[1h]))", "slow"),),
        ),
        Panel(
            "Gaps that only listeners saw, 1 h",
            "Gaps reported by players that the server did not see, caused by the network or the player.",
            (
                Query(
                    f"clamp_min(sum(increase(whispergpt_listener_underruns_total{{{MODEL}}}[1h]))"
                    f" - sum(increase(whispergpt_underruns_total{{{MODEL}}}[1h])), 0)",
                    "gaps",
                ),
            ),
        ),
        Panel(
            "Prompts being received",
            "Bytes of all prompts being received.",
            (Query("sum(whispergpt_upload_bytes)", "bytes"),),
            "bytes",
        ),
    ),
    courses=(
        Panel(
            "What became of them, a minute",
            "paused: the stream waited; dropped: it lost late audio; closed, cancelled: it was ended.",
            (Query(f"60 * {rate('slow_client_total', '', 'action')}", "{{action}}"),),
        ),
        Panel(
            "Gaps a minute",
            "Gaps that only listeners report are caused by the network or the player.",
            GAPS,
        ),
        Panel(
            "Ended for silence or slowness, a minute",
            "Uploads over the time limit, idle sessions, pauses over the limit, and clients that stopped reading.",
            (Query(f"60 * {rate('rejected_total', _LATE, 'reason')}", "{{reason}}"),),
        ),
        Panel(
            "Left before the end",
            "Share of continuations that were cancelled, by route.",
            (
                Query(
                    f"{rate('requests_total', _CANCELLED, 'route')} / {rate('requests_total', '', 'route')}",
                    "{{route}}",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Length of a continuation", "Time from the request to the end.", spread("request_duration_seconds", ""), "s"
        ),
        Panel(
            "Playback lead",
            "Audio sent ahead of playback, for the real-time stream with the least; a slow reader has none.",
            (LEAST_LEAD,),
            "s",
        ),
    ),
)
